"""A database that was put back under a running process."""

from collections.abc import Callable
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor, task

from synapse_lite.storage.database import Database
from synapse_lite.storage.stream import Lineage
from synapse_lite.workers.lineage import LOOK_SECONDS, LineageWatch
from tests.databases import execute
from tests.http.memory import ManualClock


def run(database: Database, *statements: str) -> Any:
    return database.transact(lambda txn: [txn.execute(statement) for statement in statements])


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await task.deferLater(reactor, 0.01)


class Watched(LineageWatch):
    """Counts its looks, and that it was the last one."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.looks, self.ended = 0, 0
        super().__init__(database, clock, self._count_end)

    def _count_end(self) -> None:
        self.ended += 1

    async def _look(self) -> None:
        await super()._look()
        self.looks += 1


async def look(watch: Watched, clock: ManualClock) -> int:
    """Let it look once; how often it has ended the process."""
    before = watch.looks
    clock.advance(LOOK_SECONDS)
    await until(lambda: watch.looks > before)
    return watch.ended


@ensureDeferred
async def test_a_position_that_has_fallen_ends_the_process(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """One that rises or stays does not, nor an empty table, which is there while a dump is read."""
    clock = ManualClock()
    await run(database, "UPDATE stream_position SET position = 7")
    watch = Watched(database, clock)
    await watch.start()
    assert await look(watch, clock) == 0
    await run(database, "UPDATE stream_position SET position = 9")
    assert await look(watch, clock) == 0
    await run(database, "DELETE FROM stream_position")
    assert await look(watch, clock) == 0
    await run(database, "INSERT INTO stream_position (position) VALUES (8)")
    assert await look(watch, clock) == 1
    assert "restored under this process (position 8, before 9)" in caplog.text
    clock.advance(10 * LOOK_SECONDS)
    assert (watch.looks, watch.ended) == (4, 1), "it looks no more"


@pytest.mark.new_database
@ensureDeferred
async def test_a_table_that_was_made_anew_ends_the_process(database: Database) -> None:
    """As by `pg_restore --clean`, also where the position is already above the old one again."""
    clock = ManualClock()
    watch = Watched(database, clock)
    await watch.start()
    await run(database, "ALTER TABLE stream_position RENAME TO before")
    assert await look(watch, clock) == 0, "there is none for a while"
    await run(
        database, "CREATE TABLE stream_position AS SELECT single, position + 100 AS position FROM before"
    )
    assert await look(watch, clock) == 1


@ensureDeferred
async def test_a_table_that_is_written_anew_is_the_same(
    database: Database, database_arguments: dict[str, Any]
) -> None:
    """As by who tidies up: PostgreSQL gives it another file, and no other number."""
    clock = ManualClock()
    watch = Watched(database, clock)
    await watch.start()
    for statement in ("VACUUM FULL stream_position", "REINDEX TABLE CONCURRENTLY stream_position"):
        execute(database_arguments, statement)
        assert await look(watch, clock) == 0


def test_what_goes_on() -> None:
    assert Lineage(1, 5).leads_to(Lineage(1, 5))
    assert Lineage(1, 5).leads_to(Lineage(1, 6))
    assert not Lineage(1, 5).leads_to(Lineage(1, 4))
    assert not Lineage(1, 5).leads_to(Lineage(2, 6))
