"""Redacting all events of a user: who does it, with which power."""

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.canonical_json import JsonObject
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.rooms import Room
from synapse_lite.tasks.actions.redact_all_events import FAILED_ROOM
from synapse_lite.tasks.outcome import Done, Next
from tests.builders import ALICE, MALLORY
from tests.tasks.redacting import ADMIN, Moderation, is_complete

REMOTE = "@mallory:elsewhere.test"
versions = pytest.mark.parametrize("version", ["1", "3", "10", "11", "12"])


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
            "DELETE FROM events WHERE room_nid = %s AND type = 'm.room.create'", (broken.nid,)
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
    for batch in (100, 100, 1):
        await moderation.step(lease, batch)
    await moderation.do(purge, rooms[2])
    assert isinstance(await moderation.step(lease), Next)
    assert isinstance(await moderation.step(lease), Done)
    task = await moderation.task(task_id)
    assert task.result is not None
    assert (task.result["redacted"], task.result["failed"]) == (5, 0)
    assert await moderation.redacted(spam[0] + spam[3]) == [True] * 4
    assert (await moderation.reports(task)).keys() == {rooms[0].room_id, rooms[3].room_id}
