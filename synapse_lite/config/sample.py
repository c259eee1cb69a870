"""The sample configuration, made from the models, which document it."""

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel

from synapse_lite.config.model import Config
from synapse_lite.config.synapse_options import IGNORED
from synapse_lite.errors import ConfigError
from synapse_lite.ids import is_server_name

_WIDTH = 100
_HEAD = (
    "Configuration of synapse-lite. It reads the homeserver.yaml of Synapse, so this is one, too.",
    "Lines that start with a single # are options at their default: take the # away to change one.",
    "Durations are milliseconds, or a number followed by s, m, h, d, w or y.",
    "Sizes are bytes, or a number followed by K, M, G or T (powers of 1024).",
    "Relative paths start at the working directory.",
)


def generate(
    server_name: str,
    *,
    data_dir: Path,
    report_stats: bool = False,
    enable_metrics: bool = False,
    open_private_ports: bool = False,
    database_args: Mapping[str, Any] | None = None,
) -> str:
    """Commented YAML that can be loaded as it is; every option that it does not set is shown at its default.

    `open_private_ports` listens on all addresses instead of the local ones only.
    Raises ConfigError when `server_name` is none.
    """
    if not is_server_name(server_name):
        raise ConfigError(f"server_name: {server_name!r} should be a host name, with a port or without")
    listener: dict[str, Any] = {
        "port": 8008,
        "type": "http",
        "tls": False,
        "x_forwarded": True,
        "resources": [{"names": ["client", "federation"], "compress": False}],
    }
    if not open_private_ports:
        listener["bind_addresses"] = ["::1", "127.0.0.1"]
    args = {"user": "synapse", "dbname": "synapse", "host": "localhost", "cp_min": 5, "cp_max": 10}
    chosen = {
        "server_name": server_name,
        "pid_file": str(data_dir / "homeserver.pid"),
        "enable_metrics": enable_metrics,
        "report_stats": report_stats,
        "listeners": [listener],
        "database": {"name": "psycopg2", "args": dict(database_args or args)},
        "signing_key_path": str(data_dir / f"{server_name}.signing.key"),
        "registration_shared_secret_path": str(data_dir / "registration_shared_secret"),
        "media_store_path": str(data_dir / "media_store"),
    }
    defaults = Config.model_validate(chosen).model_dump(mode="json")
    explained: set[type] = set()
    blocks = ["\n".join(_comment(line) for line in _HEAD)]
    for group in (base for base in Config.__bases__ if issubclass(base, BaseModel)):
        blocks.append(_comment(f"---- {group.__doc__} ----"))
        for name, field in group.model_fields.items():
            status = " Not implemented: accepted, and listed at start." if name in IGNORED else ""
            text = (_comment(f"{field.description}{status}"), *_keys(field.annotation, explained))
            option = _yaml(name, chosen.get(name, defaults[name]))
            blocks.append("\n".join((*text, option if name in chosen else textwrap.indent(option, "#"))))
    return "\n\n".join(blocks) + "\n"


def _keys(annotation: Any, explained: set[type], indent: str = "  ") -> Iterator[str]:
    """A line for each key of the sections that a type is made of; each section is explained once."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if annotation in explained:
            return
        explained.add(annotation)
        for name, field in annotation.model_fields.items():
            yield _comment(f"{name}: {field.description}", indent)
            yield from _keys(field.annotation, explained, indent + "  ")
    else:
        for part in get_args(annotation):
            yield from _keys(part, explained, indent)


def _comment(text: str, indent: str = "") -> str:
    prefix = f"## {indent}"
    return textwrap.fill(
        text, _WIDTH, initial_indent=prefix, subsequent_indent=prefix, break_on_hyphens=False
    )


def _yaml(name: str, value: Any) -> str:
    return yaml.safe_dump({name: value}, sort_keys=False, allow_unicode=True).rstrip()
