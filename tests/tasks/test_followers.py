"""Followers of the stream, on real databases: once each, taken over, paused, retried; deliveries with keys."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
from attrs import define, field
from prometheus_client import CollectorRegistry
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from synapse_lite.replication.changes import TOPIC as STREAM
from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import OperationalError, Transaction
from synapse_lite.storage.stream import Change, Kind
from synapse_lite.storage.tasks import FollowerLease, FollowerState
from synapse_lite.tasks import follower_steps
from synapse_lite.tasks.follower_run import FollowerRun
from synapse_lite.tasks.follower_steps import ATTEMPTS, Advanced, Steps
from synapse_lite.tasks.followers import FollowerSpec, RegisteredFollower, Shard, Told
from synapse_lite.tasks.metrics import TaskMetrics
from synapse_lite.tasks.registry import RegistryError, TaskRegistry
from synapse_lite.tasks.run import Backoff
from synapse_lite.tasks.scheduler import TaskScheduler
from tests.http.memory import ManualClock
from tests.tasks.conftest import Engine, fire

SPEC = FollowerSpec("test", frozenset({Kind.SESSION}), batch=2)


@define
class Copying:
    """Writes into `typing` whom it was told of, once more for each time that it was."""

    fails: Callable[[Sequence[Change]], bool] = lambda _: False
    batches: list[list[str | None]] = field(factory=list)

    def follow(self, txn: Transaction, changes: Sequence[Change], shard: Shard) -> None:
        owned = [change.user_id for change in changes if shard.owns(change.user_id or "")]
        self.batches.append([change.user_id for change in changes])
        txn.insert(
            "INSERT INTO typing VALUES %s ON CONFLICT (room_nid, user_id)"
            " DO UPDATE SET expires_ts = typing.expires_ts + 1",
            [(shard.index, user, 1) for user in owned],
        )
        txn.finish()
        if self.fails(changes):
            raise ZeroDivisionError


@define
class Delivering:
    """Remembers what it was asked to deliver; `outcomes` decides about each attempt."""

    outcomes: Callable[[int], "Deferred[None] | None"] = lambda _: None
    told: list[tuple[str, list[str | None]]] = field(factory=list)

    async def deliver(self, told: Told) -> None:
        self.told.append((told.key, [change.user_id for change in told.changes]))
        outcome = self.outcomes(len(self.told))
        if outcome is not None:
            await outcome


async def start(engine: Engine, handler: Any, spec: FollowerSpec = SPEC, **more: Any) -> TaskScheduler:
    registry = TaskRegistry()
    registry.register_follower(RegisteredFollower(spec, handler))
    return await engine.start_all(registry, lease_seconds=15.0, **more)  # its poll is a part of it


async def publish(engine: Engine, *users: str, kind: Kind = Kind.SESSION) -> None:
    def write(txn: Transaction) -> None:
        for user in users:
            txn.publish(kind, user_id=user)

    await engine.database.transact(write)
    engine.bus.publish(STREAM)


async def followers(engine: Engine) -> list[FollowerState]:
    return await engine.database.read(store.read_followers)


async def until(engine: Engine, condition: Callable[[list[FollowerState]], bool]) -> list[FollowerState]:
    """The followers as soon as they meet the condition."""
    while True:
        found = await followers(engine)
        if condition(found):
            return found
        pause: Deferred[None] = Deferred()
        engine.clock.call_later(0.02, fire, pause)
        await pause


def caught_up(found: list[FollowerState]) -> bool:
    return bool(found) and all(follower.lag == 0 for follower in found)


async def copied(engine: Engine) -> dict[str, int]:
    """How often each user was followed."""
    rows = await engine.database.read(lambda txn: txn.rows("SELECT user_id, expires_ts FROM typing"))
    return dict(rows)


@ensureDeferred
async def test_changes_are_followed_in_order_and_once(engine: Engine) -> None:
    """What was there before, and what comes, in batches; other kinds only move the position."""
    await publish(engine, "@a:x", "@b:x", "@c:x")
    handler = Copying()
    await start(engine, handler)
    await until(engine, caught_up)
    assert handler.batches == [["@a:x", "@b:x"], ["@c:x"]]
    await publish(engine, "@d:x")
    await publish(engine, "@e:x", kind=Kind.TYPING)
    (state,) = await until(engine, caught_up)
    assert handler.batches[2:] == [["@d:x"]]
    assert await copied(engine) == dict.fromkeys(("@a:x", "@b:x", "@c:x", "@d:x"), 1)
    assert (state.position, state.slowest, state.owner_alive, state.error) == (5, True, True, None)


@ensureDeferred
async def test_one_owner_and_a_takeover(engine: Engine) -> None:
    """Of two processes one follows; when it ends, the other one goes on where it was."""
    first, second = Copying(), Copying()
    leader = await start(engine, first, name="one")
    await until(engine, lambda found: any(follower.owner for follower in found))
    await start(engine, second, name="two")
    await publish(engine, "@a:x")
    await until(engine, caught_up)
    assert (first.batches, second.batches) == ([["@a:x"]], [])
    await engine.stop(leader)
    await publish(engine, "@b:x")
    (state,) = await until(engine, caught_up)
    assert second.batches == [["@b:x"]]
    assert (state.owner or "").startswith("two#")
    assert await copied(engine) == {"@a:x": 1, "@b:x": 1}


@ensureDeferred
async def test_what_a_dead_owner_left_is_fenced(engine: Engine) -> None:
    """An owner whose runner is gone loses the follower; what it still writes is rolled back, work included."""

    def claim(txn: Transaction, runner: str) -> store.FollowerLease:
        store.register_runner(txn, runner, "w", [], 600_000)
        store.register_followers(txn, {("test", 0): False})
        lease = store.claim_follower(txn, runner, [("test", 0)])
        assert lease is not None
        return lease

    zombie = await engine.database.transact(claim, "zombie#1")
    assert await engine.database.transact(store.claim_follower, "zombie#1", [("other", 0)]) is None
    await engine.execute("DELETE FROM task_runners")
    heir = await engine.database.transact(claim, "heir#1")
    assert heir.epoch == zombie.epoch + 1

    def work(txn: Transaction, lease: store.FollowerLease, user: str) -> None:
        txn.execute("INSERT INTO typing VALUES (0, %s, 1)", (user,))
        store.advance_follower(txn, lease, 7)

    with pytest.raises(store.LeaseLostError):
        await engine.database.transact(work, zombie, "@zombie:x")
    with pytest.raises(store.LeaseLostError):
        await engine.database.transact(store.fence_follower, zombie)
    await engine.database.transact(work, heir, "@heir:x")
    assert await copied(engine) == {"@heir:x": 1}


def is_bad(changes: Sequence[Change]) -> bool:
    return any((change.user_id or "").startswith("@bad") for change in changes)


@ensureDeferred
async def test_a_failure_is_tried_again_and_shown(engine: Engine) -> None:
    """Nothing of a failed batch stays; what is before the bad change is done; when it goes well, nothing is left out."""
    broken = True
    handler = Copying(fails=lambda changes: broken and is_bad(changes))
    await publish(engine, "@a:x", "@bad:x", "@c:x")
    engine.backoff = Backoff(first_seconds=2.0)
    await start(engine, handler)
    (state,) = await until(engine, lambda found: bool(found) and found[0].error is not None)
    assert (state.error or "").startswith("ZeroDivisionError")
    assert (state.position, state.lag, state.attempt) == (1, 2, 1)
    assert handler.batches == [["@a:x", "@bad:x"], ["@a:x"], ["@bad:x"]]
    assert await copied(engine) == {"@a:x": 1}
    broken = False
    (state,) = await until(engine, caught_up)
    assert (state.error, state.attempt) == (None, 0)
    assert await copied(engine) == dict.fromkeys(("@a:x", "@bad:x", "@c:x"), 1)
    assert await engine.database.read(store.read_passed_over, 60_000, 10) == (0, [])


@ensureDeferred
async def test_a_change_that_always_fails(engine: Engine) -> None:
    """It is passed over with a record, once for all processes, and stops nobody; it is told by a metric."""
    await publish(engine, "@a:x", "@bad:x", "@c:x", "@bad2:x", "@e:x")
    await start(engine, Copying(fails=is_bad), FollowerSpec("test", SPEC.kinds))
    (state,) = await until(engine, caught_up)
    assert (state.error, state.attempt) == (None, 0)
    assert await copied(engine) == dict.fromkeys(("@a:x", "@c:x", "@e:x"), 1)
    count, found = await engine.database.read(store.read_passed_over, 60_000, 10)
    assert [(one.position, one.error.split()[0]) for one in found] == [
        (4, "ZeroDivisionError"),
        (2, "ZeroDivisionError"),
    ]
    name = "synapse_lite_follower_passed_over_total"
    assert engine.metrics.get_sample_value(name, {"follower": "test"}) == count == 2


@ensureDeferred
async def test_when_everything_fails(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so much is passed over: then the follower waits for somebody to mend the program, and goes on there."""
    monkeypatch.setattr(follower_steps, "MOST_PLACES", 2)
    await publish(engine, "@bad1:x", "@bad2:x", "@bad3:x", "@bad4:x")
    broken = True
    await start(engine, Copying(fails=lambda changes: broken and is_bad(changes)))
    (state,) = await until(engine, lambda found: bool(found) and found[0].attempt > ATTEMPTS)
    assert state.position == 2
    broken = False
    await until(engine, caught_up)
    assert await copied(engine) == {"@bad3:x": 1, "@bad4:x": 1}


@ensureDeferred
async def test_errors_of_the_database_are_no_faults_of_changes(engine: Engine) -> None:
    """However often they come, nothing is passed over."""
    left = 5

    def fails(_: Sequence[Change]) -> bool:
        nonlocal left
        left -= 1
        if left > 0:
            raise OperationalError("away")
        return False

    await publish(engine, "@a:x")
    await start(engine, Copying(fails=fails))
    await until(engine, caught_up)
    assert await copied(engine) == {"@a:x": 1}
    assert (await engine.database.read(store.read_passed_over, 60_000, 10))[0] == 0


@ensureDeferred
async def test_a_change_of_which_the_database_cannot_read_a_value(engine: Engine) -> None:
    """That is the change's fault, and it stops nobody."""

    @define
    class Reading(Copying):
        def follow(self, txn: Transaction, changes: Sequence[Change], shard: Shard) -> None:
            super().follow(txn, changes, shard)
            if is_bad(changes):
                txn.value("SELECT %s::json", ("{",))

    await publish(engine, "@a:x", "@bad:x", "@c:x")
    await start(engine, Reading())
    await until(engine, caught_up)
    assert await copied(engine) == dict.fromkeys(("@a:x", "@c:x"), 1)
    assert (await engine.database.read(store.read_passed_over, 60_000, 10))[0] == 1


@ensureDeferred
async def test_a_paused_follower_waits(engine: Engine) -> None:
    """Paused, nobody follows and the lag grows; resumed, it goes on from where it was."""
    handler = Copying()
    await start(engine, handler)
    await until(engine, caught_up)
    assert await engine.queue.pause_follower("test", paused=True)
    await publish(engine, "@a:x")
    (state,) = await until(engine, lambda found: found[0].owner is None)
    assert (state.paused, state.lag, handler.batches) == (True, 1, [])
    assert await engine.queue.pause_follower("test", paused=False)
    await until(engine, caught_up)
    assert handler.batches == [["@a:x"]]
    assert not await engine.queue.pause_follower("unknown", paused=True)


@ensureDeferred
async def test_shards_share_the_destinations(engine: Engine) -> None:
    """Each destination belongs to one shard; together they are all."""
    users = [f"@u{number}:x" for number in range(20)]
    await publish(engine, *users)
    await start(engine, Copying(), FollowerSpec("test", frozenset({Kind.SESSION}), shards=3))
    await until(engine, lambda found: len(found) == 3 and caught_up(found))
    rows = await engine.database.read(lambda txn: txn.rows("SELECT room_nid, user_id FROM typing"))
    assert sorted(user for _, user in rows) == sorted(users)
    assert {shard for shard, _ in rows} == {0, 1, 2}
    assert all(Shard(shard, 3).owns(user) for shard, user in rows)


@ensureDeferred
async def test_a_delivery_keeps_its_key_until_it_succeeds(engine: Engine) -> None:
    """However often it fails, and whoever tries: the same changes with the same key, also when more came."""
    broken: Deferred[None] = Deferred()

    def outcome(attempt: int) -> "Deferred[None] | None":
        if attempt == 1:
            return broken
        if attempt == 2:
            raise ConnectionError
        return None

    await publish(engine, "@a:x")
    handler = Delivering(outcome)
    first = await start(engine, handler, name="one")
    await until(engine, lambda _: len(handler.told) == 1)
    await publish(engine, "@b:x", "@c:x", "@d:x")
    broken.errback(ConnectionError())
    await engine.stop(first)
    await start(engine, handler, name="two")
    await until(engine, caught_up)
    assert handler.told == [
        ("test/0/1", ["@a:x"]),
        ("test/0/1", ["@a:x"]),
        ("test/0/1", ["@a:x"]),
        ("test/0/3", ["@b:x", "@c:x"]),
        ("test/0/4", ["@d:x"]),
    ]


def test_names_are_taken_once() -> None:
    """As with tasks: not twice, and not after the scheduler was built."""
    registry = TaskRegistry()
    registry.register_follower(RegisteredFollower(SPEC, Copying()))
    with pytest.raises(RegistryError, match="twice"):
        registry.register_follower(RegisteredFollower(SPEC, Copying()))
    with pytest.raises(RegistryError, match="after the scheduler"):
        registry.freeze().register_follower(RegisteredFollower(SPEC, Copying()))


@pytest.mark.parametrize(
    ("delay", "expected"), [(0.0, [1, 1, 2, 3, 3]), (0.5, [1, 1, 2, 2, 3])], ids=["awaited", "at leisure"]
)
@ensureDeferred
async def test_what_comes_after_a_rest(delay: float, expected: list[int]) -> None:
    """News lets more gather only when the last look was a moment ago, or where nobody waits for the follower."""
    steps = []

    class Database:
        async def transact(self, function: Any, *_: Any) -> Advanced:
            steps.append(function)
            return Advanced()

    clock = ManualClock()
    database = cast("Any", Database())
    spec = FollowerSpec("test", SPEC.kinds, pause_seconds=2.0, delay_seconds=delay)
    run = FollowerRun(
        FollowerLease("test", 0, 1, "one#1"),
        RegisteredFollower(spec, Copying()),
        database,
        Steps(database, clock),
        clock=clock,
        metrics=TaskMetrics(CollectorRegistry()),
        backoff=Backoff(),
        is_current=lambda _: True,
    )
    ended = Deferred.fromCoroutine(run.run())
    await next_turn(clock)
    looked = [len(steps)]
    for rest in (0.0, 3.0):
        clock.advance(rest)
        run.news.set()
        await next_turn(clock)
        looked.append(len(steps))
        clock.advance(2.0)
        await next_turn(clock)
        looked.append(len(steps))
    assert looked == expected
    run.drain()
    await ended


async def next_turn(clock: ManualClock) -> None:
    """Whoever asks for a step in one takes it together with others that do."""
    turned: Deferred[None] = Deferred()
    clock.call_later(0.0, fire, turned)
    await turned
