"""Redacting all events of a user: how long a step holds the room, and what happens just before it does."""

from collections.abc import Callable
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread

from synapse_lite.matrix.signing import SigningKey
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


def count_signatures(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is signed from now on."""
    signed = list[bytes]()
    sign = SigningKey.sign_bytes

    def counted(key: SigningKey, data: bytes) -> str:
        signed.append(data)
        return sign(key, data)

    monkeypatch.setattr(SigningKey, "sign_bytes", counted)
    return signed


@pytest.mark.parametrize("membership", ["join", "ban"])
@ensureDeferred
async def test_what_is_done_under_the_lock(
    moderation: Moderation, monkeypatch: pytest.MonkeyPatch, membership: str
) -> None:
    """Three round trips, and nothing is built or signed, however much there is to redact, wherever it hangs and whatever
    this process has in memory; and one room at a time.
    """
    rooms = [await moderation.room(MALLORY, BOB) for _ in range(2)]
    for room, count in zip(rooms, (2, 30), strict=True):
        await moderation.say(room, count)
        await moderation.say(room, 1, BOB)
        if membership == "ban":
            await moderation.member(room, ALICE, MALLORY, membership)
    await moderation.ask()
    lease = await moderation.claim()
    await moderation.step(lease)
    process = type(moderation.world)(moderation.clock)
    await moderation.do(process.message, await moderation.room(ALICE), ALICE, "takes a block of ids")
    sent, signed = list[int](), list[int]()
    signatures = count_signatures(monkeypatch)

    def note(txn: Transaction) -> None:
        sent.append(txn._sent)
        signed.append(len(signatures))

    around_the_lock(monkeypatch, after=note)
    for room in rooms:
        outcome = await moderation.step(lease, process=process, before_commit=note)
        assert isinstance(outcome, Next)
        assert len(await moderation.redactions(room)) == outcome.done
        locked, end = sent
        sent.clear()
        assert end - locked == LOCKED
        assert signed.pop() == signed.pop() == len(signatures)
    assert isinstance(await moderation.step(lease), Done)


@ensureDeferred
async def test_what_others_say_meanwhile_is_followed(
    moderation: Moderation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redactions are built anew when the room has moved on before it was locked: the room does not fork."""
    room = await moderation.room(MALLORY, BOB)
    await moderation.say(room, 3)
    task_id = await moderation.ask(event_types=("m.room.message",))
    lease = await moderation.claim()
    await moderation.step(lease)
    said = list[str]()

    async def say() -> None:
        said.append((await moderation.say(room, 1, BOB))[0].event_id)

    around_the_lock(
        monkeypatch, lambda: blockingCallFromThread(reactor, lambda: Deferred.fromCoroutine(say()))
    )
    while isinstance(await moderation.step(lease), Next):
        pass
    assert is_complete(await moderation.task(task_id))
    assert len(await moderation.extremities(room)) == 1
    (first_nid,) = await moderation.do(
        lambda txn: txn.rows(
            "SELECT event_nid FROM events WHERE room_nid = %s AND type = 'm.room.redaction' ORDER BY depth",
            (room.nid,),
        )[0]
    )
    first = (await moderation.do(moderation.world.events.load, [first_nid]))[first_nid]
    assert first.event.prev_events == said


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
