"""Redacting all events of a user: how long a step holds the room, and what happens just before it does."""

from collections.abc import Callable
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.heads import lock_free_heads
from synapse_lite.tasks.actions.redact_all_events import task as task_module
from synapse_lite.tasks.outcome import Done, Next
from tests.builders import ALICE, BOB, MALLORY
from tests.tasks.redacting import Moderation, is_complete

LOCKED = (
    3  # what is to be redacted, the redactions, the checkpoint; then the stream and the commit, as for a send
)


def around_the_lock(
    monkeypatch: pytest.MonkeyPatch,
    before: Callable[[], object] = lambda: None,
    after: Callable[[Transaction], object] = lambda _: None,
) -> None:
    lock = lock_free_heads

    def locked(txn: Transaction, *args: Any) -> Any:
        before()
        heads = lock(txn, *args)
        after(txn)
        return heads

    monkeypatch.setattr(task_module, "lock_free_heads", locked)


@ensureDeferred
async def test_round_trips_under_the_lock(moderation: Moderation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three, however much there is to redact and whatever this process has in memory; and one room at a time."""
    rooms = [await moderation.room(MALLORY, BOB) for _ in range(2)]
    for room, count in zip(rooms, (2, 30), strict=True):
        await moderation.say(room, count)
        await moderation.say(room, 1, BOB)
    await moderation.ask()
    lease = await moderation.claim()
    await moderation.step(lease)
    process = type(moderation.world)(moderation.clock)
    await moderation.do(process.message, await moderation.room(ALICE), ALICE, "takes a block of ids")
    sent = list[int]()
    around_the_lock(monkeypatch, after=lambda txn: sent.append(txn._sent))
    for room in rooms:
        outcome = await moderation.step(
            lease, process=process, before_commit=lambda txn: sent.append(txn._sent)
        )
        assert isinstance(outcome, Next)
        assert len(await moderation.redactions(room)) == outcome.done
        locked, end = sent
        sent.clear()
        assert end - locked == LOCKED
    assert isinstance(await moderation.step(lease), Done)


@pytest.mark.parametrize("meanwhile", ["redacted", "banned", "demoted"])
@ensureDeferred
async def test_what_happens_before_the_lock_is_seen(
    moderation: Moderation, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    """What was read before the room was locked does not hold any more: no redaction fails, and none is doubled."""
    room = await moderation.room(MALLORY)
    spam = await moderation.say(room, 4)
    task_id = await moderation.ask(event_types=("m.room.message",))
    lease = await moderation.claim()
    await moderation.step(lease)
    redacts = spam[1].event.event_id

    async def happen() -> None:
        if meanwhile == "redacted":
            await moderation.send(room, "m.room.redaction", MALLORY, {}, redacts=redacts)
        elif meanwhile == "banned":
            await moderation.member(room, ALICE, MALLORY, "ban")
        else:
            await moderation.send(room, "m.room.power_levels", ALICE, {"users": {MALLORY: -1}}, state_key="")

    around_the_lock(
        monkeypatch, lambda: blockingCallFromThread(reactor, lambda: Deferred.fromCoroutine(happen()))
    )
    while isinstance(await moderation.step(lease), Next):
        pass
    task = await moderation.task(task_id)
    assert is_complete(task)
    assert await moderation.failures(task) == {}
    assert await moderation.redactions(room) == {stored.event.event_id: 1 for stored in spam}
