"""Batches of events while somebody holds the lock of a room."""

from typing import Any

import psycopg2
import pytest
from psycopg2 import extensions
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.errors import MatrixError
from synapse_lite.handlers.event_writer import MAX_BUSY_ROOMS, EventWriter
from synapse_lite.rooms import append
from synapse_lite.rooms.values import Write
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.event_transactions import ClientRequest
from synapse_lite.storage.events import StoredEvent
from synapse_lite.storage.heads import lock_free_heads_and_find
from synapse_lite.storage.rooms import Room
from tests.builders import ALICE, BOB, World


class Rooms:
    """Rooms of alice, their locks, and one process that writes."""

    def __init__(self, database: Database, arguments: dict[str, Any]) -> None:
        self.database = database
        self.world = World()
        self.writer = EventWriter(database, self.world.appender)
        self._arguments = arguments

    async def create(self, count: int) -> list[Room]:
        return [await self.database.transact(self.world.room, ALICE) for _ in range(count)]

    def hold(self, room: Room) -> extensions.connection:
        """As the step of a task does, until the connection commits."""
        connection = psycopg2.connect(**self._arguments)
        connection.cursor().execute("SELECT FROM rooms WHERE room_nid = %s FOR NO KEY UPDATE", (room.nid,))
        return connection

    def send(
        self, room: Room, text: str, sender: str = ALICE, request: ClientRequest | None = None
    ) -> "Deferred[StoredEvent]":
        draft = self.world.draft("m.room.message", sender, {"msgtype": "m.text", "body": text})
        return Deferred.fromCoroutine(self.writer.send(Write(room.nid, draft, request)))

    async def texts(self, room: Room) -> list[str]:
        rows = await self.database.read(
            lambda txn: txn.rows(
                "SELECT json::json -> 'content' ->> 'body' FROM events JOIN stream USING (event_nid)"
                " WHERE events.room_nid = %s AND type = 'm.room.message' ORDER BY position",
                (room.nid,),
            )
        )
        return [text for (text,) in rows]


@pytest.fixture
def rooms(database: Database, database_arguments: dict[str, Any]) -> Rooms:
    return Rooms(database, database_arguments)


@ensureDeferred
async def test_a_busy_room_keeps_no_other_waiting(rooms: Rooms) -> None:
    """Writes to other rooms are committed while one room is held; its own wait, in their order."""
    held, free = await rooms.create(2)
    holder = rooms.hold(held)
    waiting = [rooms.send(held, "1")]
    sent = [rooms.send(free, "a"), rooms.send(free, "b")]
    waiting += [rooms.send(held, "2"), rooms.send(held, "3")]
    await gatherResults(sent)
    waiting.append(rooms.send(held, "4"))
    await rooms.send(free, "c")
    assert not any(deferred.called for deferred in waiting)
    holder.commit()
    await gatherResults(waiting)
    await rooms.send(held, "5")
    assert await rooms.texts(held) == ["1", "2", "3", "4", "5"]
    assert await rooms.texts(free) == ["a", "b", "c"]
    holder.close()


@ensureDeferred
async def test_many_busy_rooms_leave_a_connection_to_the_others(rooms: Rooms) -> None:
    """More busy rooms than the process may wait for: a free room is written to, and each one when it is free."""
    *held, free = await rooms.create(MAX_BUSY_ROOMS + 2)
    holders = [rooms.hold(room) for room in held]
    waiting = [rooms.send(room, "late") for room in held]
    await rooms.send(free, "now")
    assert not any(deferred.called for deferred in waiting)
    for holder in holders:
        holder.commit()
        holder.close()
    await gatherResults(waiting)
    assert [await rooms.texts(room) for room in held] == [["late"]] * len(held)


@ensureDeferred
async def test_rules_hold_for_what_was_put_back(rooms: Rooms) -> None:
    """Who has to wait is judged by the room as it is then; a refusal is theirs alone."""
    held, free = await rooms.create(2)
    holder = rooms.hold(held)
    stranger, member = rooms.send(held, "no", BOB), rooms.send(held, "yes")
    await rooms.send(free, "meanwhile")
    holder.commit()
    holder.close()
    with pytest.raises(MatrixError, match="not in room"):
        await stranger
    await member
    assert await rooms.texts(held) == ["yes"]


@ensureDeferred
async def test_a_room_that_is_gone_is_not_busy(rooms: Rooms) -> None:
    """Of a room that is unknown, or about to be purged, nothing is waited for."""
    (closed,) = await rooms.create(1)
    await rooms.database.transact(
        lambda txn: txn.execute("UPDATE rooms SET purging = TRUE WHERE room_nid = %s", (closed.nid,))
    )
    with pytest.raises(MatrixError, match="Unknown room"):
        await rooms.send(closed, "hello?")


@pytest.fixture
def overlooked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Requests that were served just before their room was locked, as another process had it: they are not found."""
    asked: list[Any] = []

    def overlook(txn: Transaction, room_nids: Any, requests: Any) -> Any:
        asked.extend(requests)
        heads, _ = lock_free_heads_and_find(txn, room_nids, requests)
        return heads, {}

    monkeypatch.setattr(append, "lock_free_heads_and_find", overlook)
    return asked


@ensureDeferred
async def test_a_request_that_another_process_serves_meanwhile(rooms: Rooms, overlooked: list[Any]) -> None:
    """It is found too late among those that were served: it is one event all the same, and nobody else's is lost."""
    (room,) = await rooms.create(1)
    request = ClientRequest("@alice:hs.test device ONE", "send", "1")
    first = await rooms.send(room, "once", request=request)
    overlooked.clear()
    again, other = await gatherResults(
        [rooms.send(room, "once", request=request), rooms.send(room, "another")]
    )
    assert overlooked
    assert again.event_id == first.event_id
    assert await rooms.texts(room) == ["once", "another"]
    assert other.event_id != first.event_id


@ensureDeferred
async def test_a_reaction_that_another_process_stores_meanwhile(rooms: Rooms, overlooked: list[Any]) -> None:
    """The same request again is told of its event; another one that it is there already."""
    (room,) = await rooms.create(1)
    message = await rooms.send(room, "hello")
    relation = {"rel_type": "m.annotation", "event_id": message.event_id, "key": "+"}

    def react(txn_id: str) -> "Deferred[StoredEvent]":
        draft = rooms.world.draft("m.reaction", ALICE, {"m.relates_to": relation})
        request = ClientRequest("@alice:hs.test device ONE", "send", txn_id)
        return Deferred.fromCoroutine(rooms.writer.send(Write(room.nid, draft, request)))

    first = await react("1")
    overlooked.clear()
    again = await react("1")
    assert overlooked
    assert again.event_id == first.event_id
    with pytest.raises(MatrixError, match="same reaction twice"):
        await react("2")


@ensureDeferred
async def test_who_was_served_elsewhere_keeps_nobody_waiting(rooms: Rooms, overlooked: list[Any]) -> None:
    """Of the same batch only what is for a room that somebody holds waits for it."""
    held, free, other = await rooms.create(3)
    request = ClientRequest("@alice:hs.test device ONE", "send", "1")
    first = await rooms.send(free, "once", request=request)
    overlooked.clear()
    holder = rooms.hold(held)
    before = rooms.send(other, "before")
    waiting = rooms.send(held, "late")
    again, _ = await gatherResults([rooms.send(free, "once", request=request), rooms.send(other, "after")])
    assert before.called
    assert len(overlooked) == 1
    assert again.event_id == first.event_id
    assert await rooms.texts(other) == ["before", "after"]
    assert not waiting.called
    holder.commit()
    holder.close()
    await waiting
    assert await rooms.texts(held) == ["late"]
