"""Logging of one process: console or JSON lines, or the `log_config` file of a Synapse.

Every record carries what the context knows (request, task), and no access token, password or
secret leaves in a message or traceback.
"""

import logging
import logging.config
import re
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TextIO

import orjson
from twisted.logger import LogBeginner, STDLibLogObserver

from synapse_lite.config.private_files import check_writable
from synapse_lite.config.server import Log
from synapse_lite.config.yaml_file import read_yaml
from synapse_lite.errors import ConfigError, UnavailableError
from synapse_lite.workers.log_trouble import LogTrouble

Context = Mapping[str, ContextVar[str]]
"""Attributes of log records, and the variables that they come from."""

_CONSOLE = "%(asctime)s %(levelname)s %(name)s%(where)s: %(message)s"
_SECRET = re.compile(
    r"""(
        (?:access_token|refresh_token|login_token|password|new_password|registration_shared_secret|mac)
        ["']? \s* [=:] \s* ["']?
      | \bBearer \s+
      | \bauthorization ["']? \s* [=:] \s* ["']? (?:\w+\s+)?
    ) [^\s"'&,;})]+""",
    re.VERBOSE | re.IGNORECASE,
)
_HINTS = ("syt_", "syr_", "syl_", "token", "password", "secret", "mac", "bearer", "authorization")
_TOKEN = re.compile(r"\b(?:syt|syr|syl)_[A-Za-z0-9_+/=-]+")

# What the log_config of a Synapse names and we do not have, and what does the same here.
_FORMATTERS = {"synapse.logging.JsonFormatter", "synapse.logging.TerseJsonFormatter"}
_HANDLERS = {
    "synapse.logging.handlers.PeriodicallyFlushingMemoryHandler": "logging.handlers.MemoryHandler",
}
_SYNAPSE = "synapse."
_QUIET = {"twisted": {"level": "WARNING"}}
"""It tells of every port and connection."""
_SOURCE = logging._srcfile  # noqa: SLF001 (see `_look_up`)


def scrub(text: str) -> str:
    """The text without the values of tokens and passwords."""
    lowered = text.lower()
    for hint in _HINTS:  # in most lines there is none, which is seen at a tenth of the price
        if hint in lowered:
            return _TOKEN.sub("<redacted>", _SECRET.sub(r"\1<redacted>", text))
    return text


class ContextFilter(logging.Filter):
    """Completes a record: context attributes, `request` (Synapse's name), `where` for people."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context

    def filter(self, record: logging.LogRecord) -> bool:
        known = {name: variable.get("") for name, variable in self._context.items()}
        for name, value in known.items():
            setattr(record, name, value)
        record.request = known.get("request_id") or "-"
        words = [value for value in known.values() if value]
        record.where = f" [{' '.join(words)}]" if words else ""
        return True


class OutageFilter(logging.Filter):
    """Drops what failed only because the database is away: `storage/outage.py` tells that once."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], UnavailableError):
            return False
        for value in record.args if isinstance(record.args, tuple) else ():
            if isinstance(value, UnavailableError):
                return False
        return True


class SecretFilter(logging.Filter):
    """Takes secrets out of the message and the traceback."""

    _formatter = logging.Formatter()

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = scrub(record.getMessage())
        record.args = None
        if record.exc_info and not record.exc_text:
            record.exc_text = self._formatter.formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = scrub(record.exc_text)
        return True


class ConsoleFormatter(logging.Formatter):
    """Lines for people. The time is written anew once a second; a busy process logs hundreds of lines in one."""

    def __init__(self) -> None:
        super().__init__(_CONSOLE)
        self._second = (0, "")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802 (logging's)
        number = int(record.created)
        known, text = self._second
        if number != known:
            text = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(number))
            self._second = number, text
        return f"{text},{int(record.msecs):03}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time` (seconds since 1970), `level`, `logger`, `message`, `process`, context, `traceback`."""

    def __init__(self, process: str, context: Context) -> None:
        super().__init__()
        self._process = process
        self._names = tuple(context)

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": record.created,
            "level": record.levelname,
            "logger": record.name,
            "process": self._process,
            "message": record.getMessage(),
        }
        entry |= {name: value for name in self._names if (value := getattr(record, name, ""))}
        if record.exc_text:
            entry["traceback"] = record.exc_text
        return orjson.dumps(entry, default=str).decode()


_MISTAKES = (ValueError, TypeError, AttributeError, ImportError)
"""What a description raises that is none, ours and Python's code alike."""


class ProcessLog:
    """The logging of this process, by `log` or by the file `log_config`."""

    def __init__(self, log: Log, log_config: Path | None, *, process: str, context: Context) -> None:
        self._log = log
        self._log_config = log_config
        self._process = process
        self._context = context
        self._in_force: dict[str, Any] | None = None
        self._trouble = LogTrouble()

    def set_up(self) -> None:
        """Anew when called again. Raises ConfigError about `log_config`; what was in force before remains then."""
        _look_up(callers=self._log_config is not None)
        try:
            description = self._read()
            self._use(description)
        except _MISTAKES as error:
            if self._in_force is not None:
                self._use(self._in_force)
            raise ConfigError(f"{self._log_config or 'log'}: {error.__cause__ or error}") from error
        self._in_force = description

    def _read(self) -> dict[str, Any]:
        if self._log_config is None:
            return _describe(self._log, self._process, self._context)
        return adapt(read_yaml(self._log_config), self._process, self._context)

    def _use(self, description: dict[str, Any]) -> None:
        logging.config.dictConfig(description)
        for handler in _handlers():
            self._trouble.watch(handler)
            handler.addFilter(OutageFilter())
            handler.addFilter(ContextFilter(self._context))
            handler.addFilter(SecretFilter())


def _look_up(*, callers: bool) -> None:
    """Which line and which thread logs: our own formats do not show it, and to find it takes a sixth of the access log's time."""
    logging._srcfile = _SOURCE if callers else None  # noqa: SLF001 (as Python's "Logging HOWTO" has it)
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = callers


def check(log_config: Path) -> None:
    """Whether the file could be used, as far as that can be seen without using it. Raises ConfigError."""
    try:
        description = adapt(read_yaml(log_config), "check", {})
    except _MISTAKES as error:
        raise ConfigError(f"{log_config}: {error}") from None
    configurator = logging.config.DictConfigurator(description)
    for section in ("formatters", "filters", "handlers"):
        for name, entry in description.get(section, {}).items():
            factory = entry.get("()") or entry.get("class")
            try:
                if isinstance(factory, str):
                    configurator.resolve(factory)
                if section == "handlers" and "filename" in entry:
                    check_writable(Path(entry["filename"]))
            except (ValueError, OSError) as error:
                raise ConfigError(f"{log_config}: {section}.{name}: {error.__cause__ or error}") from None


def are_on(stream: TextIO) -> bool:
    """Whether what is logged appears there."""
    return any(getattr(handler, "stream", None) is stream for handler in _handlers())


def bridge_twisted(beginner: LogBeginner) -> None:
    """Send what Twisted logs to the standard library. Once in a process."""
    beginner.beginLoggingTo([STDLibLogObserver()], redirectStandardIO=False)  # type: ignore[list-item]  # a zope interface


def adapt(description: dict[str, Any], process: str, context: Context) -> dict[str, Any]:
    """A Synapse's logging description with our classes for Synapse's; filters of Synapse are left out."""
    ours = dict(description)
    filters = description.get("filters") or {}
    foreign = {name for name, entry in filters.items() if _names_synapse(entry)}
    ours["filters"] = {name: entry for name, entry in filters.items() if name not in foreign}
    ours["formatters"] = {
        name: _formatter(entry, process, context)
        for name, entry in (description.get("formatters") or {}).items()
    }
    ours["handlers"] = {
        name: _handler(entry, foreign) for name, entry in (description.get("handlers") or {}).items()
    }
    loggers = description.get("loggers") or {}
    renamed = {name.replace("synapse", "synapse_lite", 1): entry for name, entry in loggers.items()}
    ours["loggers"] = {**_QUIET, **loggers, **renamed}
    return {"disable_existing_loggers": False, **ours}


def _describe(log: Log, process: str, context: Context) -> dict[str, Any]:
    handler: dict[str, Any] = {"class": "logging.StreamHandler"}
    if log.file is not None:
        handler = {"class": "logging.handlers.WatchedFileHandler", "filename": str(log.file)}
    formatter: dict[str, Any] = {"()": ConsoleFormatter}
    if log.format == "json":
        formatter = _json_formatter(process, context)
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"chosen": formatter},
        "handlers": {"chosen": {**handler, "formatter": "chosen"}},
        "loggers": _QUIET,
        "root": {"level": log.level, "handlers": ["chosen"]},
    }


def _json_formatter(process: str, context: Context) -> dict[str, Any]:
    return {"()": JsonFormatter, "process": process, "context": context}


def _formatter(entry: dict[str, Any], process: str, context: Context) -> dict[str, Any]:
    named = entry.get("class") or entry.get("()")
    return _json_formatter(process, context) if named in _FORMATTERS else entry


def _handler(entry: dict[str, Any], foreign_filters: set[str]) -> dict[str, Any]:
    handler = dict(entry)
    if handler.get("class") in _HANDLERS:
        # Ours does not flush by the clock, so it must not hold anything back.
        handler.pop("period", None)
        handler |= {"class": _HANDLERS[handler["class"]], "capacity": 1}
    if _names_synapse(handler):
        what = handler.get("class") or handler.get("()")
        raise ValueError(
            f"handlers: {what} is a part of Synapse: take one of Python's, such as logging.StreamHandler"
        )
    if "filters" in handler:
        handler["filters"] = [name for name in handler["filters"] if name not in foreign_filters]
    return handler


def _names_synapse(entry: dict[str, Any]) -> bool:
    return str(entry.get("()") or entry.get("class") or "").startswith(_SYNAPSE)


def _handlers() -> Iterator[logging.Handler]:
    """Every handler in use, once."""
    seen: set[int] = set()
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    for logger in loggers:
        for handler in logger.handlers if isinstance(logger, logging.Logger) else ():
            if id(handler) not in seen:
                seen.add(id(handler))
                yield handler
