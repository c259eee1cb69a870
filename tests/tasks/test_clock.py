"""The database's clock is set back an hour, and forward again: the engine goes on."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.tasks import Lease, Runner, Status
from synapse_lite.tasks.actions.noop import NOOP, Noop, NoopParams
from synapse_lite.tasks.outcome import Done, Outcome
from synapse_lite.tasks.specs import TaskSpec
from tests.databases import execute
from tests.tasks.conftest import ADMIN, LEASE_SECONDS, Engine, Scripted, fire

pytestmark = pytest.mark.new_database

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
ASKED = {"requester": ADMIN, "endpoint": "test"}
ABLE = [("noop", 1)]
AGAIN = TaskSpec(action="again", version=1, params=NoopParams, cursor=NoopParams)

_WALL = """
CREATE TABLE wall (ms BIGINT NOT NULL);
INSERT INTO wall VALUES (0);
CREATE OR REPLACE FUNCTION wall_ms() RETURNS BIGINT LANGUAGE sql STABLE
    RETURN {};
"""
_REAL = "(extract(epoch FROM statement_timestamp()) * 1000)::bigint + (SELECT ms FROM wall)"
_BY_HAND = "(SELECT ms FROM wall)"


@pytest.fixture
def stepping(database_arguments: dict[str, Any]) -> None:
    """The database's clock goes on by itself, and is set through the table `wall`."""
    execute(database_arguments, _WALL.format(_REAL))


async def step(engine: Engine, ms: int) -> None:
    await engine.execute("UPDATE wall SET ms = ms + %s", ms)


@pytest.mark.usefixtures("stepping")
@ensureDeferred
async def test_a_dead_owner_loses_its_task(engine: Engine) -> None:
    """Its lease ends within its time, though the clock says that it has another hour."""
    enqueued = await engine.queue.enqueue(NOOP, NoopParams(steps=1), **ASKED)

    def die(txn: Transaction) -> None:
        store.register_runner(txn, "dead#1", "dead", ABLE, 500)
        assert store.claim(txn, "dead#1", ABLE, []) is not None

    await engine.database.transact(die)
    await step(engine, -HOUR_MS)
    await engine.start(NOOP, Noop())
    task = await engine.until_ended(enqueued.id)
    assert task.status is Status.COMPLETE
    assert "rescued" in [event.transition for event in await engine.queue.history(enqueued.id)]


@pytest.mark.usefixtures("stepping")
@ensureDeferred
async def test_what_was_asked_for_before_is_run(engine: Engine) -> None:
    """A task that could run before the step, one that is asked for behind it, and one that is tried again."""
    early = await engine.queue.enqueue(NOOP, NoopParams(steps=1), **ASKED)
    await engine.database.transact(store.tick)
    await step(engine, -HOUR_MS)
    scheduler = await engine.start(NOOP, Noop())
    late = await engine.queue.enqueue(NOOP, NoopParams(steps=1), **ASKED)
    for task_id in (early.id, late.id):
        assert (await engine.until_ended(task_id)).status is Status.COMPLETE
    await engine.stop(scheduler)

    attempts: list[int] = []

    def fail_once(_txn: Transaction, task: Any) -> Outcome:
        attempts.append(task.attempt)
        if len(attempts) == 1:
            raise ZeroDivisionError
        return Done()

    await engine.start(AGAIN, Scripted(fail_once))
    again = await engine.queue.enqueue(AGAIN, NoopParams(steps=1), **ASKED)
    assert (await engine.until_ended(again.id)).status is Status.COMPLETE
    assert attempts == [0, 1]


@pytest.mark.usefixtures("stepping")
@ensureDeferred
async def test_the_living_keep_their_leases(engine: Engine) -> None:
    """A runner that beats on is the same one after several leases behind a step back; and one forward stops nothing."""
    await engine.start(NOOP, Noop())
    (before,) = await engine.queue.runners()
    await step(engine, -HOUR_MS)
    for _ in range(4):
        await step(engine, round(0.6 * LEASE_SECONDS * 1000))
        await beaten(engine, before)
    await step(engine, HOUR_MS // 2)
    while (
        await engine.database.read(lambda txn: txn.value("SELECT wall_ms() - wall FROM task_clock"))
        > MINUTE_MS
    ):
        await pause(engine)  # until the engine has noticed
    enqueued = await engine.queue.enqueue(NOOP, NoopParams(steps=1), **ASKED)
    assert (await engine.until_ended(enqueued.id)).status is Status.COMPLETE


async def beaten(engine: Engine, runner: Runner) -> None:
    """Returns when it has prolonged its lease once more."""
    prolonged = expected = 0
    while prolonged <= expected:
        (now,) = await engine.queue.runners()
        assert (now.id, now.alive) == (runner.id, True)
        expected = expected or now.expires_at_ms
        prolonged = now.expires_at_ms
        await pause(engine)


async def pause(engine: Engine) -> None:
    over: Deferred[None] = Deferred()
    engine.clock.call_later(0.01, fire, over)
    await over


@ensureDeferred
async def test_the_clock_of_the_engine(engine: Engine, database_arguments: dict[str, Any]) -> None:
    """It never goes back, whatever the database's does; it comes to it at half its speed, or at once over a gap."""
    execute(database_arguments, _WALL.format(_BY_HAND))

    async def tick(wall: int) -> int:
        await engine.execute("UPDATE wall SET ms = %s", wall)
        await engine.database.transact(store.tick)
        now: int = await engine.database.read(lambda txn: txn.value("SELECT now_ms()"))
        return now

    assert await tick(10_000_000) == 10_000_000
    assert await tick(10_004_000) == 10_004_000
    assert await tick(6_400_000) == 10_004_000  # an hour back
    assert await tick(6_404_000) == 10_006_000
    assert await tick(6_464_000) == 10_036_000
    assert await tick(6_404_000) == 10_036_000  # and a minute
    assert await tick(10_004_000) == 10_096_000  # set right
    assert await tick(10_100_000) == 10_144_000
    assert await tick(20_000_000) == 20_000_000  # nobody was there
    assert await tick(20_000_001) == 20_000_001


@ensureDeferred
async def test_a_lease_is_fenced_behind_a_step(engine: Engine, database_arguments: dict[str, Any]) -> None:
    """Who lost a task while the clock was set back is kept from writing, as always."""
    execute(database_arguments, _WALL.format(_REAL))
    await engine.queue.enqueue(NOOP, NoopParams(steps=1), **ASKED)

    def claim(txn: Transaction, runner: str) -> Lease:
        store.register_runner(txn, runner, runner, ABLE, 600_000)
        claimed = store.claim(txn, runner, ABLE, [])
        assert claimed is not None
        return claimed.lease

    zombie = await engine.database.transact(claim, "zombie#1")
    await engine.execute("UPDATE task_runners SET expires_at = now_ms() - 1000")
    await step(engine, -HOUR_MS)
    await engine.database.transact(claim, "heir#1")
    with pytest.raises(store.LeaseLostError):
        await engine.database.transact(store.fence, zombie)


@ensureDeferred
async def test_a_task_between_a_step_and_the_next_tick(
    engine: Engine, database_arguments: dict[str, Any]
) -> None:
    """What is asked for before anybody noticed that the clock was set, back or forward again, is due at once."""
    execute(database_arguments, _WALL.format(_BY_HAND))

    async def due_in(wall: int, *, ticks: bool) -> int:
        """The milliseconds until a task may run that is asked for at this time, as a tick finds it."""
        await engine.execute("UPDATE wall SET ms = %s", wall)
        if ticks:
            await engine.database.transact(store.tick)
        asked = await engine.queue.enqueue(NOOP, NoopParams(steps=1), **ASKED)
        await engine.database.transact(store.tick)
        due: int = await engine.database.read(
            lambda txn: txn.value("SELECT run_at - now_ms() FROM scheduled_tasks WHERE id = %s", (asked.id,))
        )
        return due

    assert await due_in(10_000_000, ticks=True) == 0
    assert await due_in(10_000_000 - HOUR_MS, ticks=False) == 0
    assert await due_in(10_000_000, ticks=False) == 0
    assert await due_in(10_000_000 + HOUR_MS, ticks=False) == 0
