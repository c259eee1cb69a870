"""Redacting all events of a user: several at once, rooms that are purged or locked, who else writes there."""

from threading import Event

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from synapse_lite.storage import redact_targets
from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.tasks import Lease
from synapse_lite.tasks.actions.redact_all_events import REDACT_ALL_EVENTS
from synapse_lite.tasks.actions.redact_all_events import task as task_module
from synapse_lite.tasks.actions.redact_all_events.opening import PIECE
from synapse_lite.tasks.lease import Cancelled
from synapse_lite.tasks.outcome import Done, Later, Next
from tests.builders import ALICE, BOB, MALLORY
from tests.processes.harness import wait_until
from tests.tasks.redacting import Moderation, is_complete


async def two_redactions(moderation: Moderation, rooms: list[Room]) -> tuple[Lease, Lease]:
    """Of two spammers in the same rooms: the first is in the middle of a room, the second has counted."""
    for room in rooms:
        for sender in (MALLORY, BOB):
            await moderation.say(room, 4, sender)
    await moderation.ask(event_types=("m.room.message",))
    first = await moderation.claim()
    for _ in range(2):
        await moderation.step(first, batch=2)
    await moderation.ask(BOB, event_types=("m.room.message",))
    second = await moderation.claim(first)
    await moderation.step(second)
    return first, second


@ensureDeferred
async def test_a_room_where_another_redaction_is_at_work_comes_last(moderation: Moderation) -> None:
    """Two spammers in the same two rooms: each task works where the other does not."""
    rooms = [await moderation.room(MALLORY, BOB) for _ in range(2)]
    for room in rooms:
        for sender in (MALLORY, BOB):
            await moderation.say(room, 4, sender)
    leases, tasks = [], []
    for user_id in (MALLORY, BOB):
        tasks.append(await moderation.ask(user_id, event_types=("m.room.message",)))
        leases.append(await moderation.claim(*leases))
        await moderation.step(leases[-1])
        assert isinstance(await moderation.step(leases[-1], batch=2), Next)
    assert [len(await moderation.redactions(room)) for room in rooms] == [2, 2]

    # Mallory's comes to the second room when Bob's is still there, and Bob's back to the first one.
    assert isinstance(await moderation.step(leases[0], batch=3), Next)
    assert [len(await moderation.redactions(room)) for room in rooms] == [4, 2]
    assert isinstance(await moderation.step(leases[0]), Later)
    assert isinstance(await moderation.step(leases[1]), Next)
    assert [len(await moderation.redactions(room)) for room in rooms] == [4, 4]
    assert isinstance(await moderation.step(leases[1]), Next)
    assert isinstance(await moderation.step(leases[1]), Done)
    await moderation.finish(tasks[0])
    for task_id, sender in zip(tasks, (MALLORY, BOB), strict=True):
        task = await moderation.task(task_id)
        assert is_complete(task)
        assert (task.done, task.total) == (8, 8)
        reports = await moderation.reports(task)
        assert {room: (report["issuer"], report["redacted"]) for room, report in reports.items()} == {
            room.room_id: (sender, 4) for room in rooms
        }
    redactions = await moderation.redactions(*rooms)
    assert len(redactions) == 16
    assert set(redactions.values()) == {1}


@ensureDeferred
async def test_waits_grow_as_long_as_all_rooms_are_busy(moderation: Moderation) -> None:
    """The slot is free meanwhile, and nothing is lost when the other task is cancelled in the middle."""
    room = await moderation.room(MALLORY, BOB)
    first, second = await two_redactions(moderation, [room])
    waits = []
    for _ in range(9):
        outcome = await moderation.step(second)
        assert isinstance(outcome, Later)
        waits.append(outcome.seconds)
        second = await moderation.claim_when_due(first)
    assert waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5]

    await moderation.do(store.request_cancel, first.task_id)
    assert isinstance(await moderation.step(first), Cancelled)
    for batch in (2, 100):
        assert isinstance(await moderation.step(second, batch), Next)
    assert isinstance(await moderation.step(second), Done)
    assert is_complete(await moderation.task(second.task_id))
    assert len(await moderation.redactions(room)) == 6


@ensureDeferred
async def test_when_too_many_rooms_are_busy_the_walk_goes_on_later(
    moderation: Moderation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A room that was put off and then purged does not end the task: there are more."""
    monkeypatch.setattr(task_module, "MAX_BUSY", 1)
    rooms = [await moderation.room(MALLORY, BOB) for _ in range(3)]
    first, second = await two_redactions(moderation, rooms)
    assert isinstance(await moderation.step(second), Later)
    await moderation.do(
        lambda txn: txn.execute("UPDATE rooms SET purging = TRUE WHERE room_nid = %s", (rooms[0].nid,))
    )
    await moderation.finish(second.task_id, first)
    assert is_complete(await moderation.task(second.task_id))
    assert [len(await moderation.redactions(room)) for room in rooms] == [2, 4, 4]


@ensureDeferred
async def test_a_room_that_is_locked_comes_later(moderation: Moderation) -> None:
    """A step does not wait for a writer as long as there are other rooms, and then it does."""
    rooms = [await moderation.room(MALLORY) for _ in range(2)]
    for room in rooms:
        await moderation.say(room, 2)
    task_id = await moderation.ask(event_types=("m.room.message",))
    lease = await moderation.claim()
    await moderation.step(lease)
    written, elsewhere = Event(), Event()

    def write_slowly(txn: Transaction) -> None:
        moderation.world.message(txn, rooms[0], ALICE, "a long story")
        written.set()
        assert elsewhere.wait(300)
        wait_until(lambda: txn.value("SELECT count(*) FROM pg_locks WHERE NOT granted"), "the step waits")

    writer = Deferred.fromCoroutine(moderation.do(write_slowly))
    await deferToThread(written.wait, 300)
    assert isinstance(await moderation.step(lease), Next)
    assert [len(await moderation.redactions(room)) for room in rooms] == [0, 2]
    elsewhere.set()
    assert isinstance(await moderation.step(lease), Next)
    assert isinstance(await moderation.step(lease), Done)
    await writer
    assert is_complete(await moderation.task(task_id))
    assert len(await moderation.redactions(*rooms)) == 4


@ensureDeferred
async def test_who_waited_for_the_first_step_of_another_leaves_the_room_to_it(moderation: Moderation) -> None:
    """The checkpoint that tells of the other one is committed together with that step."""
    room = await moderation.room(MALLORY, BOB)
    leases: list[Lease] = []
    for sender in (MALLORY, BOB):
        await moderation.say(room, 4, sender)
        await moderation.ask(sender, event_types=("m.room.message",))
        leases.append(await moderation.claim(*leases))
        await moderation.step(leases[-1])
    written = Event()

    def linger(txn: Transaction) -> None:
        written.set()
        wait_until(lambda: txn.value("SELECT count(*) FROM pg_locks WHERE NOT granted"), "the other waits")

    first = Deferred.fromCoroutine(moderation.step(leases[0], batch=2, before_commit=linger))
    await deferToThread(written.wait, 300)
    assert isinstance(await moderation.step(leases[1]), Later)
    assert isinstance(await first, Next)
    assert len(await moderation.redactions(room)) == 2


@ensureDeferred
async def test_who_wants_to_write_is_let_in(moderation: Moderation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step gives the room back as soon as somebody waits for it, and the next one goes on where it stopped."""
    room = await moderation.room(MALLORY)
    count = 3 * PIECE
    await moderation.say(room, count)
    await moderation.ask(event_types=("m.room.message",))
    lease = await moderation.claim()
    await moderation.step(lease)
    is_awaited, asked, waits = redact_targets.is_awaited, Event(), list[bool]()

    def look(txn: Transaction) -> bool:
        asked.set()
        if not waits:
            wait_until(lambda: is_awaited(txn), "the sender waits")
        waits.append(is_awaited(txn))
        return waits[-1]

    monkeypatch.setattr(redact_targets, "is_awaited", look)
    first = Deferred.fromCoroutine(moderation.step(lease, batch=200))
    await deferToThread(asked.wait, 300)
    await moderation.say(room, sender=ALICE)
    outcome = await first
    assert isinstance(outcome, Next)
    assert outcome.done == PIECE
    while isinstance(await moderation.step(lease, batch=200), Next):
        pass
    assert waits.count(True) == 1
    assert len(await moderation.redactions(room)) == count


@pytest.mark.parametrize("membership", ["join", "ban"])
@ensureDeferred
async def test_who_redacts_is_asked_once_a_step(moderation: Moderation, membership: str) -> None:
    """A further piece in the same room takes one round trip, also where the redactions hang on the past."""
    room = await moderation.room(MALLORY)
    await moderation.say(room, 6 * PIECE)
    if membership == "ban":
        await moderation.member(room, ALICE, MALLORY, membership)
    await moderation.ask(event_types=("m.room.message",))
    lease = await moderation.claim()
    await moderation.step(lease)
    sent = list[int]()
    for pieces in (1, 1, 3):
        await moderation.step(lease, pieces * PIECE, before_commit=lambda txn: sent.append(txn._sent))
    assert len(await moderation.redactions(room)) == 5 * PIECE
    assert sent[2] - sent[1] == 2


@ensureDeferred
async def test_a_few_more_than_a_step_does_are_no_step_of_their_own(moderation: Moderation) -> None:
    room = await moderation.room(MALLORY)
    for count, steps in ((11, [11]), (12, [10, 2])):
        await moderation.say(room, count)
        await moderation.ask(event_types=("m.room.message",))
        lease = await moderation.claim()
        await moderation.step(lease)
        for expected in steps:
            outcome = await moderation.step(lease, batch=10)
            assert isinstance(outcome, Next)
            assert outcome.done == expected
        assert isinstance(await moderation.step(lease), Done)


@ensureDeferred
async def test_a_redaction_of_the_version_before_goes_on(moderation: Moderation) -> None:
    """Its checkpoint knows nothing of busy rooms."""
    rooms = [await moderation.room(MALLORY) for _ in range(2)]
    for room in rooms:
        await moderation.say(room, 3)
    task_id = await moderation.ask()
    lease = await moderation.claim()
    for _ in range(2):
        await moderation.step(lease, batch=2)

    def make_older(txn: Transaction) -> None:
        txn.execute(
            "UPDATE scheduled_tasks SET version = 1,"
            " cursor = (cursor::jsonb - 'busy' - 'waits')::json WHERE id = %s AND cursor->'busy' IS NOT NULL",
            (task_id,),
        )

    await moderation.do(make_older)
    assert (await moderation.task(task_id)).version == 1
    while isinstance(await moderation.step(lease, batch=2), Next):
        assert (await moderation.task(task_id)).version == REDACT_ALL_EVENTS.version
    assert is_complete(await moderation.task(task_id))
    assert len(await moderation.redactions(*rooms)) == 8
