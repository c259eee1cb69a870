"""The directory of `synapse-lite up`: configuration, secrets, keys, media and the embedded database.

- `homeserver.yaml` is made at the first start and then belongs to the operator;
- `up.yaml` and `workers/*.yaml` are written at every start, from the command line.
"""

import fcntl
import os
import random
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import yaml

from synapse_lite.config.rate_limits import no_rate_limits
from synapse_lite.config.sample import generate
from synapse_lite.errors import ConfigError

LOCALHOST = "127.0.0.1"
_WRITTEN = "# Written by `synapse-lite up` at every start: change homeserver.yaml instead.\n"
_PORTS = 2**16
_ANY_PORT = range(10_000, 20_000)  # below those that Linux gives to outgoing connections, which come and go


@attrs.frozen
class DataDir:
    path: Path

    @property
    def homeserver_file(self) -> Path:
        return self.path / "homeserver.yaml"

    @property
    def up_file(self) -> Path:
        return self.path / "up.yaml"

    @property
    def postgres(self) -> Path:
        return self.path / "postgres"

    def make(self) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Only one `up` at a time. The lock ends with the process, however that ends."""
        with (self.path / "up.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError(f"{self.path} is in use by another `synapse-lite up`") from None
            yield

    def write_homeserver_file(self, server_name: str) -> None:
        """Unless there is one."""
        if not self.homeserver_file.exists():
            write_private(self.homeserver_file, generate(server_name, data_dir=self.path))

    def write_up_file(
        self,
        *,
        port: int | None,
        database: Mapping[str, Any] | None,
        task_runners: Sequence[str],
        rate_limits: bool,
    ) -> None:
        """What the command line decides. Without `port` and `database` (connection arguments), those of the operator's files stand."""
        options: dict[str, Any] = {"run_background_tasks_on": list(task_runners)}
        if port is not None:
            options["listeners"] = [_listener(port)]
        if database is not None:
            options["database"] = {"name": "psycopg2", "args": dict(database)}
        if not rate_limits:
            options |= no_rate_limits()
        _write_options(self.up_file, options)

    def write_worker_file(self, name: str, port: int) -> Path:
        options = {
            "worker_app": "synapse.app.generic_worker",
            "worker_name": name,
            "worker_listeners": [_listener(port)],
        }
        file = self.path / "workers" / f"{name}.yaml"
        file.parent.mkdir(mode=0o700, exist_ok=True)
        _write_options(file, options)
        return file


def write_private(path: Path, text: str) -> None:
    """Replace the file as a whole; only its owner may read it."""
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    unfinished.replace(path)


def options_in(paths: Sequence[Path]) -> set[str]:
    """Names of the top-level options in configuration files and directories; nothing of unreadable ones."""
    files = [file for path in paths for file in (sorted(path.glob("*.yaml")) if path.is_dir() else [path])]
    names: set[str] = set()
    for file in files:
        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            continue  # loading the configuration reports it
        if isinstance(content, dict):
            names.update(map(str, content))
    return names


def free_port(wanted: int) -> int | None:
    """The wanted port of this machine (0: any), or None when it is in use."""
    wished = [wanted] if wanted else random.sample(_ANY_PORT, len(_ANY_PORT))
    return next(filter(_is_free, wished), None)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOCALHOST, port))
        except OSError:
            return False
    return True


def worker_port(main_port: int | None, number: int) -> int:
    """The `number`th port after that of the main process, or a free one. Raises ConfigError."""
    port = (
        free_port(main_port + number) if main_port and main_port + number < _PORTS else None
    ) or free_port(0)
    if port is None:
        raise ConfigError("there is no free port on this machine")
    return port


def _listener(port: int) -> dict[str, Any]:
    return {
        "port": port,
        "type": "http",
        "bind_addresses": [LOCALHOST],
        "resources": [{"names": ["client", "federation"]}],
    }


def _write_options(path: Path, options: Mapping[str, Any]) -> None:
    write_private(path, _WRITTEN + yaml.safe_dump(dict(options), sort_keys=False))
