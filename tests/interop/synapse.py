"""Synapse, as it comes from PyPI, on the loopback address: what its users expect is what it does."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from benchmarks import synapse
from synapse_lite.cli.api import call, register
from synapse_lite.storage.synapse.database import SynapseDatabase
from tests.databases import SYNAPSES, new_database
from tests.interop.installed import installed
from tests.ports import free_port
from tests.processes.harness import Process, wait_until

SECRET = "a secret of this test"
_NO_LIMIT = {"per_second": 1_000_000, "burst_count": 1_000_000}


Arguments = Mapping[str, Any] | None
"""Of a connection to PostgreSQL; None: SQLite."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def synapse_database(request: pytest.FixtureRequest, postgres: dict[str, Any]) -> Iterator[Arguments]:
    """Both kinds of databases that Synapse may have."""
    if request.param == "sqlite":
        yield None
        return
    with new_database(postgres, "synapse", SYNAPSES) as arguments:
        yield arguments


def python() -> Path:
    """The interpreter that has Synapse."""
    directory = installed(f"synapse-{synapse.VERSION}", synapse.install)
    return synapse.install(directory)


class Synapse(Process):
    """One process, and no rate limits. `database`: connection arguments of PostgreSQL; None: an SQLite file of its own.

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
        database: Arguments = None,
    ) -> None:
        self.server_name = server_name
        self._port = free_port()
        self._place = directory
        self._database = database
        self._config = directory / f"{name}.yaml"
        written = {**self._defaults(), **(options or {})}
        written["listeners"] = [*written["listeners"], *listeners]
        self._config.write_text(yaml.safe_dump(written))
        super().__init__(name, ["-c", str(self._config)], directory, module="synapse.app.homeserver")
        self._command[0] = str(python())

    @property
    def database(self) -> str:
        """As `import-synapse` is told of it."""
        if self._database is None:
            return str(self._place / "synapse.db")
        return f"postgresql:///?{urlencode(self._database)}"

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
        with SynapseDatabase.open(self.database) as database:
            waiting = partial(database.rows, "SELECT update_name FROM background_updates")
            wait_until(lambda: not waiting(), "the end of its background updates", 300)

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
            "database": self._database_options(),
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

    def _database_options(self) -> dict[str, Any]:
        if self._database is None:
            return {"name": "sqlite3", "args": {"database": self.database}}
        return {"name": "psycopg2", "args": dict(self._database)}

    def _log_config(self) -> Path:
        """To standard error, which the harness keeps."""
        path = self._place / "synapse.log.yaml"
        handler = {"class": "logging.StreamHandler"}
        root = {"level": "WARNING", "handlers": ["console"]}
        path.write_text(yaml.safe_dump({"version": 1, "handlers": {"console": handler}, "root": root}))
        return path
