"""Redacting all events of a user: what is redacted, by whom, and exactly once."""

from threading import Event
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import StoredEvent
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.tasks import Status
from synapse_lite.tasks.actions.redact_all_events import REDACT_ALL_EVENTS, UNKNOWN_ROOM
from synapse_lite.tasks.lease import Cancelled
from synapse_lite.tasks.outcome import Done, Fail
from tests.builders import ALICE, BOB, MALLORY, SERVER
from tests.processes.harness import wait_until
from tests.tasks.redacting import ADMIN, RUNNER, Crash, Moderation, is_complete

# Which events


@ensureDeferred
async def test_every_room_with_events_of_the_user(moderation: Moderation) -> None:
    """Joined, left, kicked, banned, and invited again: all rooms are found, and nothing is left readable."""
    rooms: dict[str, Room] = {}
    spam: list[StoredEvent] = []
    for name in ("joined", "left", "kicked", "banned", "invited"):
        rooms[name] = await moderation.room(MALLORY)
        spam += await moderation.say(rooms[name], 3)
    await moderation.member(rooms["left"], MALLORY, MALLORY, "leave")
    await moderation.member(rooms["kicked"], ALICE, MALLORY, "leave")
    await moderation.member(rooms["banned"], ALICE, MALLORY, "ban")
    await moderation.member(rooms["invited"], MALLORY, MALLORY, "leave")
    await moderation.member(rooms["invited"], ALICE, MALLORY, "invite")
    others = await moderation.say(rooms["joined"], 2, ALICE)

    task = await moderation.redact()
    assert is_complete(task)
    assert task.result == {
        "rooms": 5,
        "failed_rooms": 0,
        "redacted": 20,
        "failed": 0,
        "remaining": 0,
        "truncated": False,
    }
    assert (task.done, task.total) == (20, 20)  # three messages and a join in each room
    assert all(await moderation.redacted(spam))
    assert not any(await moderation.redacted(others))
    reports = await moderation.reports(task)
    assert reports.keys() == {room.room_id for room in rooms.values()}
    assert {report["redacted"] for report in reports.values()} == {4}


@ensureDeferred
async def test_invited_and_left_without_a_word(moderation: Moderation) -> None:
    """A refused invitation leaves nothing to redact, and stops nothing."""
    room = await moderation.room()
    await moderation.member(room, ALICE, MALLORY, "invite")
    refusal = await moderation.member(room, MALLORY, MALLORY, "leave")
    task = await moderation.redact()
    assert is_complete(task)
    assert (task.done, task.total) == (0, 0)
    assert await moderation.redacted([refusal]) == [False]


@ensureDeferred
async def test_named_rooms_only(moderation: Moderation) -> None:
    """With `rooms`, others are left alone and unknown ones are listed."""
    named, other = await moderation.room(MALLORY), await moderation.room(MALLORY)
    here, there = await moderation.say(named, 2), await moderation.say(other, 2)
    unknown = ["!nowhere:hs.test", "!nothing:hs.test"]
    task = await moderation.redact(rooms=(unknown[0], named.room_id, named.room_id, unknown[1]))
    assert is_complete(task)
    assert (task.done, task.total) == (3, 3)
    assert await moderation.redacted(here + there) == [True, True, False, False]
    assert [item.item for item in await moderation.items(task, UNKNOWN_ROOM)] == sorted(unknown)
    assert (await moderation.reports(task)).keys() == {named.room_id}


async def send_all_sorts(moderation: Moderation, room: Room) -> dict[str, StoredEvent]:
    """One event of each type, by its type."""
    relation = {"m.relates_to": {"rel_type": "m.annotation", "event_id": "$x", "key": "+"}}
    levels = {"users": {MALLORY: 50}}
    await moderation.send(room, "m.room.power_levels", ALICE, levels, state_key="")
    contents: dict[str, dict[str, Any]] = {
        "m.room.message": {"body": "x"},
        "m.sticker": {"body": "x"},
        "m.reaction": relation,
        "m.room.encrypted": {"ciphertext": "x"},
        "org.example.custom": {"x": 1},
        "m.room.topic": {"topic": "x"},
    }
    sent = {
        kind: await moderation.send(
            room, kind, MALLORY, content, **({"state_key": ""} if kind == "m.room.topic" else {})
        )
        for kind, content in contents.items()
    }
    target = (await moderation.say(room, 1, ALICE))[0].event.event_id
    sent["m.room.redaction"] = await moderation.send(room, "m.room.redaction", MALLORY, {}, redacts=target)
    sent["leave"] = await moderation.member(room, MALLORY, MALLORY, "leave")
    sent["join"] = await moderation.member(room, MALLORY, MALLORY, "join")
    return sent


@ensureDeferred
@pytest.mark.parametrize(
    ("event_types", "expected"),
    [
        (
            None,
            {"m.room.message", "m.sticker", "m.reaction", "m.room.encrypted", "org.example.custom", "join"},
        ),
        (("m.sticker",), {"m.sticker"}),
        (("m.room.topic", "m.room.message"), {"m.room.topic", "m.room.message"}),
        (("m.room.member", "m.room.redaction"), {"join", "leave"}),
        ((), set()),
    ],
)
async def test_types(moderation: Moderation, event_types: tuple[str, ...] | None, expected: set[str]) -> None:
    """By default all message-like events but redactions, and joins; `event_types` narrows and widens."""
    room = await moderation.room(MALLORY, version="10")
    sent = await send_all_sorts(moderation, room)
    assert is_complete(await moderation.redact(event_types=event_types))
    flags = await moderation.redacted(sent.values())
    assert {kind for kind, flag in zip(sent, flags, strict=True) if flag} == expected
    assert (await moderation.state(room))["m.room.member", MALLORY] == sent["join"].nid


@ensureDeferred
async def test_what_a_room_needs_stays(moderation: Moderation) -> None:
    """The create event and the server ACL are not redacted, not even when their types are named."""
    room = await moderation.room(version="10", creator=MALLORY)
    acl = await moderation.send(room, "m.room.server_acl", MALLORY, {"allow": ["*"]}, state_key="")
    name = await moderation.send(room, "m.room.name", MALLORY, {"name": "x"}, state_key="")
    types = ("m.room.create", "m.room.server_acl", "m.room.name")
    task = await moderation.redact(event_types=types)
    assert (task.done, task.total) == (1, 1)
    assert await moderation.redacted([acl, name]) == [False, True]


@ensureDeferred
async def test_times(moderation: Moderation) -> None:
    """`before_ts` and `after_ts` bound `origin_server_ts`, both included."""
    room = await moderation.room(MALLORY)
    spam = await moderation.say(room, 5)
    after, before = spam[1].event.origin_server_ts, spam[3].event.origin_server_ts
    task = await moderation.redact(after_ts=after, before_ts=before)
    assert (task.done, task.total) == (3, 3)
    assert await moderation.redacted(spam) == [False, True, True, True, False]


@ensureDeferred
@pytest.mark.parametrize("batch", [2, 100])
async def test_limit_takes_the_newest_and_the_next_call_goes_on(moderation: Moderation, batch: int) -> None:
    """The newest events of each room, whichever process stored them; what is left is told, and done next."""
    rooms = [await moderation.room(MALLORY) for _ in range(2)]
    early, late = [], []
    older = moderation.world
    for room in rooms:
        await moderation.say(room, 1, ALICE)  # takes a block of ids, lower than those of the next process
        moderation.world = type(older)(moderation.clock)
        early += await moderation.say(room, 4)
        moderation.world = older
        late += await moderation.say(room, 3)
    assert late[0].nid < early[0].nid

    first = await moderation.redact(limit=3, batch=batch)
    assert first.result == {
        "rooms": 2,
        "failed_rooms": 0,
        "redacted": 6,
        "failed": 0,
        "remaining": 10,
        "truncated": True,
    }
    assert (first.done, first.total) == (6, 6)
    assert all(await moderation.redacted(late))
    assert not any(await moderation.redacted(early))
    assert {report["remaining"] for report in (await moderation.reports(first)).values()} == {5}

    second = await moderation.redact(limit=100, batch=batch)
    assert second.result == {
        "rooms": 2,
        "failed_rooms": 0,
        "redacted": 10,
        "failed": 0,
        "remaining": 0,
        "truncated": False,
    }
    assert all(await moderation.redacted(early))


@ensureDeferred
async def test_again_adds_nothing(moderation: Moderation) -> None:
    """What is redacted already, by a task or by the user, is skipped."""
    room = await moderation.room(MALLORY)
    own, *_ = await moderation.say(room, 3)
    await moderation.send(room, "m.room.redaction", MALLORY, {}, redacts=own.event.event_id)
    first = await moderation.redact()
    assert (first.done, first.total) == (3, 3)  # two messages and the join
    again = await moderation.redact()
    assert (again.done, again.total, again.status) == (0, 0, Status.COMPLETE)
    assert set((await moderation.redactions(room)).values()) == {1}


@ensureDeferred
async def test_what_is_written_afterwards_stays(moderation: Moderation) -> None:
    """A redaction is no rule that goes on: neither when it was cancelled in the middle nor when it is complete."""
    room = await moderation.room(MALLORY)
    early = await moderation.say(room, 30)
    task_id = await moderation.ask()
    lease = await moderation.claim()
    await moderation.step(lease)
    await moderation.step(lease, batch=10)
    await moderation.do(store.request_cancel, task_id)
    assert isinstance(await moderation.step(lease), Cancelled)
    cancelled = await moderation.task(task_id)
    assert (cancelled.status, cancelled.done) == (Status.CANCELLED, 10)
    forgiven = await moderation.say(room, 2)
    await moderation.do(lambda txn: txn.execute("UPDATE scheduled_tasks SET run_at = 0"))
    capability = (REDACT_ALL_EVENTS.action, REDACT_ALL_EVENTS.version)
    assert await moderation.do(store.claim, RUNNER, [capability], []) is None
    assert await moderation.redacted([*early, *forgiven]) == [False] * 20 + [True] * 10 + [False] * 2
    assert (await moderation.redact()).status is Status.COMPLETE
    last = await moderation.say(room, 2)
    assert await moderation.redacted([*early, *forgiven, *last]) == [True] * 32 + [False] * 2


# Exactly once


@ensureDeferred
@pytest.mark.parametrize("batch", [1, 2, 5])
async def test_interrupted_at_every_step(moderation: Moderation, batch: int) -> None:
    """Each step crashes before its commit and is run again by another process: one redaction per target."""
    rooms = [await moderation.room(MALLORY) for _ in range(3)]
    for room in rooms:
        await moderation.say(room, 3)
    await moderation.member(rooms[1], ALICE, MALLORY, "ban")
    await moderation.member(rooms[2], MALLORY, MALLORY, "leave")
    task_id = await moderation.ask()
    lease = await moderation.claim()
    outcome = None
    while not isinstance(outcome, Done):
        before = await moderation.redactions(*rooms)
        with pytest.raises(Crash):
            await moderation.step(lease, batch, crash=True)
        assert await moderation.redactions(*rooms) == before
        outcome = await moderation.step(lease, batch)
    task = await moderation.task(task_id)
    assert (task.done, task.total) == (12, 12)
    redactions = await moderation.redactions(*rooms)
    assert len(redactions) == 12
    assert set(redactions.values()) == {1}
    for room in rooms:
        assert len(await moderation.extremities(room)) <= 2


@ensureDeferred
async def test_a_redaction_at_the_same_moment(moderation: Moderation) -> None:
    """The step waits for a writer of the room, and sees that the user has just redacted the event."""
    room = await moderation.room(MALLORY)
    (spam,) = await moderation.say(room)
    await moderation.ask(event_types=("m.room.message",))
    lease = await moderation.claim()
    await moderation.step(lease)
    written = Event()

    def redact_slowly(txn: Transaction) -> None:
        moderation.world.send(txn, room, "m.room.redaction", MALLORY, {}, redacts=spam.event.event_id)
        written.set()
        wait_until(lambda: txn.value("SELECT count(*) FROM pg_locks WHERE NOT granted"), "the step waits")

    by_the_user = Deferred.fromCoroutine(moderation.do(redact_slowly))
    await deferToThread(written.wait, 300)
    assert isinstance(await moderation.step(lease), Done)
    await by_the_user
    assert await moderation.redactions(room) == {spam.event.event_id: 1}


@ensureDeferred
async def test_a_demoted_admin_redacts_no_more(moderation: Moderation) -> None:
    """The task fails at its next step, and what was done stays."""
    room = await moderation.room(MALLORY)
    await moderation.say(room, 4)
    task_id = await moderation.ask()
    lease = await moderation.claim()
    await moderation.step(lease)
    await moderation.step(lease, batch=2)
    await moderation.do(lambda txn: txn.execute("UPDATE users SET is_admin = FALSE"))
    assert await moderation.step(lease) == Fail(f"{ADMIN} is no longer a server admin")
    assert (await moderation.task(task_id)).status is Status.FAILED
    assert len(await moderation.redactions(room)) == 2


@ensureDeferred
async def test_the_content_is_gone_for_readers(moderation: Moderation) -> None:
    """Also for those that had the events in memory, and as the former content of state."""
    room = await moderation.room(MALLORY, BOB)
    profile = {"membership": "join", "displayname": "SPAM"}
    await moderation.send(room, "m.room.member", MALLORY, profile, state_key=MALLORY)
    after = await moderation.member(room, MALLORY, MALLORY, "leave")
    spam = await moderation.say(room, 2, BOB)
    assert all(view.redaction is None for view in await moderation.views(spam))
    await moderation.redact(BOB)
    await moderation.redact(MALLORY)
    assert all(await moderation.redacted(spam))
    (view,) = await moderation.views([after])
    assert view.previous is not None
    assert view.previous.content == {"membership": "join"}
    assert SERVER in view.previous.sender
