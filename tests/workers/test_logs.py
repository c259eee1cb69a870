"""Logging, set up in a process of its own, because it is global."""

import subprocess
import sys
from pathlib import Path

import orjson
import pytest
import yaml

from synapse_lite.errors import ConfigError
from synapse_lite.workers.logs import check, scrub

_SCRIPT = """
import logging, sys
from contextvars import ContextVar
from pathlib import Path
from twisted.logger import Logger, globalLogBeginner
from synapse_lite.config.server import Log
from synapse_lite.errors import ConfigError
from synapse_lite.workers.logs import ProcessLog, bridge_twisted

request_id = ContextVar("request_id", default="")
task_id = ContextVar("task_id", default="")
log_config = Path(sys.argv[2]) if len(sys.argv) > 2 else None
try:
    ProcessLog(Log(format=sys.argv[1]), log_config, process="main", context={"request_id": request_id, "task_id": task_id}).set_up()
except ConfigError as error:
    sys.exit(f"config: {error}")
bridge_twisted(globalLogBeginner)
logger = logging.getLogger("synapse_lite.test")
logger.info("started %s", "well")
request_id.set("PUT-7")
logger.debug("quiet")
try:
    raise ValueError("access_token=syt_secret")
except ValueError:
    logger.exception("Authorization: Bearer opensesame")
Logger(namespace="twisted.test").info("idle talk")
Logger(namespace="twisted.test").warn("from {who}", who="twisted")
"""

_SYNAPSE_LOG_CONFIG = {
    "version": 1,
    "formatters": {
        "precise": {"format": "%(levelname)s %(name)s <%(request)s> %(message)s"},
        "structured": {"class": "synapse.logging.TerseJsonFormatter"},
    },
    "filters": {"context": {"()": "synapse.logging.context.LoggingContextFilter"}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "precise", "filters": ["context"]},
        "buffer": {
            "class": "synapse.logging.handlers.PeriodicallyFlushingMemoryHandler",
            "target": "console",
            "capacity": 10,
            "flushLevel": 30,
            "period": 5,
        },
    },
    "loggers": {"synapse": {"level": "DEBUG"}},
    "root": {"level": "INFO", "handlers": ["buffer"]},
}


def _run(*arguments: str) -> str:
    command = [sys.executable, "-c", _SCRIPT, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False).stderr


def test_console_lines_name_the_request() -> None:
    """People get level, logger, request and message; below the level is silence; Twisted's warnings come, too."""
    lines = _run("console").splitlines()
    assert lines[0].endswith("INFO synapse_lite.test: started well")
    assert any("synapse_lite.test [PUT-7]: " in line for line in lines)
    assert any(line.endswith("from twisted") for line in lines)
    assert not any("quiet" in line or "idle talk" in line for line in lines)


def test_json_lines_are_objects() -> None:
    """Machines get one object a line, with the context and the traceback as keys."""
    entries = [orjson.loads(line) for line in _run("json").splitlines()]
    first, failed, twisted = entries
    assert {key: first[key] for key in ("level", "logger", "process", "message")} == {
        "level": "INFO",
        "logger": "synapse_lite.test",
        "process": "main",
        "message": "started well",
    }
    assert "request_id" not in first
    assert failed["request_id"] == "PUT-7"
    assert "ValueError" in failed["traceback"]
    assert twisted["message"] == "from twisted"


@pytest.mark.parametrize("form", ["console", "json"])
def test_no_secret_leaves(form: str) -> None:
    """Neither the message nor the traceback shows a token."""
    text = _run(form)
    assert "opensesame" not in text
    assert "syt_secret" not in text
    assert "<redacted>" in text


def test_the_log_config_of_a_synapse_works(tmp_path: Path) -> None:
    """Synapse's handlers, formatters and filters have a counterpart; levels for `synapse` are for us."""
    file = tmp_path / "log.yaml"
    file.write_text(yaml.safe_dump(_SYNAPSE_LOG_CONFIG))
    lines = _run("console", str(file)).splitlines()
    assert "INFO synapse_lite.test <-> started well" in lines
    assert "DEBUG synapse_lite.test <PUT-7> quiet" in lines


def test_a_log_config_may_name_lines_and_threads(tmp_path: Path) -> None:
    """What our own formats leave out is looked up for the formats of others."""
    file = tmp_path / "log.yaml"
    own = {"formatters": {"long": {"format": "%(threadName)s %(funcName)s %(lineno)d %(message)s"}}}
    handlers = {"console": {"class": "logging.StreamHandler", "formatter": "long"}}
    root = {"level": "INFO", "handlers": ["console"]}
    file.write_text(yaml.safe_dump({"version": 1, **own, "handlers": handlers, "root": root}))
    line = _SCRIPT[: _SCRIPT.index("logger.info")].count("\n") + 1
    assert _run("console", str(file)).splitlines()[0] == f"MainThread <module> {line} started well"


def test_a_handler_that_only_synapse_has_is_named(tmp_path: Path) -> None:
    """To the doctor as well."""
    file = tmp_path / "log.yaml"
    remote = {"class": "synapse.logging.RemoteHandler", "host": "logs.test", "port": 9000}
    file.write_text(yaml.safe_dump({"version": 1, "handlers": {"remote": remote}}))
    told = f"{file}: handlers: synapse.logging.RemoteHandler is a part of Synapse: take one of Python's"
    assert _run("console", str(file)).startswith(f"config: {told}")
    with pytest.raises(ConfigError) as caught:
        check(file)
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize("handlers", [{"x": {"class": "no.such.Handler"}}, 5, {"x": 5}])
def test_a_wrong_log_config_is_an_error_of_the_configuration(tmp_path: Path, handlers: object) -> None:
    """The message names the file and what is wrong in it."""
    file = tmp_path / "log.yaml"
    file.write_text(yaml.safe_dump({"version": 1, "handlers": handlers}))
    assert _run("console", str(file)).startswith(f"config: {file}: ")


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("GET /sync?access_token=abc&since=s1", "GET /sync?access_token=<redacted>&since=s1"),
        ('{"password": "hunter2", "user": "a"}', '{"password": "<redacted>", "user": "a"}'),
        ("{'new_password': 'hunter2'}", "{'new_password': '<redacted>'}"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer <redacted>"),
        ("token syt_YWJj_x1 of a", "token <redacted> of a"),
        ("machine=7 macaroni", "machine=7 macaroni"),
    ],
)
def test_scrub(text: str, scrubbed: str) -> None:
    """Values of secrets go, everything else stays."""
    assert scrub(text) == scrubbed
