"""A homeserver under test: what both have in common."""

import json
import secrets
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from benchmarks.client import Metrics
from benchmarks.postgres import Postgres
from benchmarks.processes import Process, answers, cpu_seconds, free_port, postmaster

SERVER_NAME = "bench.test"
NO_LIMIT = {"per_second": 1_000_000, "burst_count": 1_000_000}
NO_RATE_LIMITS = {
    "rc_message": NO_LIMIT,
    "rc_registration": NO_LIMIT,
    "rc_login": {"address": NO_LIMIT, "account": NO_LIMIT, "failed_attempts": NO_LIMIT},
    "rc_admin_redaction": NO_LIMIT,
    "rc_joins": {"local": NO_LIMIT, "remote": NO_LIMIT},
    "rc_joins_per_room": NO_LIMIT,
    "rc_invites": {"per_room": NO_LIMIT, "per_user": NO_LIMIT, "per_issuer": NO_LIMIT},
    "rc_presence": {"per_user": NO_LIMIT},
    "rc_room_creation": NO_LIMIT,
    "rc_key_uploads": NO_LIMIT,
    "rc_user_directory": NO_LIMIT,
    "rc_federation": {"sleep_limit": 1_000_000, "reject_limit": 1_000_000, "concurrent": 1000},
}


@attrs.frozen
class Site:
    """Where one homeserver lives: its directory, ports, secret and database."""

    directory: Path
    port: int
    secret: str
    database: dict[str, Any]

    @classmethod
    def create(cls, directory: Path, name: str, postgres: Postgres) -> "Site":
        """A new directory of that name, and a new database."""
        postgres.create(name)
        place = directory / name
        place.mkdir()
        return cls(place, free_port(), secrets.token_hex(16), postgres.arguments(name))

    def write(self, file_name: str, config: dict[str, Any]) -> Path:
        """JSON is YAML."""
        path = self.directory / file_name
        path.write_text(json.dumps(config, indent=1))
        return path

    @property
    def signing_key_path(self) -> Path:
        return self.directory / "signing.key"

    def connection_arguments(self) -> dict[str, Any]:
        """Of `psycopg2.connect`."""
        return {name: value for name, value in self.database.items() if not name.startswith("cp_")}

    def homeserver_yaml(self) -> dict[str, Any]:
        """The configuration that both homeservers understand, the signing key in place."""
        key = self.signing_key_path
        seed = b64encode(secrets.token_bytes(32)).decode().rstrip("=")
        key.write_text(f"ed25519 a_bench {seed}\n")
        return {
            "server_name": SERVER_NAME,
            "pid_file": str(self.directory / "main.pid"),
            "public_baseurl": f"http://127.0.0.1:{self.port}/",
            "listeners": [listener(self.port, "client", "federation")],
            "database": {"name": "psycopg2", "args": self.database},
            "media_store_path": str(self.directory / "media"),
            "max_upload_size": "200M",
            "signing_key_path": str(key),
            "registration_shared_secret": self.secret,
            "macaroon_secret_key": self.secret,
            "form_secret": self.secret,
            "report_stats": False,
            "trusted_key_servers": [],
            "federation_verify_certificates": False,  # the other servers of the bench make their own
            "ip_range_blacklist": [],
            "room_list_publication_rules": [{"action": "allow"}],
            "user_directory": {"search_all_users": True},
            **NO_RATE_LIMITS,
        }


def listener(port: int, *resources: str) -> dict[str, Any]:
    """With no resources it answers /health only."""
    names = [{"names": list(resources)}] if resources else []
    return {"port": port, "bind_addresses": ["127.0.0.1"], "type": "http", "resources": names}


@attrs.frozen
class Worker:
    process: Process
    port: int

    def start(self) -> None:
        self.process.start_until(partial(answers, f"http://127.0.0.1:{self.port}/health"))


@attrs.frozen
class Spent:
    """CPU seconds of `main`, or of all processes of a server, and of PostgreSQL with all its connections."""

    main: float
    postgres: float

    def each_ms(self, before: "Spent", count: int) -> Metrics:
        """What each of `count` things cost since `before`."""
        return {
            "main_cpu_ms": (self.main - before.main) / count * 1000,
            "postgres_cpu_ms": (self.postgres - before.postgres) / count * 1000,
        }


class Server:
    """The processes of one homeserver.

    `services` are what it needs running first, each with a check that it is ready. `workers`, by name, may
    run in addition to `main`; those in `usual` do unless a scenario asks for others. `add_messages` writes all of the
    texts into each of the rooms, by the sender of its newest message; the server knows them after a restart. So it is with
    `copy_room`, which makes many rooms like one and returns their ids. `seed` makes a room of so many events and members
    in the database, and returns its id. None: rooms are made by clients only.
    """

    def __init__(
        self,
        title: str,
        site: Site,
        main: Process,
        workers: Sequence[Worker] = (),
        services: Sequence[tuple[Process, Callable[[], bool]]] = (),
        *,
        add_messages: Callable[[Mapping[str, str], Sequence[str]], None],
        usual: Sequence[str] = (),
        seed: Callable[[int, int], str] | None = None,
        copy_room: Callable[[str, int], list[str]] | None = None,
        metrics_port: int | None = None,
    ) -> None:
        self.title = title
        self.base_url = f"http://127.0.0.1:{site.port}"
        self.secret = site.secret
        self.database = site.database
        self._site = site
        self.workers = {worker.process.name: worker for worker in workers}
        self.usual = usual
        self.seed = seed
        self.copy_room = copy_room
        self.add_messages = add_messages
        self._metrics_port = metrics_port
        self.empty_start_s = 0.0
        self._main = main
        self._services = services

    def start(self) -> None:
        """All processes, on a database still empty."""
        for service, ready in self._services:
            service.start_until(ready)
        self.empty_start_s = self._start_main()
        self.run_workers(self.usual)

    def stop(self) -> None:
        self.run_workers(())
        self._main.stop()
        for service, _ in self._services:
            service.stop()

    def restart(self) -> float:
        """Stop and start; the seconds from starting `main` to its first answer."""
        self.run_workers(())
        self._main.stop()
        seconds = self._start_main()
        self.run_workers(self.usual)
        return seconds

    def run_workers(self, names: Collection[str]) -> None:
        """Start or stop workers until these run, and no others."""
        for name, worker in self.workers.items():
            if name not in names:
                worker.process.stop()
            elif not worker.process.alive():
                worker.start()

    def cpu_seconds(self) -> float:
        """CPU time so far of its processes; PostgreSQL, which both share, is left out."""
        return sum(process.cpu_seconds() for process in self._processes())

    def pid(self) -> int:
        """Of `main`."""
        return self._main.pid()

    def spent(self) -> "Spent":
        """CPU time so far."""
        database = postmaster(self.database["host"], self.database["port"])
        return Spent(self._main.cpu_seconds(), cpu_seconds(database))

    def spent_by_all(self) -> "Spent":
        """As `spent`, with its workers: for what may be done by any of them."""
        return attrs.evolve(self.spent(), main=self.cpu_seconds())

    def metric(self, name: str) -> float | None:
        """A metric of `main` without labels; None where its metrics cannot be asked for."""
        if self._metrics_port is None:
            return None
        with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics_port}/_synapse/metrics") as answer:
            lines = answer.read().decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.split(" ")[0] == name)

    def memory_mb(self) -> dict[str, float]:
        """Resident memory by the names of the running processes."""
        return {process.name: process.memory_mb() for process in self._processes() if process.alive()}

    def connection_arguments(self) -> dict[str, Any]:
        """Of `psycopg2.connect`, for its database."""
        return self._site.connection_arguments()

    def dead(self) -> list[Process]:
        """Processes that should be running and are not."""
        needed = [self._main, *(self.workers[name].process for name in self.usual)]
        return [process for process in needed if not process.alive()]

    def _start_main(self) -> float:
        return self._main.start_until(partial(answers, f"{self.base_url}/_matrix/client/versions"))

    def _processes(self) -> list[Process]:
        services = [service for service, _ in self._services]
        return [self._main, *(worker.process for worker in self.workers.values()), *services]
