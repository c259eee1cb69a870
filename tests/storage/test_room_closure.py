"""Closing rooms: who waits for whom, and what a closed or blocked room refuses."""

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread

from synapse_lite.errors import MatrixError
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.room_closure import (
    block_room,
    blocked_by,
    close_room,
    hold_room,
    reopen_room,
    unblock_room,
)
from synapse_lite.storage.rooms import Room
from tests.builders import ALICE, BOB, World


@ensureDeferred
async def test_closing_waits_for_who_holds_the_room(database: Database) -> None:
    """Who was in time writes on; who comes later is refused, on whatever connection."""
    room = await database.transact(World().room)
    entered: Deferred[None] = Deferred()
    go_on: Deferred[None] = Deferred()
    order: list[str] = []

    def hold(txn: Transaction) -> None:
        hold_room(txn, room.nid)
        reactor.callFromThread(entered.callback, None)  # type: ignore[attr-defined]
        blockingCallFromThread(reactor, lambda: go_on)
        order.append("held")

    def close(txn: Transaction) -> None:
        assert close_room(txn, room.nid, 1)
        order.append("closed")

    holding = Deferred.fromCoroutine(database.transact(hold))
    await entered
    closing = Deferred.fromCoroutine(database.transact(close))
    await database.transact(_until_somebody_waits)
    go_on.callback(None)
    await holding
    await closing
    assert order == ["held", "closed"]
    with pytest.raises(MatrixError) as caught:
        await database.transact(hold_room, room.nid)
    assert caught.value.status == 404


def _until_somebody_waits(txn: Transaction) -> None:
    while not txn.value("SELECT count(*) FROM pg_locks WHERE NOT granted"):
        txn.execute("SELECT pg_sleep(0.01)")


@ensureDeferred
async def test_a_closed_room_is_as_good_as_unknown(database: Database) -> None:
    """The appender refuses, but for the purge itself; a room that is opened again is as before."""
    world = World()
    room: Room = await database.transact(world.room, ALICE, BOB)
    assert await database.transact(close_room, room.nid, 1)
    assert not await database.transact(close_room, room.nid, 2)
    refused = await database.transact(world.try_send, room, "m.room.message", BOB, {"body": "x"})
    assert isinstance(refused, MatrixError)
    assert (refused.status, str(refused)) == (404, "Unknown room")
    await database.transact(reopen_room, room.nid)
    await database.transact(world.message, room, BOB)
    assert await database.read(lambda txn: txn.rows("SELECT * FROM purged_rooms")) == []


@ensureDeferred
async def test_blocks(database: Database) -> None:
    """By room id, known or not; the first who blocked is named."""
    room_id = "!unknown:hs.test"
    assert await database.read(blocked_by, room_id) is None
    await database.transact(block_room, room_id, ALICE)
    await database.transact(block_room, room_id, BOB)
    assert await database.read(blocked_by, room_id) == ALICE
    await database.transact(unblock_room, room_id)
    assert await database.read(blocked_by, room_id) is None
