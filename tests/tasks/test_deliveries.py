"""Followers that talk to the outside: where they begin, what they pass over, when they are tried again."""

import logging

import pytest
from attrs import define, evolve, field
from pytest_twisted import ensureDeferred

from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Transaction
from synapse_lite.tasks.followers import NobodyListensError, Told
from synapse_lite.tasks.queue import TOPIC as TASKS
from synapse_lite.workers.logs import OutageFilter
from tests.tasks.conftest import Engine
from tests.tasks.test_followers import SPEC, caught_up, followers, publish, start, until


@define
class Choosy:
    """Has a word for users whose ids begin so; `is_away`: nobody listens."""

    prefix: str = "@wanted"
    is_away: bool = False
    looked_at: list[tuple[int, list[str | None]]] = field(factory=list)
    delivered: list[str] = field(factory=list)
    attempts: int = 0

    def prepare(self, txn: Transaction, told: Told) -> bool:
        self.looked_at.append((told.after, [change.user_id for change in told.changes]))
        return any((change.user_id or "").startswith(self.prefix) for change in told.changes)

    async def deliver(self, told: Told) -> None:
        self.attempts += 1
        if self.is_away:
            raise NobodyListensError("nobody listens")
        self.delivered.append(told.key)


@ensureDeferred
async def test_a_new_follower_may_begin_at_the_end_of_the_stream(engine: Engine) -> None:
    """What was there before is not told; what an older one has missed is."""
    await publish(engine, "@wanted:before")
    handler = Choosy()
    scheduler = await start(engine, handler, evolve(SPEC, from_now=True))
    await until(engine, caught_up)
    await publish(engine, "@wanted:after")
    await until(engine, caught_up)
    await engine.stop(scheduler)
    await publish(engine, "@wanted:meanwhile")
    await start(engine, handler, evolve(SPEC, from_now=True))
    await until(engine, caught_up)
    assert handler.looked_at == [(1, ["@wanted:after"]), (2, ["@wanted:meanwhile"])]
    assert handler.delivered == ["test/0/2", "test/0/3"]


@ensureDeferred
async def test_what_concerns_nobody_is_passed_over_without_a_pause(engine: Engine) -> None:
    await publish(engine, "@a:x", "@b:x", "@c:x", "@d:x", "@wanted:x")
    handler = Choosy()
    await start(engine, handler)
    await until(engine, caught_up)
    assert handler.looked_at == [
        (0, ["@a:x", "@b:x"]),
        (2, ["@c:x", "@d:x"]),
        (4, ["@wanted:x"]),
    ]
    assert handler.delivered == ["test/0/5"]


def put_off(txn: Transaction) -> int:
    """For an hour, if it waits after a failure."""
    later = "UPDATE followers SET run_at = now_ms() + 3600000 WHERE attempt > 0 AND owner IS NULL"
    return txn.execute(later)


@ensureDeferred
async def test_who_is_away_is_named_in_a_line_and_tried_again_when_heard_of(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    handler = Choosy(is_away=True)
    await start(engine, handler)
    with caplog.at_level(logging.WARNING):
        await publish(engine, "@wanted:x")
        while not await engine.database.transact(put_off):
            pass  # it is being tried
    told = [one for one in caplog.records if "nobody listens" in one.getMessage()]
    assert told
    assert not any(one.exc_info for one in told)
    assert all(OutageFilter().filter(one) for one in told)  # that the database is away is another thing
    handler.is_away = False
    assert await engine.database.transact(store.try_follower_again, "test")
    assert not await engine.database.transact(store.try_follower_again, "test")
    engine.bus.publish(TASKS)
    await until(engine, caught_up)
    assert handler.delivered == ["test/0/1"]
    assert (await followers(engine))[0].attempt == 0
