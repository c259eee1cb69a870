"""A real PostgreSQL for every test that asks: one server a process of pytest, one database for most tests."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from psycopg2 import extensions

from synapse_lite.storage.database import Database
from synapse_lite.storage.stream import Change
from synapse_lite.workers.allocator import settle_heap
from tests.connections import KeptDatabase
from tests.contract.checking import REFUSED, note_calls, take_calls
from tests.contract.table import promised
from tests.databases import ReusedDatabase, execute, make_template, new_database, start_server
from tests.interrupts import end_in_spite_of_threads, interrupt_tests

# A property is as true on a slow machine; and a run finds what the one before it found.
settings.register_profile(
    "tests", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("tests")

_INTEROP = Path(__file__).with_name("interop")
_OWN_DIRECTORY = pytest.StashKey[Path]()
_EXIT_STATUS = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--examples 1000`: so many, by chance, in the place of the few fixed ones of a long property test."""
    parser.addoption("--examples", type=int, default=None)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Give the run a directory of its own.

    Each run takes the permission to enter the usual one from all but its owner; the PostgreSQL of another run of
    root, which is a user of its own, is in there.
    """
    interrupt_tests()
    if config.option.basetemp is None:
        config.option.basetemp = str(Path(tempfile.mkdtemp(prefix="tests-"), "run"))
        config.stash[_OWN_DIRECTORY] = Path(config.option.basetemp).parent


def pytest_collection_finish() -> None:
    """What was collected stays until the end: no garbage collection looks through it again, as in a server."""
    settle_heap()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """The directory stays after a failure."""
    session.config.stash[_EXIT_STATUS] = int(exitstatus)
    directory = session.config.stash.get(_OWN_DIRECTORY, None)
    if directory is not None and exitstatus == pytest.ExitCode.OK:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    end_in_spite_of_threads(config.stash.get(_EXIT_STATUS, 1))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What needs other servers, browsers and packages runs when it is asked for: `pytest tests/interop`."""
    is_asked_for = any(_INTEROP.name in argument for argument in config.args)
    return True if collection_path == _INTEROP and not is_asked_for else None


@pytest.fixture(autouse=True)
def contract(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that `docs/contract.md` names for an operation calls it."""
    take_calls()
    yield
    made, test_id = take_calls(), request.node.nodeid
    note_calls(test_id, made)
    assert promised(test_id) <= {operation.lstrip(REFUSED) for operation in made}, (
        "docs/contract.md names this test for what it does not call"
    )


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Connection arguments of an embedded server whose template database is migrated."""
    directory: Path = tmp_path_factory.mktemp("postgres")
    server = start_server(directory / "data")
    arguments = dict(extensions.parse_dsn(server.get_uri()))
    execute(arguments, "ALTER SYSTEM SET fsync = off")
    for setting in (
        "analyze_threshold = 2147483647",
        "vacuum_insert_threshold = -1",
    ):  # a plan is no matter of time
        execute(arguments, f"ALTER SYSTEM SET autovacuum_{setting}")
    execute(arguments, "SELECT pg_reload_conf()")
    make_template(arguments)
    yield arguments
    with suppress(OSError):  # a server that was killed in the end may write still
        server.cleanup()


@pytest.fixture(scope="session")
def reused_database(postgres: dict[str, Any]) -> Iterator[ReusedDatabase]:
    with new_database(postgres, "reused") as arguments:
        database = ReusedDatabase(arguments)
        yield database
        database.close()


@pytest.fixture(scope="session")
def further_databases(postgres: dict[str, Any]) -> Iterator[Callable[[int], ReusedDatabase]]:
    """By number: for the servers of a test besides its first one. Each is made when it is asked for, and stays."""
    with ExitStack() as stack:
        made: list[ReusedDatabase] = []

        def get(number: int) -> ReusedDatabase:
            while len(made) <= number:
                database = ReusedDatabase(stack.enter_context(new_database(postgres, "reused")))
                stack.callback(database.close)
                made.append(database)
            return made[number]

        yield get


@pytest.fixture
def database_arguments(
    request: pytest.FixtureRequest, postgres: dict[str, Any], reused_database: ReusedDatabase
) -> Iterator[dict[str, Any]]:
    """Connection arguments of an empty database: that of many tests, or one of the test's own if it is so marked."""
    if request.node.get_closest_marker("new_database"):
        with new_database(postgres) as arguments:
            yield arguments
    else:
        reused_database.empty()
        yield reused_database.arguments


@pytest.fixture
def changes() -> list[Change]:
    """What the test's `database` published, in order."""
    return []


@pytest.fixture
def database(database_arguments: dict[str, Any], changes: list[Change]) -> Iterator[Database]:
    """A started pool of four connections on an empty database."""
    pool = KeptDatabase(database_arguments)
    pool.on_commit(changes.extend)
    pool.start()
    yield pool
    pool.stop()
