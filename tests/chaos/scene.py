"""A server for faults: its workers may be killed at any moment, and its PostgreSQL may crash."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.internet import reactor

from benchmarks.seed_room import Seeder
from synapse_lite.cli.demo.connection import User
from synapse_lite.clock import ReactorClock
from synapse_lite.matrix.signing import generate_signing_key
from synapse_lite.storage import tasks as store
from synapse_lite.storage.migrate import migrate
from synapse_lite.storage.session import Session
from synapse_lite.workers.guardian import Guardian
from tests.chaos.postgres import FallibleDatabase
from tests.processes.harness import wait_until
from tests.processes.site import LEASE, SERVER, Site

WORKERS = ("a", "b")


@frozen
class Scene:
    """A server whose workers and whose PostgreSQL may die. `second` is a session for another thread."""

    site: Site
    admin: User
    session: Session
    second: Session
    seeder: Seeder

    def ask(self, method: str, path: str, **body: Any) -> Any:
        with self.admin.connect() as connection:
            return connection.call(method, path, body)

    def wait_for_followers(self) -> None:
        """Until they have seen everything: what is compared later does not change by them."""
        wait_until(
            lambda: not any(one.lag for one in self.session.read(store.read_followers)), "the followers"
        )


@contextmanager
def scene(directory: Path, workers: Sequence[str] = WORKERS, concurrency: int = 2) -> Iterator[Scene]:
    """`concurrency`: steps of a worker at the same time. A guardian ends everything should this process be killed."""
    with ExitStack() as stack:
        database = FallibleDatabase(directory / "postgres")
        guardian = Guardian(database.stop_command)
        guardian.start()
        stack.callback(guardian.stop)
        stack.callback(database.stop)
        arguments = database.start()
        migrate(arguments)
        tasks = {"lease": f"{LEASE:.0f}s", "concurrency": concurrency}
        site = Site(directory, arguments, runners=workers, group=guardian.group, options={"tasks": tasks})
        stack.callback(site.close)
        site.start("main", *workers)
        session, second = Session(arguments, {}), Session(arguments, {})
        stack.callback(session.close)
        stack.callback(second.close)
        seeder = Seeder(arguments, generate_signing_key(SERVER), ReactorClock(reactor))
        stack.callback(seeder.close)
        yield Scene(site, site.user("admin", admin=True), session, second, seeder)
