"""The files in docker/, and the commands that they name, run as processes of this machine."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import yaml

from synapse_lite.config.load import load
from tests.healthy import healthy
from tests.ports import free_port
from tests.processes.harness import Process

DOCKER = Path(__file__).parents[2] / "docker"
HTTP_PORT = 8008
PROCESSES = ("main", "background1", "background2")


def _compose() -> dict[str, Any]:
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())


def _instructions() -> list[tuple[str, str]]:
    """(instruction, rest) of the Dockerfile, continued lines joined."""
    text = (DOCKER / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def _last(instruction: str) -> str:
    return [rest for word, rest in _instructions() if word == instruction][-1]


def test_the_image_runs_the_program_without_root() -> None:
    """It starts `synapse-lite` as an ordinary user and asks its health; files are installed before root is given up."""
    names = [word for word, _ in _instructions()]
    assert _last("ENTRYPOINT") == '["synapse-lite"]'
    assert _last("USER") not in ("root", "0")
    assert "RUN" not in names[names.index("USER") :]
    assert yaml.safe_load(_last("CMD")) == _compose()["services"]["main"]["command"]


@pytest.mark.parametrize(("path", "well"), [("/health", True), ("/elsewhere", False)])
def test_the_health_of_a_container_is_its_own(path: str, well: bool) -> None:
    """It is asked directly, also where the environment names a proxy for what the server asks of others."""
    check = json.loads(_last("HEALTHCHECK").partition("CMD")[2])
    program = check[2].replace("/health", path)
    assert str(HTTP_PORT) in program
    with healthy() as server:
        command = [sys.executable, check[1], program.replace(str(HTTP_PORT), str(server.server_port))]
        environ = {**os.environ, "http_proxy": f"http://127.0.0.1:{free_port()}"}
        assert check[0] == "python"
        assert (subprocess.run(command, env=environ, check=False).returncode == 0) == well


def test_the_compose_file_restarts_and_waits() -> None:
    """Every service comes back, data is on volumes, workers wait for main, main for the database, no secret is inside."""
    compose = _compose()
    services = compose["services"]
    assert set(services) == {"postgres", *PROCESSES}
    assert all(service["restart"] == "unless-stopped" for service in services.values())
    # The entrypoint's temporary server listens on the Unix socket only.
    assert "--host 127.0.0.1" in services["postgres"]["healthcheck"]["test"][1]
    assert all(services[name]["pull_policy"] == "never" for name in PROCESSES)
    assert all(services[name]["cap_drop"] == ["ALL"] for name in PROCESSES)
    assert compose["x-password"].startswith("${POSTGRES_PASSWORD:?")
    assert services["main"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert services["background1"]["depends_on"] == {"main": {"condition": "service_healthy"}}
    assert compose["secrets"] == {"postgres_password": {"environment": "POSTGRES_PASSWORD"}}
    mounted = {volume.split(":")[0] for service in services.values() for volume in service["volumes"]}
    assert set(compose["volumes"]) == mounted - {"./config"}
    assert services["main"]["volumes"][1].endswith(f":{_last('VOLUME')}")


def test_an_upgrade_replaces_one_service_after_the_other() -> None:
    """The README's loop names every process, main first."""
    (loop,) = re.findall(r"for service in (.+); do", (DOCKER / "README.md").read_text())
    assert tuple(loop.split()) == PROCESSES


def test_the_configuration_has_no_unknown_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing mistake in the shipped files would be ignored by the server, but not by this test."""
    _copy(tmp_path, {"host": "x"}, {})
    monkeypatch.chdir(tmp_path)
    for name in PROCESSES:
        words = _compose()["services"][name]["command"]
        config = load([Path(word) for word in words if word.endswith(".yaml")], {})
        assert (config.worker_name, config.unknown, config.ignored) == (name, (), ())
        assert config.runs_background_tasks == (name != "main")


@pytest.fixture
def site(tmp_path: Path, database_arguments: dict[str, Any]) -> Iterator[dict[str, int]]:
    """The services of compose.yaml but PostgreSQL, on ports of this machine: service -> port."""
    ports = {name: free_port() for name in PROCESSES}
    _copy(tmp_path, database_arguments, ports)
    with ExitStack() as stack:
        for name in PROCESSES:
            command: Sequence[str] = _compose()["services"][name]["command"]
            process = stack.enter_context(Process(name, command, tmp_path))
            process.wait_healthy(f"http://127.0.0.1:{ports[name]}")
        yield ports


def _copy(directory: Path, database: dict[str, Any], ports: dict[str, int]) -> None:
    """The configuration as it is, but for the database, and the ports, which containers need not share."""
    shutil.copytree(DOCKER / "config", directory / "config")
    (directory / "data").mkdir()
    options = {"database": {"name": "psycopg2", "args": database}}
    (directory / "config" / "database.yaml").write_text(yaml.safe_dump(options))
    for name, port in ports.items():
        file = directory / "config" / ("homeserver.yaml" if name == "main" else f"{name}.yaml")
        options = yaml.safe_load(file.read_text())
        for listener in options["listeners" if name == "main" else "worker_listeners"]:
            listener["port"] = port if listener["port"] == HTTP_PORT else free_port()
            listener["bind_addresses"] = ["127.0.0.1"]
        file.write_text(yaml.safe_dump(options))


def test_the_commands_of_the_compose_file_make_a_server(
    site: dict[str, int], tmp_path: Path, database_arguments: dict[str, Any]
) -> None:
    """All three are healthy on one database, and the command of the README registers an administrator."""
    words = [
        "register-user",
        "-a",
        "-u",
        "admin",
        "-c",
        "config/homeserver.yaml",
        "-c",
        "config/database.yaml",
    ]
    assert " ".join(words[:4]) in (DOCKER / "README.md").read_text()
    with Process("register", [*words, "-p", "secret"], tmp_path) as register:
        assert register.line() == "Registered @admin:localhost\n", register.log()
    with closing(psycopg2.connect(**database_arguments)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM users")
        assert cursor.fetchone() == (1,)
