"""A server of several processes, each started and signalled by the test, on one PostgreSQL."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg2
import yaml
from attrs import frozen

import tests
from synapse_lite.cli.api import register
from synapse_lite.cli.data_dir import LOCALHOST, DataDir
from synapse_lite.cli.demo.connection import Connection, User
from synapse_lite.cli.demo.reading import examine, read_events
from synapse_lite.cli.demo.traffic import concurrently, room_path
from synapse_lite.replication.postgres_bus import CHANNEL
from synapse_lite.tasks.queue import TOPIC
from tests.ports import free_port
from tests.processes.harness import START, STOP, Process, wait_until

SERVER = "site.test"
SECRET = "a secret of this test"
LEASE = 60.0  # seconds: a process that a busy machine holds up keeps its tasks
OURS = "synapse_lite"
LIMITED = "tests.processes.limited_worker"
PATIENT = "tests.processes.patient_process"
ENDED = ("complete", "failed", "cancelled")
MARKER = "spam1234"
_CHUNK = 25
_ROOT = Path(tests.__file__).parent.parent


@frozen
class Task:
    """The row of a task."""

    id: str
    status: str
    owner: str | None
    done: int
    total: int | None
    epoch: int
    updated_at: int
    result: Mapping[str, Any] | None
    error: str | None

    @property
    def worker(self) -> str:
        assert self.owner is not None, self
        return self.owner.partition("#")[0]


class Site:
    """`runners` may run tasks; `main` and `workers` are started by `start`.

    `group`: their process group; `options`: more of the configuration; `listeners`: more of those of `main`.
    """

    def __init__(
        self,
        directory: Path,
        database: Mapping[str, Any],
        *,
        runners: Sequence[str],
        group: int | None = None,
        options: Mapping[str, Any] | None = None,
        listeners: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self._group = group
        self._listeners = listeners
        self._directory = directory
        self._database = database
        self._data = DataDir(directory / "data")
        self._ports: dict[str, int] = {}
        self._stack = ExitStack()
        self.processes: dict[str, Process] = {}
        self._data.make()
        self._data.write_up_file(
            port=self.port("main"), database=database, task_runners=runners, rate_limits=False
        )
        written = {
            "server_name": SERVER,
            "signing_key_path": str(self._data.path / "signing.key"),
            "media_store_path": str(self._data.path / "media"),
            "registration_shared_secret": SECRET,
            "enable_metrics": True,
            "tasks": {"lease": f"{LEASE:.0f}s"},
            **(options or {}),
        }
        self._data.homeserver_file.write_text(yaml.safe_dump(written))

    @property
    def homeserver_file(self) -> Path:
        return self._data.homeserver_file

    @property
    def media(self) -> Path:
        """The directory of the media store."""
        return self._data.path / "media"

    # Processes

    def start(self, *names: str, module: str = OURS) -> None:
        """Returns when all of them answer."""
        for name in names:
            self.launch(name, module=module)
        for name in names:
            self.processes[name].wait_healthy(self.url(name))

    def launch(self, name: str, *, module: str = OURS) -> Process:
        """Start it, and do not wait."""
        process = self.processes[name] = self._process(name, module)
        return self._stack.enter_context(process)

    def stop(self, *names: str, meanwhile: Callable[[], None] = lambda: None) -> None:
        """SIGTERM to all of them at once, and wait for the end; `meanwhile` is called between the two."""
        for name in names:
            self.processes[name].running.send_signal(signal.SIGTERM)
        meanwhile()
        for name in names:
            assert self.processes[name].running.wait(STOP) == 0, self.processes[name].log()

    def signal(self, name: str, number: signal.Signals) -> None:
        os.kill(self.processes[name].running.pid, number)

    def close(self) -> None:
        for process in self.processes.values():
            if process.running.poll() is None:
                process.running.send_signal(signal.SIGCONT)
        self._stack.close()

    def url(self, name: str = "main") -> str:
        return f"http://{LOCALHOST}:{self.port(name)}"

    def move(self, name: str) -> None:
        """From its next start on it has another port."""
        del self._ports[name]

    def port(self, name: str) -> int:
        if name not in self._ports:
            self._ports[name] = free_port()
        return self._ports[name]

    def config_words(self, name: str) -> list[str]:
        """What a command line says about the configuration of a process that was started."""
        files = (self._data.homeserver_file, self._data.up_file, self._data.path / f"{name}.yaml")
        return [word for path in files for word in ("-c", str(path))]

    def _process(self, name: str, module: str) -> Process:
        listener = {
            "port": self.port(name),
            "type": "http",
            "bind_addresses": [LOCALHOST],
            "resources": [{"names": ["client", "metrics"]}],
        }
        options: dict[str, Any] = {"listeners": [listener, *self._listeners]}
        if name != "main":
            options = {"worker_app": "synapse_lite", "worker_name": name, "worker_listeners": [listener]}
        (self._data.path / f"{name}.yaml").write_text(yaml.safe_dump(options))
        files = self.config_words(name)
        command = ["main" if name == "main" else "worker", *files] if module == OURS else [*files]
        environ = {"PYTHONPATH": str(_ROOT)}
        return Process(name, command, self._directory, environ, module=module, group=self._group)

    # Users and what they do

    def user(self, name: str, *, admin: bool = False, through: str = "main") -> User:
        answer = register(self.url(through), SECRET, username=name, password="secret", admin=admin)
        return User(self.url(through), answer["user_id"], "secret", answer["access_token"])

    def redact(self, admin: User, user_id: str, **body: Any) -> str:
        path = f"/_synapse/admin/v1/user/{quote(user_id)}/redact"
        with admin.connect() as connection:
            redact_id: str = connection.call("POST", path, {"rooms": [], **body})["redact_id"]
        return redact_id

    def redact_status(self, admin: User, redact_id: str) -> dict[str, Any]:
        with admin.connect() as connection:
            status: dict[str, Any] = connection.call(
                "GET", f"/_synapse/admin/v1/user/redact_status/{redact_id}"
            )
        return status

    # What the database says

    def rows(self, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
        with self._cursor() as cursor:
            cursor.execute(sql, arguments)
            return cursor.fetchall()

    def value(self, sql: str, *arguments: object) -> Any:
        return self.rows(sql, *arguments)[0][0]

    def execute(self, sql: str, *arguments: object) -> None:
        with self._cursor() as cursor:
            cursor.execute(sql, arguments)

    def task(self, task_id: str) -> Task:
        return Task(
            *self.rows(
                "SELECT id, status, owner, done, total, epoch, updated_at, result, error"
                " FROM scheduled_tasks WHERE id = %s",
                task_id,
            )[0]
        )

    def wait_for_end(self, task_id: str, timeout: float = START) -> Task:
        def ended() -> Task | None:
            task = self.task(task_id)
            return task if task.status in ENDED else None

        return wait_until(ended, f"the end of {self.task(task_id)}", timeout)

    def expire(self, name: str) -> None:
        """The lease of a process ends now, and others are told to look: so the test need not wait for it."""
        self.execute("UPDATE task_runners SET expires_at = now_ms() - 1 WHERE name = %s", name)
        self.execute("SELECT pg_notify(%s, %s)", CHANNEL, f"site {TOPIC} ")

    def history(self, task_id: str) -> list[tuple[int, str, str | None]]:
        """(time in ms, transition, runner)"""
        return self.rows(
            "SELECT at, kind, runner FROM task_events WHERE task_id = %s ORDER BY number", task_id
        )

    def redactions_of(self, user_id: str) -> dict[str, int]:
        """How many redactions each message of the user has."""
        return dict(
            self.rows(
                "SELECT e.event_id, count(r.event_nid) FROM events e LEFT JOIN redactions r ON r.redacts = e.event_id"
                " WHERE e.sender = %s AND e.type = 'm.room.message' GROUP BY e.event_id",
                user_id,
            )
        )

    def extremities(self, room_id: str) -> int:
        return self.value("SELECT cardinality(extremities) FROM rooms WHERE room_id = %s", room_id)

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        with closing(psycopg2.connect(**self._database)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                yield cursor


def create_room(owner: User, *others: User, **wishes: Any) -> str:
    with owner.connect() as connection:
        body = {"preset": "public_chat", **wishes}
        room_id: str = connection.call("POST", "/_matrix/client/v3/createRoom", body)["room_id"]
    for other in others:
        with other.connect() as connection:
            connection.call("POST", room_path(room_id, "join"), {})
    return room_id


def act(user: User, room_id: str, action: str, **body: Any) -> None:
    """`leave`, `kick`, `ban`, ..."""
    with user.connect() as connection:
        connection.call("POST", room_path(room_id, action), body)


def say(connection: Connection, room_id: str, txn_id: str, text: str = MARKER) -> str:
    content = {"msgtype": "m.text", "body": text}
    event_id: str = connection.call("PUT", room_path(room_id, f"send/m.room.message/{txn_id}"), content)[
        "event_id"
    ]
    return event_id


def flood(user: User, room_ids: Sequence[str], count: int) -> None:
    """`count` messages into each of the rooms."""

    def send(chunk: tuple[str, int]) -> None:
        room_id, first = chunk
        with user.connect() as connection:
            for number in range(first, min(first + _CHUNK, count)):
                say(connection, room_id, str(number))

    concurrently(send, [(room_id, first) for first in range(0, count, _CHUNK) for room_id in room_ids])


def readable(reader: User, room_ids: Sequence[str], suspect: str) -> list[str]:
    """Ids of events that show the reader something of the suspect."""
    with reader.connect() as connection:
        readings = [examine(read_events(connection, room_id), suspect, MARKER) for room_id in room_ids]
    assert all(reading.messages for reading in readings), "the messages of the suspect are not even listed"
    return [event_id for reading in readings for event_id in reading.readable]
