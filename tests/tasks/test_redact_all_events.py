"""Redacting all events of a user: what is redacted, by whom, and exactly once."""

from collections.abc import AsyncIterator
from threading import Event
from typing import Any

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from synapse_lite.canonical_json import JsonObject
from synapse_lite.storage import redact_targets
from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import StoredEvent
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.tasks import Lease, Status
from synapse_lite.tasks.actions.redact_all_events import FAILED_ROOM, REDACT_ALL_EVENTS, UNKNOWN_ROOM
from synapse_lite.tasks.actions.redact_all_events import task as task_module
from synapse_lite.tasks.lease import Cancelled
from synapse_lite.tasks.outcome import Done, Fail, Later, Next
from tests.builders import ALICE, BOB, MALLORY, SERVER
from tests.processes.harness import wait_until
from tests.tasks.redacting import ADMIN, RUNNER, Crash, Moderation, is_complete

REMOTE = "@mallory:elsewhere.test"
versions = pytest.mark.parametrize("version", ["1", "3", "10", "11", "12"])


@pytest_twisted.async_yield_fixture
async def moderation(database: Database) -> AsyncIterator[Moderation]:
    moderation = Moderation(database)
    await moderation.open()
    yield moderation


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


# Who redacts


@ensureDeferred
@versions
async def test_a_member_redacts_at_the_head(moderation: Moderation, version: str) -> None:
    """The joined user is the issuer, the room keeps one extremity, the reason is in the content."""
    room = await moderation.room(MALLORY, version=version)
    spam = await moderation.say(room, 3)
    task = await moderation.redact(reason="spam")
    assert (await moderation.report(task, room))["issuer"] == MALLORY
    assert len(await moderation.extremities(room)) == 1
    for view in await moderation.views(spam):
        assert view.redaction is not None
        assert view.redaction.event.sender == MALLORY
        assert view.redaction.event.content["reason"] == "spam"


@ensureDeferred
@versions
async def test_an_admin_with_power_redacts_for_who_is_gone(moderation: Moderation, version: str) -> None:
    """Where the user is no longer joined, an admin who is and may redact does it, at the head."""
    room = await moderation.room(ADMIN, MALLORY, version=version)
    users = {ADMIN: 50} | ({} if version == "12" else {ALICE: 100})
    await moderation.send(room, "m.room.power_levels", ALICE, {"users": users}, state_key="")
    spam = await moderation.say(room, 3)
    await moderation.member(room, ALICE, MALLORY, "ban")
    task = await moderation.redact()
    report = await moderation.report(task, room)
    assert (report["issuer"], report["redacted"], report["may_soft_fail"]) == (ADMIN, 4, False)
    assert all(await moderation.redacted(spam))
    assert len(await moderation.extremities(room)) == 1


@ensureDeferred
@versions
@pytest.mark.parametrize("how", ["left", "kicked", "banned"])
async def test_an_anchored_user_changes_nothing_but_content(
    moderation: Moderation, version: str, how: str
) -> None:
    """Without such an admin the user redacts in the past: no event of the room follows the redactions, and
    neither departure nor topic is undone.
    """
    room = await moderation.room(ADMIN, MALLORY, version=version)  # the admin has no power
    await moderation.send(room, "m.room.topic", ALICE, {"topic": "before"}, state_key="")
    spam = await moderation.say(room, 7)
    await moderation.send(room, "m.room.topic", ALICE, {"topic": "after"}, state_key="")
    who = MALLORY if how == "left" else ALICE
    await moderation.member(room, who, MALLORY, "ban" if how == "banned" else "leave")
    state = await moderation.state(room)
    task_id = await moderation.ask()
    lease = await moderation.claim()
    head = await moderation.extremities(room)
    while isinstance(await moderation.step(lease, batch=3), Next):
        assert await moderation.extremities(room) == head
        following = (await moderation.say(room, 1, ALICE))[0]
        assert len(following.event.prev_events) == 1
        head = [following.nid]
        assert await moderation.extremities(room) == head
        assert await moderation.state(room) == state
    task = await moderation.task(task_id)
    assert is_complete(task)
    report = await moderation.report(task, room)
    assert (report["issuer"], report["redacted"], report["failed"]) == (MALLORY, 8, 0)
    assert all(await moderation.redacted(spam))
    assert (await moderation.refusal(room, MALLORY)).status == 403


@versions
@pytest.mark.parametrize("how", ["level", "events_default", "redaction level", "redact level"])
@pytest.mark.parametrize("then", ["stays", "is banned"])
@ensureDeferred
async def test_a_muted_user(moderation: Moderation, version: str, how: str, then: str) -> None:
    """Who may not send any more, or not redact, is redacted as of the time when they could."""
    users = {} if version == "12" else {ALICE: 100}
    changed: JsonObject = {
        "level": {"users": {**users, MALLORY: -1}},
        "events_default": {"users": users, "events_default": 50},
        "redaction level": {"users": users, "events": {"m.room.redaction": 50}},
        "redact level": {"users": users, "redact": 100},
    }[how]
    room = await moderation.room(ADMIN, MALLORY, version=version)
    spam = await moderation.say(room, 3)
    await moderation.send(room, "m.room.power_levels", ALICE, changed, state_key="")
    if how == "redaction level":  # may still speak, but not redact: what is newest is no place to hang on
        spam += await moderation.say(room, 2)
    if then == "is banned":
        await moderation.member(room, ALICE, MALLORY, "ban")
    head, state = await moderation.extremities(room), await moderation.state(room)
    task = await moderation.redact()
    report = await moderation.report(task, room)
    assert (report["issuer"], report["redacted"], report["failed"]) == (MALLORY, len(spam) + 1, 0)
    assert all(await moderation.redacted(spam))
    assert await moderation.state(room) == state
    if (how, then) != ("redact level", "stays"):  # that one concerns only the events of others
        assert await moderation.extremities(room) == head


@ensureDeferred
async def test_a_room_that_fails_holds_up_no_other(moderation: Moderation) -> None:
    """It is named with the reason, nothing half done remains in it, and the rooms behind it are redacted."""
    broken, whole = [await moderation.room(MALLORY) for _ in range(2)]
    spam = [*await moderation.say(broken, 2), *await moderation.say(whole, 2)]
    await moderation.do(
        lambda txn: txn.execute(
            "UPDATE rooms SET extremities = '{999999}' WHERE room_nid = %s", (broken.nid,)
        )
    )
    task = await moderation.redact()
    assert is_complete(task)
    assert task.result is not None
    assert (task.result["rooms"], task.result["failed_rooms"], task.result["redacted"]) == (1, 1, 3)
    (item,) = await moderation.items(task, FAILED_ROOM)
    assert item.item == broken.room_id
    assert item.detail
    assert item.detail.startswith("KeyError")
    assert await moderation.redacted(spam) == [False, False, True, True]
    assert await moderation.do(lambda txn: txn.rows("SELECT * FROM redacting_rooms")) == []


@ensureDeferred
async def test_what_the_redactions_hang_on_is_purged_meanwhile(moderation: Moderation) -> None:
    """The next step finds another place."""
    room = await moderation.room(MALLORY)
    spam = await moderation.say(room, 6)
    await moderation.member(room, ALICE, MALLORY, "ban")
    task_id = await moderation.ask()
    lease = await moderation.claim()
    for _ in range(2):
        await moderation.step(lease, batch=2)
    redactions = [
        nid for (nid,) in await moderation.do(lambda txn: txn.rows("SELECT event_nid FROM redactions"))
    ]
    await moderation.do(
        lambda txn: txn.execute("DELETE FROM events WHERE event_nid = ANY(%s)", (redactions,))
    )
    while isinstance(await moderation.step(lease, batch=2), Next):
        pass
    assert await moderation.failures(await moderation.task(task_id)) == {}
    assert len(await moderation.redactions(room)) == len(spam) + 1


@ensureDeferred
async def test_one_chain_whoever_works_on_it(moderation: Moderation) -> None:
    """Steps of several processes go on from each other, also from one with higher event ids: one branch."""
    room = await moderation.room(MALLORY)
    await moderation.say(room, 6)
    await moderation.member(room, ALICE, MALLORY, "ban")
    await moderation.ask()
    lease = await moderation.claim()
    for _ in range(2):
        outcome: object = await moderation.step(lease, batch=2)
    while isinstance(outcome, Next):
        outcome = await moderation.step(lease, batch=2, process=moderation.world)
        assert len(await moderation.extremities(room)) == 1
    assert len(await moderation.redactions(room)) == 7


@ensureDeferred
@versions
async def test_use_admin_needs_membership(moderation: Moderation, version: str) -> None:
    """With `use_admin` the admin redacts a user of this server wherever joined; elsewhere each event fails."""
    powerful = await moderation.room(MALLORY, version=version, creator=ADMIN)
    powerless = await moderation.room(ADMIN, MALLORY, version=version)
    absent = await moderation.room(MALLORY, version=version)
    spam = [(await moderation.say(room, 2)) for room in (powerful, powerless, absent)]
    task = await moderation.redact(use_admin=True)
    assert is_complete(task)
    assert task.result == {
        "rooms": 3,
        "failed_rooms": 0,
        "redacted": 6,
        "failed": 3,
        "remaining": 0,
        "truncated": False,
    }
    assert (task.done, task.total) == (9, 9)
    assert {report["issuer"] for report in (await moderation.reports(task)).values()} == {ADMIN}
    assert [await moderation.redacted(events) for events in spam] == [[True] * 2, [True] * 2, [False] * 2]
    failures = await moderation.failures(task)
    assert failures.keys() > {stored.event.event_id for stored in spam[2]}
    assert "not in room" in (failures[spam[2][0].event.event_id] or "")
    assert len(await moderation.extremities(powerless)) == 1


@ensureDeferred
@versions
async def test_a_remote_user_is_redacted_by_the_admin(moderation: Moderation, version: str) -> None:
    """Nobody can sign for another server's user: the admin redacts where they have the power to."""
    room = await moderation.room(REMOTE, version=version, creator=ADMIN)
    other = await moderation.room(REMOTE, version=version)
    spam, elsewhere = await moderation.say(room, 2, REMOTE), await moderation.say(other, 2, REMOTE)
    task = await moderation.redact(REMOTE)
    assert {report["issuer"] for report in (await moderation.reports(task)).values()} == {ADMIN}
    assert await moderation.redacted(spam + elsewhere) == [True, True, False, False]
    assert len(await moderation.failures(task)) == 3  # with the join


@ensureDeferred
async def test_soft_failures_are_foretold(moderation: Moderation) -> None:
    """Redactions in the past are marked where other servers are in the room."""
    alone, shared = await moderation.room(MALLORY), await moderation.room(MALLORY, REMOTE)
    for room in (alone, shared):
        await moderation.say(room)
        await moderation.member(room, ALICE, MALLORY, "ban")
    task = await moderation.redact()
    assert not (await moderation.report(task, alone))["may_soft_fail"]
    assert (await moderation.report(task, shared))["may_soft_fail"]


@ensureDeferred
async def test_a_muted_member_is_redacted_by_the_admin(moderation: Moderation) -> None:
    """Who is in the room but may not send redactions is not the issuer."""
    room = await moderation.room(ADMIN, MALLORY)
    spam = await moderation.say(room, 2)
    levels = {"users": {ADMIN: 50, MALLORY: -1}}
    await moderation.send(room, "m.room.power_levels", ALICE, levels, state_key="")
    task = await moderation.redact()
    assert (await moderation.report(task, room))["issuer"] == ADMIN
    assert all(await moderation.redacted(spam))
    assert not await moderation.failures(task)


@ensureDeferred
async def test_a_ban_in_the_middle(moderation: Moderation) -> None:
    """The issuer is chosen at each step: banning the user while the task runs makes nothing fail."""
    room = await moderation.room(MALLORY)
    spam = await moderation.say(room, 6)
    task_id = await moderation.ask()
    lease = await moderation.claim()
    for _ in range(2):
        await moderation.step(lease, batch=3)
    await moderation.member(room, ALICE, MALLORY, "ban")
    while isinstance(await moderation.step(lease, batch=3), Next):
        pass
    task = await moderation.task(task_id)
    assert task.result is not None
    assert (task.result["redacted"], task.result["failed"]) == (7, 0)
    assert all(await moderation.redacted(spam))


@ensureDeferred
async def test_rooms_that_are_purged_are_passed_over(moderation: Moderation) -> None:
    """Whether the purge began before the task or in the middle of it; the others are done."""
    rooms = [await moderation.room(MALLORY) for _ in range(4)]
    spam = [(await moderation.say(room, 2)) for room in rooms]

    def purge(txn: Transaction, room: Room) -> None:
        txn.execute("UPDATE rooms SET purging = TRUE WHERE room_nid = %s", (room.nid,))
        txn.execute("DELETE FROM current_state WHERE room_nid = %s", (room.nid,))

    await moderation.do(purge, rooms[1])
    task_id = await moderation.ask(event_types=("m.room.message",))
    lease = await moderation.claim()
    await moderation.step(lease)
    await moderation.step(lease, batch=3)
    await moderation.do(purge, rooms[2])
    assert isinstance(await moderation.step(lease), Done)
    task = await moderation.task(task_id)
    assert task.result is not None
    assert (task.result["redacted"], task.result["failed"]) == (5, 0)
    assert await moderation.redacted(spam[0] + spam[3]) == [True] * 4
    assert (await moderation.reports(task)).keys() == {rooms[0].room_id, rooms[3].room_id}


# In company


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
    assert isinstance(await moderation.step(second, batch=2), Next)
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
    await deferToThread(written.wait, 10)
    assert isinstance(await moderation.step(lease), Next)
    assert [len(await moderation.redactions(room)) for room in rooms] == [0, 2]
    elsewhere.set()
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
    await deferToThread(written.wait, 10)
    assert isinstance(await moderation.step(leases[1]), Later)
    assert isinstance(await first, Next)
    assert len(await moderation.redactions(room)) == 2


@ensureDeferred
async def test_who_wants_to_write_is_let_in(moderation: Moderation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step gives the room back as soon as somebody waits for it, and the next one goes on where it stopped."""
    room = await moderation.room(MALLORY)
    count = 3 * task_module.PIECE
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
    await deferToThread(asked.wait, 10)
    await moderation.say(room, sender=ALICE)
    outcome = await first
    assert isinstance(outcome, Next)
    assert outcome.done == task_module.PIECE
    while isinstance(await moderation.step(lease, batch=200), Next):
        pass
    assert waits.count(True) == 1
    assert len(await moderation.redactions(room)) == count


@pytest.mark.parametrize("membership", ["join", "ban"])
@ensureDeferred
async def test_who_redacts_is_asked_once_a_step(moderation: Moderation, membership: str) -> None:
    """A further piece in the same room takes at most seven round trips, also where the redactions hang on the past."""
    room = await moderation.room(MALLORY)
    await moderation.say(room, 5 * task_module.PIECE)
    if membership == "ban":
        await moderation.member(room, ALICE, MALLORY, membership)
    await moderation.ask(event_types=("m.room.message",))
    lease = await moderation.claim()
    await moderation.step(lease)
    sent = list[int]()
    for pieces in (1, 3):
        await moderation.step(
            lease, pieces * task_module.PIECE, before_commit=lambda txn: sent.append(txn._sent)
        )
    assert len(await moderation.redactions(room)) == 4 * task_module.PIECE
    assert sent[1] - sent[0] <= 2 * 7


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
    await deferToThread(written.wait, 10)
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
