"""Receipts, the read marker and typing: who may, what is refused, what is stored."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.storage import account_data, ephemeral
from synapse_lite.storage.rooms import Room
from tests.builders import ALICE, BOB, MALLORY
from tests.handlers.house import refusal
from tests.handlers.sync_server import SyncServer, requester

alice, bob = requester(ALICE), requester(BOB)


async def _receipts(server: SyncServer, room: Room, reader: str = ALICE) -> dict[tuple[str, str, str], str]:
    found = await server.do(ephemeral.receipts, [room.nid], reader)
    return {(one.user_id, one.receipt_type, one.thread_id): one.event_id for one in found}


async def _typing(server: SyncServer, room: Room) -> list[str]:
    found: dict[int, list[str]] = await server.do(ephemeral.typing, [room.nid], server.clock.now_ms())
    return found.get(room.nid, [])


@ensureDeferred
async def test_receipts_go_forward_only(server: SyncServer) -> None:
    """A receipt for an earlier event, from another device, changes nothing; nor does the same one again."""
    room = await server.room(ALICE, BOB)
    first, second = await server.say(room, ALICE), await server.say(room, ALICE)
    await server.ephemeral.read(alice, room.room_id, {"m.read": second, "m.fully_read": second})
    position = server.log.position
    for event_id in (first, second):
        await server.ephemeral.read(alice, room.room_id, {"m.read": event_id, "m.fully_read": event_id})
    assert server.log.position == position
    assert await _receipts(server, room) == {(ALICE, "m.read", ""): second}
    marker = await server.do(account_data.read_account_data, ALICE, room.nid, "m.fully_read")
    assert marker == {"event_id": second}
    await server.ephemeral.read(alice, room.room_id, {"m.read": "$not_here_yet"})
    assert await _receipts(server, room) == {(ALICE, "m.read", ""): "$not_here_yet"}


@ensureDeferred
async def test_each_thread_has_a_receipt(server: SyncServer) -> None:
    """And private ones are read by their owner only."""
    room = await server.room(ALICE, BOB)
    said = await server.say(room, ALICE)
    for thread_id in (None, "main", said):
        await server.ephemeral.read(bob, room.room_id, {"m.read": said}, thread_id)
    await server.ephemeral.read(bob, room.room_id, {"m.read.private": said})
    public = {(BOB, "m.read", thread_id): said for thread_id in ("", "main", said)}
    assert await _receipts(server, room, ALICE) == public
    assert await _receipts(server, room, BOB) == {**public, (BOB, "m.read.private", ""): said}


@pytest.mark.parametrize(
    ("receipts", "thread_id"),
    [
        ({"m.unknown": "$x"}, None),
        ({"m.read": "x"}, None),
        ({"m.read": "$" + "x" * 255}, None),
        ({"m.read": "$\0"}, None),
        ({"m.read": "$x"}, ""),
        ({"m.read": "$x"}, "x"),
        ({"m.read": "$x"}, "$" + "x" * 255),
        ({"m.fully_read": "$x"}, "main"),
    ],
)
@ensureDeferred
async def test_bad_receipts(server: SyncServer, receipts: dict[str, str], thread_id: str | None) -> None:
    """Unknown types, no event ids, no threads."""
    room = await server.room(ALICE)
    doing = server.ephemeral.read(alice, room.room_id, receipts, thread_id)
    assert await refusal(doing) == (400, "M_INVALID_PARAM")


@ensureDeferred
async def test_members_only(server: SyncServer) -> None:
    """Strangers, those invited, those who left, and rooms that do not exist."""
    room = await server.room(ALICE, BOB)
    said = await server.say(room, ALICE)
    await server.leave(room, BOB)
    await server.member(room, ALICE, MALLORY, "invite")
    for user_id, room_id in ((BOB, room.room_id), (MALLORY, room.room_id), (ALICE, "!unknown:hs.test")):
        who: Any = requester(user_id)
        assert await refusal(server.ephemeral.read(who, room_id, {"m.read": said})) == (403, "M_FORBIDDEN")
        assert await refusal(server.ephemeral.type(who, room_id, 1000)) == (403, "M_FORBIDDEN")


@ensureDeferred
async def test_typing_ends(server: SyncServer) -> None:
    """When its time is over, at the latest when the server says so; a new message of the client prolongs it."""
    room = await server.room(ALICE, BOB)
    await server.ephemeral.type(alice, room.room_id, 10**9)
    await server.ephemeral.type(bob, room.room_id, 5000)
    assert await _typing(server, room) == [ALICE, BOB]
    server.clock.reactor.rightNow += 4
    await server.ephemeral.type(bob, room.room_id, 5000)
    server.clock.reactor.rightNow += 4
    await server.ephemeral.expire()
    assert await _typing(server, room) == [ALICE, BOB]
    server.clock.reactor.rightNow += 2
    assert await _typing(server, room) == [ALICE]
    server.clock.reactor.rightNow += ephemeral.MAX_TYPING_MS / 1000
    assert await _typing(server, room) == []


@ensureDeferred
async def test_expiry_is_told_once(server: SyncServer) -> None:
    """Each room hears of it one time, however many process timers run out."""
    room = await server.room(ALICE, BOB)
    for who in (alice, bob):
        await server.ephemeral.type(who, room.room_id, 1000)
    server.clock.reactor.rightNow += 2
    position = server.log.position
    await server.ephemeral.expire()
    await server.ephemeral.expire()
    assert server.log.position == position + 1


@ensureDeferred
async def test_a_clock_that_is_set_back_lets_nobody_type_for_an_hour(server: SyncServer) -> None:
    """Who types by a time that the clock had before it was set back is done at the next look."""
    room = await server.room(ALICE, BOB)
    await server.ephemeral.type(requester(BOB), room.room_id, 30_000)
    server.clock.step(-3600)
    await server.ephemeral.expire()
    rows = await server.do(lambda txn: txn.rows("SELECT user_id FROM typing"))
    assert rows == []
