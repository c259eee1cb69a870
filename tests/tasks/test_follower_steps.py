"""Steps of followers that ask at once, on real databases: one transaction, unless something is the matter with one of them."""

import random
from collections.abc import AsyncIterator, Callable, Sequence
from threading import Event
from typing import Any

import pytest
import pytest_twisted
from attrs import define, field
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import Change, Kind
from synapse_lite.storage.tasks import LeaseLostError
from synapse_lite.tasks import follower_steps
from synapse_lite.tasks.follower_steps import Advanced, ClaimedFollower, Steps
from synapse_lite.tasks.followers import FollowerSpec, Shard
from tests.tasks.conftest import Engine, fire

KINDS = (Kind.SESSION, Kind.PROFILE, Kind.TYPING)


@define
class Counting:
    """Writes down each position that it is handed, with the transaction; `before` may interfere."""

    name: str
    before: Callable[[Transaction], object] = lambda _: None
    transactions: list[str] = field(factory=list)

    def follow(self, txn: Transaction, changes: Sequence[Change], _shard: Shard) -> bool:
        self.transactions.append(txn.value("SELECT pg_current_xact_id()::text"))
        for change in changes:
            txn.execute("INSERT INTO ledger VALUES (%s, %s)", (self.name, change.position))
        self.before(txn)
        return True


@pytest_twisted.async_yield_fixture(autouse=True)
async def ledger(engine: Engine) -> AsyncIterator[None]:
    """Without a key: what is followed twice shows."""
    await engine.execute("CREATE TABLE ledger (follower TEXT, position BIGINT)")
    yield
    await engine.execute("DROP TABLE ledger")


def fail(_: Transaction) -> None:
    raise ZeroDivisionError


async def claim(
    engine: Engine, *handlers: Counting, kinds: Sequence[Kind] = KINDS, batch: int = 500
) -> list[ClaimedFollower]:
    def write(txn: Transaction) -> list[ClaimedFollower]:
        runner = f"{handlers[0].name}#1"
        store.register_runner(txn, runner, "w", [], 600_000)
        store.register_followers(txn, {(one.name, 0): False for one in handlers})
        leases = [store.claim_follower(txn, runner, [(one.name, 0)]) for one in handlers]
        return [
            ClaimedFollower(lease, FollowerSpec(one.name, frozenset(kinds), batch), Shard(0, 1), one)
            for lease, one in zip(leases, handlers, strict=True)
            if lease is not None
        ]

    return await engine.database.transact(write)


async def publish(engine: Engine, *kinds: Kind) -> None:
    def write(txn: Transaction) -> None:
        for kind in kinds:
            txn.publish(kind, user_id="@a:x")

    await engine.database.transact(write)


async def take(engine: Engine, *followers: ClaimedFollower) -> list[Any]:
    """What each did, or raised."""
    steps = Steps(engine.database, engine.clock)
    asked = [Deferred.fromCoroutine(steps.take(one)) for one in followers]
    for one in asked:
        one.addErrback(lambda failure: failure.value)
    return await gatherResults(asked)


async def written(engine: Engine) -> dict[str, list[int]]:
    """The positions that stand for each follower."""
    rows = await engine.database.read(
        lambda txn: txn.rows("SELECT follower, array_agg(position ORDER BY position) FROM ledger GROUP BY 1")
    )
    return dict(rows)


async def positions(engine: Engine) -> dict[str, int]:
    return {one.name: one.position for one in await engine.database.read(store.read_followers)}


@ensureDeferred
async def test_one_transaction(engine: Engine) -> None:
    """Each is handed what it follows and has not seen; who is at the end does nothing."""
    first, second, third = Counting("a"), Counting("b"), Counting("c")
    a, b = await claim(engine, first, second, kinds=[Kind.SESSION])
    (c,) = await claim(engine, third, kinds=[Kind.PROFILE])
    await publish(engine, Kind.SESSION, Kind.PROFILE)
    await take(engine, a)
    await publish(engine, Kind.SESSION)
    assert await take(engine, a, b, c) == [Advanced(wrote=True)] * 3
    assert first.transactions[1:] == second.transactions == third.transactions
    assert await written(engine) == {"a": [1, 3], "b": [1, 3], "c": [2]}
    assert await positions(engine) == dict.fromkeys("abc", 3)
    assert await take(engine, a, b, c) == [Advanced()] * 3
    await publish(engine, Kind.TYPING)
    assert await take(engine, a, b, c) == [Advanced()] * 3
    assert await positions(engine) == dict.fromkeys("abc", 4)


@ensureDeferred
async def test_a_failure_is_of_one(engine: Engine) -> None:
    """Nothing of it stays; the others have done theirs, once."""
    a, b, c = await claim(engine, Counting("a"), Counting("b", fail), Counting("c"))
    await publish(engine, Kind.SESSION)
    first, failed, third = await take(engine, a, b, c)
    assert (first, third) == (Advanced(wrote=True), Advanced(wrote=True))
    assert isinstance(failed, ZeroDivisionError)
    assert await written(engine) == {"a": [1], "c": [1]}
    assert await positions(engine) == {"a": 1, "b": 0, "c": 1}


@ensureDeferred
async def test_a_lost_or_paused_one_does_not_keep_the_others(engine: Engine) -> None:
    handlers = [Counting(name) for name in "abcd"]
    followers = await claim(engine, *handlers)
    await publish(engine, Kind.SESSION)
    await engine.execute("UPDATE followers SET epoch = epoch + 1 WHERE name = 'b'")
    await engine.queue.pause_follower("c", paused=True)
    first, lost, paused, last = await take(engine, *followers)
    assert (first, last) == (Advanced(wrote=True), Advanced(wrote=True))
    assert isinstance(lost, LeaseLostError)
    assert paused == Advanced(paused=True)
    assert await written(engine) == {"a": [1], "d": [1]}
    assert handlers[0].transactions == handlers[3].transactions


@pytest.mark.parametrize("reason", ["behind", "failed", "full"])
@ensureDeferred
async def test_who_steps_alone(engine: Engine, monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    """Who has much to do, or failed, keeps nobody waiting."""
    monkeypatch.setattr(follower_steps, "SHARED_LAG", 4)
    first, second, other = Counting("a"), Counting("b"), Counting("c")
    a, b = await claim(engine, first, second)
    (c,) = await claim(engine, other, batch=2)
    await publish(engine, Kind.SESSION, Kind.SESSION)
    await take(engine, a, b)
    await take(engine, c) if reason != "behind" else []
    await publish(engine, *[Kind.SESSION] * (2 if reason == "failed" else 3))
    if reason == "failed":
        await engine.execute("UPDATE followers SET attempt = 1 WHERE name = 'c'")
    *_, advanced = await take(engine, a, b, c)
    assert advanced == Advanced(more=True, wrote=True)
    assert first.transactions == second.transactions
    assert not {*first.transactions} & {*other.transactions}
    assert (await written(engine))["c"] == {"behind": [1, 2], "failed": [1, 2, 3], "full": [1, 2, 3, 4]}[
        reason
    ]


@ensureDeferred
async def test_who_meets_a_lock_waits_for_it_alone(engine: Engine) -> None:
    """The others are done while it waits."""

    def lock(txn: Transaction) -> None:
        txn.execute("SELECT FROM users FOR UPDATE")

    a, b = await claim(engine, Counting("a", lock), Counting("b"))
    await publish(engine, Kind.SESSION)
    let_go, held = Event(), Deferred[None]()

    def hold(txn: Transaction) -> None:
        lock(txn)
        txn.finish()
        reactor_of(engine).callFromThread(held.callback, None)
        let_go.wait(60)

    holding = Deferred.fromCoroutine(engine.database.transact(hold))
    await held
    steps = Steps(engine.database, engine.clock)
    waiting, other = (Deferred.fromCoroutine(steps.take(one)) for one in (a, b))
    assert await other == Advanced(wrote=True)
    assert not waiting.called
    assert await written(engine) == {"b": [1]}
    let_go.set()
    await holding
    assert await waiting == Advanced(wrote=True)
    assert await written(engine) == {"a": [1], "b": [1]}


@ensureDeferred
async def test_a_connection_that_breaks_between_two(engine: Engine) -> None:
    """As if the process had been killed: all of it is done again, once."""
    breaks = iter([True])

    def end(txn: Transaction) -> None:
        if next(breaks, False):
            txn.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    followers = await claim(engine, Counting("a"), Counting("b", end), Counting("c"))
    await publish(engine, Kind.SESSION, Kind.SESSION)
    assert await take(engine, *followers) == [Advanced(wrote=True)] * 3
    assert await written(engine) == {"a": [1, 2], "b": [1, 2], "c": [1, 2]}


@ensureDeferred
async def test_a_position_is_not_gone_back_to(engine: Engine) -> None:
    """A commit of which nobody heard may still be under way when the next step asks for the fence."""
    (a,) = await claim(engine, Counting("a"))
    await publish(engine, Kind.SESSION)
    await take(engine, a)
    let_go, held = Event(), Deferred[None]()

    def advance(txn: Transaction) -> None:
        store.fence_follower(txn, a.lease)
        store.advance_follower(txn, a.lease, 2)
        txn.publish(Kind.SESSION, user_id="@a:x")
        reactor_of(engine).callFromThread(held.callback, None)
        let_go.wait(60)

    advancing = Deferred.fromCoroutine(engine.database.transact(advance))
    await held
    stepping = Deferred.fromCoroutine(Steps(engine.database, engine.clock).take_alone(a))
    await until_somebody_waits(engine)
    let_go.set()
    await advancing
    assert await stepping == Advanced()
    assert await positions(engine) == {"a": 2}


@pytest.mark.parametrize("seed", range(3))
@ensureDeferred
async def test_whatever_happens_each_change_is_followed_once(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Failures, backlogs and groups at random: what stands for each is what it has passed, in order."""
    chance = random.Random(seed)
    monkeypatch.setattr(follower_steps, "SHARED_LAG", 5)

    def sometimes(txn: Transaction) -> None:
        if chance.random() < 0.15:
            fail(txn)

    kinds = {name: chance.sample(KINDS, 2) for name in "abcd"}
    followers = [
        (await claim(engine, Counting(name, sometimes), kinds=kinds[name], batch=chance.randint(1, 4)))[0]
        for name in kinds
    ]
    stream: list[Kind] = []
    for _ in range(40):
        fresh = chance.choices(KINDS, k=chance.randint(0, 3))
        stream += fresh
        await publish(engine, *fresh)
        await take(engine, *chance.sample(followers, chance.randint(1, 4)))
        found, passed = await written(engine), await positions(engine)
        for name, own in kinds.items():
            expected = [at for at, kind in enumerate(stream, 1) if kind in own and at <= passed[name]]
            assert found.get(name, []) == expected
    assert any(passed.values())


async def until_somebody_waits(engine: Engine) -> None:
    """For a lock."""
    blocked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    while not await engine.database.read(lambda txn: txn.value(blocked)):
        pause: Deferred[None] = Deferred()
        engine.clock.call_later(0.02, fire, pause)
        await pause


def reactor_of(engine: Engine) -> Any:
    return engine.database._reactor
