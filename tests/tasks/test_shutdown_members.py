"""Shutting down rooms: what becomes of their members, and what these see of it."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from pytest_twisted import ensureDeferred

from synapse_lite.handlers.broken_rooms import BrokenRooms
from synapse_lite.handlers.filters import DEFAULT_LIMIT, read_sync_filter
from synapse_lite.handlers.prejoin_state import PrejoinState
from synapse_lite.handlers.retention import Retention
from synapse_lite.handlers.sync.reading import SyncReader
from synapse_lite.handlers.sync.sections import Sections
from synapse_lite.handlers.sync.values import SyncRequest, SyncResult
from synapse_lite.handlers.visibility import Visibility
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.storage import aliases as alias_store
from synapse_lite.storage import purge, rooms
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.room_closure import blocked_by
from synapse_lite.storage.stream import Change, Kind, read_position
from synapse_lite.storage.tasks import Status
from synapse_lite.tasks.actions import room_rows, shutdown_room
from synapse_lite.tasks.actions.purge_room import PURGE_ROOM, STILL_JOINED, PurgeRoomParams
from synapse_lite.tasks.actions.shutdown_room import (
    FAILED_TO_KICK,
    KICKED,
    MOVED_ALIAS,
    NEW_ROOM,
    UNTOLD,
    ShutdownParams,
)
from synapse_lite.tasks.actions.withdraw_invites import FAILED_TO_WITHDRAW, WITHDRAWN
from synapse_lite.tasks.outcome import Later, Next
from tests.builders import ALICE, BOB, MALLORY, SERVER, World
from tests.handlers.house import House, alice, bob, requester
from tests.tasks.remains import contents, remains, traces
from tests.tasks.shutting_down import SHUTDOWN, departed, furnished, replacement, shut_down
from tests.tasks.steps import ADMIN, Steps

versions = pytest.mark.parametrize("version", ["10", "12"])


@versions
@ensureDeferred
async def test_members_move_into_the_new_room(steps: Steps, version: str) -> None:
    """Joined users join it, invited ones do not; aliases and the message are there; banned users are passed over."""
    carol, dave = f"@carol:{SERVER}", f"@dave:{SERVER}"
    room = await furnished(steps, version)
    await steps.do(steps.world.member, room, ALICE, carol, "invite")
    await steps.do(steps.world.member, room, ALICE, dave, "ban")
    task = await shut_down(steps, room, new_room=replacement(version))
    assert task.status is Status.COMPLETE
    assert await steps.items(task.id, KICKED) == [ALICE, BOB, carol]
    assert await steps.items(task.id, MOVED_ALIAS) == [f"#room{room.nid}:{SERVER}"]
    (new_room_id,) = await steps.items(task.id, NEW_ROOM)

    def look(txn: Transaction) -> None:
        new = rooms.room_by_id(txn, new_room_id)
        assert new is not None
        joined = {member.user_id for member in rooms.members(txn, new.nid, ["join"])}
        assert joined == {ALICE, BOB, f"@warden:{SERVER}"}
        assert alias_store.room_of_alias(txn, f"#room{room.nid}:{SERVER}") == new_room_id
        last = txn.value(
            "SELECT json FROM events WHERE room_nid = %s ORDER BY depth DESC LIMIT 1", (new.nid,)
        )
        assert '"body":"Moved."' in last

    await steps.do(look)


@ensureDeferred
async def test_invites_at_other_servers_are_withdrawn(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    """By who invited, before they leave; the room stays until the server has been told. What the room refuses is told,
    and holds nothing up.
    """
    far, near, other = "@far:far.test", "@near:near.test", "@other:other.test"
    room = await furnished(steps)
    levels = {"users": {BOB: 50}, "invite": 0, "kick": 50}
    await steps.do(steps.world.send, room, "m.room.power_levels", ALICE, levels, state_key="")
    for inviter, invited in ((ALICE, far), (BOB, near), (ALICE, other)):
        await steps.do(steps.world.member, room, inviter, invited, "invite")
    levels["users"] = {}
    await steps.do(steps.world.send, room, "m.room.power_levels", ALICE, levels, state_key="")
    monkeypatch.setattr(shutdown_room, "MAX_LEAVES", 1)
    monkeypatch.setattr(shutdown_room, "MAX_WAITS", 1)
    monkeypatch.setattr(shutdown_room, "WAIT_SECONDS", 0)
    task_id = await steps.ask(SHUTDOWN, ShutdownParams(room_id=room.room_id))
    lease = await steps.claim(SHUTDOWN)
    while isinstance(await steps.step(SHUTDOWN, lease, 100), Next):
        pass

    def look(txn: Transaction) -> None:
        members = rooms.members(txn, room.nid, ["invite", "leave"])
        state = {member.user_id: member.membership for member in members}
        assert (state[far], state[near], state[other]) == ("leave", "invite", "leave")

    await steps.do(look)
    lease = await steps.claim(SHUTDOWN)
    while isinstance(await steps.step(SHUTDOWN, lease, 100), Next):
        pass
    task = await steps.task(task_id)
    assert task.status is Status.COMPLETE
    assert await steps.items(task_id, WITHDRAWN) == [far, other]
    assert await steps.items(task_id, FAILED_TO_WITHDRAW) == [near]
    assert (task.result or {})["withdrawn_invites"] == 2


@ensureDeferred
async def test_shut_down_without_purge(steps: Steps) -> None:
    """Members are out and have forgotten the room; its events stay, and it is not closed."""
    room = await furnished(steps)
    task = await shut_down(steps, room, purge=False)
    assert task.status is Status.COMPLETE

    def look(txn: Transaction) -> None:
        members = rooms.members(txn, room.nid, ["leave"])
        assert [(member.user_id, member.sender, member.forgotten) for member in members] == [
            (ALICE, ALICE, True),
            (BOB, BOB, True),
        ]
        assert alias_store.aliases_of(txn, room.nid) == [f"#room{room.nid}:{SERVER}"]
        steps.world.member(txn, room, BOB, BOB, "join")

    await steps.do(look)


@ensureDeferred
async def test_many_members_leave_in_batches(steps: Steps) -> None:
    """Every member gets a leave of their own before the first row goes."""
    users = [f"@u{n:03}:{SERVER}" for n in range(35)]
    room = await steps.do(steps.world.room, ALICE, *users)
    task_id = await steps.ask(SHUTDOWN, ShutdownParams(room_id=room.room_id))
    lease = await steps.claim(SHUTDOWN)
    while (await steps.task(task_id)).phase != "purge":
        await steps.step(SHUTDOWN, lease, 10)
    left = await steps.do(rooms.members, room.nid, ["leave"])
    assert [member.user_id for member in left] == [ALICE, *users]
    published = await steps.do(
        lambda txn: txn.value(
            "SELECT count(*) FROM stream JOIN events USING (event_nid)"
            f" WHERE kind = {Kind.EVENT:d} AND membership = 'leave'"
        )
    )
    assert published == 36


@ensureDeferred
async def test_a_step_in_pieces(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few leaves and a few rows at once, a rest after each; all is gone, and none is counted twice."""
    rests: list[str] = []
    limits: list[int] = []
    monkeypatch.setattr(shutdown_room, "LEAVES_AT_ONCE", 3)
    monkeypatch.setattr(room_rows, "ROWS_AT_ONCE", 7)
    monkeypatch.setattr(shutdown_room, "rest", lambda: rests.append("leaves"))
    monkeypatch.setattr(room_rows, "rest", lambda: rests.append("rows"))
    users = [f"@u{n:03}:{SERVER}" for n in range(16)]
    room, other = await steps.do(steps.world.room, ALICE, *users), await furnished(steps)
    gone, before = await steps.do(traces, room), await steps.do(contents, other)
    delete_slice = purge.delete_slice

    def watched(txn: Transaction, table: purge.Table, room_nid: int, *rest: Any) -> purge.Slice:
        limits.append(rest[1])
        return delete_slice(txn, table, room_nid, *rest)

    monkeypatch.setattr(purge, "delete_slice", watched)
    task = await shut_down(steps, room)
    assert (task.status, task.error) == (Status.COMPLETE, None)
    assert await steps.do(remains, gone) == {}
    assert await steps.do(contents, other) == before
    assert task.result is not None
    assert await steps.items(task.id, KICKED) == [ALICE, *users]
    assert task.done == task.total
    assert rests.count("leaves") == 6
    assert rests.count("rows") >= len(gone.event_ids) // 7
    assert max(limits) == 7


@ensureDeferred
async def test_users_still_joined(steps: Steps) -> None:
    """`purge_room` refuses a room in which users of this server are, which then goes on; not with `force`."""
    room = await furnished(steps)
    gone = await steps.do(traces, room)
    task = await steps.run(PURGE_ROOM, PurgeRoomParams(room_id=room.room_id))
    assert (task.status, task.error) == (Status.FAILED, STILL_JOINED)
    await steps.do(steps.world.message, room, BOB)
    gone = await steps.do(traces, room)
    since = await steps.do(read_position)
    forced = await steps.run(PURGE_ROOM, PurgeRoomParams(room_id=room.room_id, force=True), 10)
    assert forced.status is Status.COMPLETE
    assert forced.done == forced.total
    assert await steps.do(remains, gone) == {}
    assert [delta.room_id for delta in await departed(steps, BOB, since)] == [room.room_id]


@ensureDeferred
async def test_who_cannot_be_led_out(steps: Steps) -> None:
    """Nothing is deleted under somebody who is still joined, and who that is is told; with `force` all is."""
    room = await furnished(steps)
    await steps.do(steps.world.member, room, ALICE, BOB, "ban")
    # A table that disagrees with the state of the room, by which Bob may not leave.
    joined = "UPDATE memberships SET membership = 'join' WHERE room_nid = %s AND user_id = %s"
    await steps.do(lambda txn: txn.execute(joined, (room.nid, BOB)))
    before = await steps.do(traces, room)
    task = await shut_down(steps, room)
    assert (task.status, task.error) == (Status.FAILED, STILL_JOINED)
    assert await steps.items(task.id, KICKED) == [ALICE]
    assert await steps.items(task.id, FAILED_TO_KICK) == [BOB]
    after = await steps.do(traces, room)
    assert set(before.event_ids) < set(after.event_ids)
    kept = await shut_down(steps, room, purge=False)
    assert kept.status is Status.COMPLETE
    assert (kept.result or {})["failed_to_kick"] == 1
    forced = await shut_down(steps, room, force_purge=True)
    assert forced.status is Status.COMPLETE
    assert await steps.do(remains, after) == {}


@ensureDeferred
async def test_an_unknown_room(steps: Steps) -> None:
    """There is nothing to do, but to block it if asked."""
    room_id = f"!unknown:{SERVER}"
    task = await steps.run(SHUTDOWN, ShutdownParams(room_id=room_id, block=True))
    assert task.status is Status.COMPLETE
    assert await steps.do(blocked_by, room_id) == ADMIN
    assert (await steps.run(PURGE_ROOM, PurgeRoomParams(room_id=room_id))).status is Status.COMPLETE


@ensureDeferred
async def test_who_is_no_longer_admin(steps: Steps) -> None:
    """The task fails before it does anything."""
    room = await furnished(steps)
    before = await steps.do(contents, room)
    await steps.do(lambda txn: txn.execute("UPDATE users SET is_admin = FALSE"))
    task = await shut_down(steps, room, block=True)
    assert (task.status, task.error) == (Status.FAILED, f"{ADMIN} is no longer a server admin")
    assert await steps.do(contents, room) == before


@ensureDeferred
async def test_members_who_were_away_learn_that_they_are_out(steps: Steps) -> None:
    """From any token before the leave on, a sync has it, once; a later token does not."""
    room = await furnished(steps)
    since = await steps.do(read_position)
    await shut_down(steps, room, batch=10)
    (delta,) = await departed(steps, BOB, since)
    (view,) = delta.timeline
    event = view.stored.event
    assert (delta.room_id, event.type, event.state_key, event.sender) == (
        room.room_id,
        "m.room.member",
        BOB,
        BOB,
    )
    assert event.content == {"membership": "leave"}
    assert [one.room_id for one in await departed(steps, ALICE, 0)] == [room.room_id]
    assert await departed(steps, MALLORY, 0) == []
    assert await departed(steps, BOB, delta.prev_batch.position) == []


@ensureDeferred
async def test_a_sync_at_any_moment(steps: Steps) -> None:
    """Between any two steps, from any token: the room is there, or the leave is; in the end it is the leave."""
    start = await steps.do(read_position)
    room = await furnished(steps)
    tokens = [start, start + 1, await steps.do(read_position)]
    await steps.ask(SHUTDOWN, ShutdownParams(room_id=room.room_id))
    lease = await steps.claim(SHUTDOWN)
    number = 0
    while isinstance(await steps.step(SHUTDOWN, lease, 10), Next):
        number += 1
        for since in tokens:
            result = await sync(steps, BOB, since)
            assert [one.room_id for one in (*result.joined, *result.left)] in ([], [room.room_id])
        await sync(steps, BOB, None)
    assert number > 5
    for since in tokens:
        result = await sync(steps, BOB, since)
        assert [one.room_id for one in result.left] == [room.room_id]
        assert [*result.joined, *result.invited, *result.knocked] == []
    assert (await sync(steps, BOB, None)).joined == []


async def sync(steps: Steps, user_id: str, since: int | None) -> SyncResult:
    fresh = World()
    visibility = Visibility(fresh.events, fresh.state, Retention(None, steps.clock))
    reader = SyncReader(
        fresh.events,
        fresh.state,
        visibility,
        PrejoinState(fresh.events, fresh.state),
        Sections(),
        BrokenRooms(CollectorRegistry()),
    )
    request = SyncRequest(requester(user_id), since, 0, read_sync_filter({}, DEFAULT_LIMIT))
    if since is None:
        return (await steps.database.snapshot(reader.initial, request, 1))[0]
    return await steps.database.snapshot(reader.since, request, since, 1)


@ensureDeferred
async def test_a_room_that_comes_to_be_again(steps: Steps, database: Database, changes: list[Change]) -> None:
    """A process that knew the old room forgets it; joins and invites to the new one work, and sync tells no leave."""
    house = House(database)
    room = await furnished(steps, "10")
    assert (await house.rooms.require(room.room_id, BOB)).nid == room.nid
    database.on_commit(changes.extend)
    changes.clear()
    await shut_down(steps, room)
    house.rooms.on_changes(changes)
    assert await house.rooms.find(room.room_id) is None

    def found_again(txn: Transaction) -> None:
        version = ROOM_VERSIONS["10"]
        create = steps.world.draft(
            "m.room.create", ALICE, {"room_version": "10", "creator": ALICE}, state_key=""
        )
        new = steps.world.appender.create_room(txn, create, version, room.room_id)
        steps.world.member(txn, new, ALICE, ALICE, "join")
        steps.world.send(txn, new, "m.room.join_rules", ALICE, {"join_rule": "public"}, state_key="")

    await steps.do(found_again)
    await house.memberships.join(bob, room.room_id)
    await house.memberships.invite(alice, room.room_id, MALLORY, None)
    await house.say(room.room_id, bob)
    assert await departed(steps, BOB, 0) == []


@pytest.mark.parametrize("hears", [True, False])
@ensureDeferred
async def test_other_servers_hear_that_all_have_left(
    steps: Steps, hears: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is deleted while a server in the room has yet to be told; one that does not listen is not waited for for ever."""
    room = await furnished(steps)

    def join(txn: Transaction) -> None:
        txn.execute(
            "INSERT INTO memberships (user_id, room_nid, membership, sender, event_nid)"
            " VALUES ('@far:far.test', %s, 'join', '@far:far.test', 1)",
            (room.nid,),
        )

    def deliver(txn: Transaction) -> None:
        txn.execute("DELETE FROM outgoing_events")
        txn.execute("UPDATE destination_rooms SET missed_position = NULL, missed_nid = NULL")

    await steps.do(join)
    gone = await steps.do(traces, room)
    task_id = await steps.ask(SHUTDOWN, ShutdownParams(room_id=room.room_id))
    monkeypatch.setattr(shutdown_room, "WAIT_SECONDS", 0)
    monkeypatch.setattr(shutdown_room, "MAX_WAITS", 5)
    waits, lease = 0, await steps.claim(SHUTDOWN)
    while isinstance(outcome := await steps.step(SHUTDOWN, lease, 100), Next | Later):
        if isinstance(outcome, Later):
            lease = await steps.claim(SHUTDOWN)
            waits += 1
            assert (await steps.do(remains, gone))["events.room_nid"] >= len(gone.event_ids)
            if hears and waits == 3:
                await steps.do(deliver)
    assert waits == (3 if hears else 5)
    task = await steps.task(task_id)
    assert task.status is Status.COMPLETE
    assert await steps.items(task_id, UNTOLD) == ([] if hears else ["far.test"])
    assert (task.result or {})["untold_servers"] == (0 if hears else 1)
    assert await steps.do(remains, gone) == {}
