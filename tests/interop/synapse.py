"""Synapse, as it comes from PyPI, on the loopback address: what its users expect is what it does."""

import sqlite3
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import yaml

from benchmarks import synapse
from synapse_lite.cli.api import call, register
from tests.interop.installed import installed
from tests.ports import free_port
from tests.processes.harness import Process, wait_until

SECRET = "a secret of this test"
_NO_LIMIT = {"per_second": 1_000_000, "burst_count": 1_000_000}


def python() -> Path:
    """The interpreter that has Synapse."""
    directory = installed(f"synapse-{synapse.VERSION}", synapse.install)
    return synapse.install(directory)


class Synapse(Process):
    """One process with an SQLite database of its own, and no rate limits.

    `options` are those of homeserver.yaml, `listeners` more than the one for clients. Nothing leaves the machine: it asks no key server, and federates
    with nobody unless the options say so.
    """

    def __init__(
        self,
        directory: Path,
        *,
        server_name: str = "synapse.test",
        options: Mapping[str, Any] | None = None,
        listeners: Sequence[Mapping[str, Any]] = (),
        name: str = "synapse",
    ) -> None:
        self.server_name = server_name
        self._port = free_port()
        self._place = directory
        self._config = directory / f"{name}.yaml"
        written = {**self._defaults(), **(options or {})}
        written["listeners"] = [*written["listeners"], *listeners]
        self._config.write_text(yaml.safe_dump(written))
        super().__init__(name, ["-c", str(self._config)], directory, module="synapse.app.homeserver")
        self._command[0] = str(python())

    @property
    def database(self) -> Path:
        """The file of its SQLite database."""
        return self._place / "synapse.db"

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Returns when it answers."""
        subprocess.run(
            [*self._command, "--generate-keys"], check=True, cwd=self._place, capture_output=True, timeout=300
        )
        super().start()
        self.wait_healthy(self.base_url)

    def wait_for_updates(self) -> None:
        """Until what it does once on a new database is done."""
        with closing(sqlite3.connect(self.database)) as connection:
            count = "SELECT count(*) FROM background_updates"
            wait_until(
                lambda: connection.execute(count).fetchone() == (0,), "the end of its background updates"
            )

    def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, token: str | None = None
    ) -> Any:
        """JSON of the answer; ApiError unless 2xx. `path` starts with a slash."""
        return call(method, f"{self.base_url}{path}", body, token=token)

    def register(self, username: str, password: str = "secret", *, admin: bool = False) -> dict[str, Any]:
        """`user_id`, `access_token`, `device_id`."""
        return register(self.base_url, SECRET, username=username, password=password, admin=admin)

    def _defaults(self) -> dict[str, Any]:
        place = self._place
        return {
            "server_name": self.server_name,
            "report_stats": False,
            "registration_shared_secret": SECRET,
            "signing_key_path": str(place / "synapse.signing.key"),
            "media_store_path": str(place / "synapse-media"),
            "log_config": str(self._log_config()),
            "database": {"name": "sqlite3", "args": {"database": str(self.database)}},
            "listeners": [
                {
                    "port": self._port,
                    "type": "http",
                    "bind_addresses": ["127.0.0.1"],
                    "resources": [{"names": ["client", "federation"]}],
                }
            ],
            "trusted_key_servers": [],
            "suppress_key_server_warning": True,
            "federation_domain_whitelist": [],
            "bcrypt_rounds": 4,
            "rc_message": _NO_LIMIT,
            "rc_registration": _NO_LIMIT,
            "rc_login": dict.fromkeys(("address", "account", "failed_attempts"), _NO_LIMIT),
            "rc_joins": {"local": _NO_LIMIT, "remote": _NO_LIMIT},
            "rc_joins_per_room": _NO_LIMIT,
            "rc_room_creation": _NO_LIMIT,
            "rc_presence": {"per_user": _NO_LIMIT},
            "rc_invites": dict.fromkeys(("per_room", "per_user", "per_issuer"), _NO_LIMIT),
        }

    def _log_config(self) -> Path:
        """To standard error, which the harness keeps."""
        path = self._place / "synapse.log.yaml"
        handler = {"class": "logging.StreamHandler"}
        root = {"level": "WARNING", "handlers": ["console"]}
        path.write_text(yaml.safe_dump({"version": 1, "handlers": {"console": handler}, "root": root}))
        return path
