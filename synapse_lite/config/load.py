"""Read Synapse's YAML files and report every mistake at once."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from synapse_lite.config.app_services import read_registrations
from synapse_lite.config.database import WAYS_OUT
from synapse_lite.config.model import Config
from synapse_lite.config.secret_files import fill_in_secrets
from synapse_lite.config.yaml_file import read_yaml
from synapse_lite.errors import ConfigError

Location = Sequence[str | int]

_WORDS = {
    "missing": "is required",
    "tuple_type": "should be a list",
    "dict_type": "should be a mapping",
    "model_type": "should be a mapping",
    "path_type": "should be a path",
    "bool_parsing": "should be true or false",
    "bool_type": "should be true or false",
    "too_short": "should not be empty",
    "int_parsing": "should be a whole number",
    "float_parsing": "should be a number",
}


@attrs.frozen
class _Settings:
    """Top-level options of all files, and the file that each of them comes from."""

    values: dict[str, Any]
    origins: dict[str, Path]
    first_file: Path

    def mistake(self, location: Location, what: str) -> str:
        file = self.origins.get(str(location[0]), self.first_file) if location else self.first_file
        return f"{file}: {_dotted(location)}: {what}"


def load(paths: Sequence[Path], environ: Mapping[str, str]) -> Config:
    """The configuration in files, and in the `*.yaml` files of directories; later top-level keys win.

    Without paths, the variable SYNAPSE_CONFIG_PATH names the file.
    Raises ConfigError with one line per mistake: `<file>: <path.to.option>: <what is wrong>`.
    """
    given = list(paths) or [Path(path) for path in (environ.get("SYNAPSE_CONFIG_PATH"),) if path]
    if not given:
        raise ConfigError("No configuration file: give one with -c")
    settings = _merge(given, environ)
    mistakes = [settings.mistake(*found) for found in fill_in_secrets(settings.values)]
    try:
        config = Config.model_validate(settings.values)
    except ValidationError as error:
        mistakes += [settings.mistake(found["loc"], _words(found)) for found in error.errors()]
        raise ConfigError("\n".join(sorted(mistakes))) from None
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    read_registrations(config.app_service_config_files, config.server_name)  # their mistakes are told now
    return config


def _merge(paths: Sequence[Path], environ: Mapping[str, str]) -> _Settings:
    values: dict[str, Any] = {}
    origins: dict[str, Path] = {}
    mistakes: list[str] = []
    for file in (file for path in paths for file in _files(path)):
        try:
            content = read_yaml(file)
        except ConfigError as error:
            mistakes.append(str(error))
            continue
        values.update(content)
        origins.update(dict.fromkeys(content, file))
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    _fill_in_proxies(values, environ)
    first = paths[0]
    if values.get("signing_key_path") is None:
        directory = first if first.is_dir() else first.parent
        values["signing_key_path"] = str(directory / f"{values.get('server_name')}.signing.key")
    return _Settings(values, origins, first)


def _fill_in_proxies(values: dict[str, Any], environ: Mapping[str, str]) -> None:
    """As most programs find them, where the files do not name any. http_proxy in capitals would be a header of CGI."""
    https = environ.get("https_proxy") or environ.get("HTTPS_PROXY")
    direct = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    hosts = [host.strip() for host in direct.split(",") if host.strip()]
    found = {"http_proxy": environ.get("http_proxy"), "https_proxy": https, "no_proxy_hosts": hosts}
    for name, value in found.items():
        if value:
            values.setdefault(name, value)


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(path.glob("*.yaml"))
    else:
        yield path


def _dotted(location: Location) -> str:
    """`("listeners", 0, "port")` is `listeners[0].port`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".")


def _words(error: ErrorDetails) -> str:
    if error["type"] == "missing" and error["loc"] == ("database",):
        return f"is required: {WAYS_OUT}"
    message = _WORDS.get(error["type"], error["msg"])
    return message.removeprefix("Value error, ").replace("Input should", "should")
