"""Rooms that a user is out of without a member event that says so: they were purged, or a resolution undid a join."""

import hashlib
from collections.abc import Mapping

from synapse_lite.handlers.sync.own import OwnChange
from synapse_lite.handlers.sync.values import Reading, RoomDelta, RoomIds, SyncRequest
from synapse_lite.matrix.event import Event
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import StoredEvent, View
from synapse_lite.storage.purge import purged_rooms
from synapse_lite.storage.stream import Place

NO_NID = 0


def read_departures(txn: Transaction, request: SyncRequest, since: int, position: int) -> list[RoomDelta]:
    """For `rooms.leave`: each room with a leave, made up after the real one that is gone."""
    user_id = request.requester.user_id
    return [
        RoomDelta(
            one.room_id,
            [made_up_leave(user_id, one.room_id, one.position, one.purged_ts)],
            limited=True,
            prev_batch=Place(one.position).before,
        )
        for one in purged_rooms(txn, user_id, since, position)
        if request.filter.takes_room(one.room_id)
    ]


def read_removals(reading: Reading, rooms: RoomIds, removed: Mapping[int, OwnChange]) -> list[RoomDelta]:
    """The same for rooms whose state no longer knows the user."""
    user_id = reading.request.user_id
    return [
        RoomDelta(
            rooms[nid],
            [made_up_leave(user_id, rooms[nid], change.position, reading.now_ms)],
            limited=True,
            prev_batch=Place(change.position).before,
        )
        for nid, change in removed.items()
        if nid in rooms
    ]


def made_up_leave(user_id: str, room_id: str, position: int, ts: int) -> View:
    """Always the same for the same departure, so that no client counts two."""
    digest = hashlib.sha256(f"{room_id} {position} {user_id}".encode()).hexdigest()
    pdu = {
        "type": "m.room.member",
        "room_id": room_id,
        "sender": user_id,
        "state_key": user_id,
        "content": {"membership": "leave"},
        "origin_server_ts": ts,
        "depth": 0,
        "prev_events": [],
        "auth_events": [],
    }
    event = Event.from_pdu(pdu, ROOM_VERSIONS["11"], f"${digest}")
    return View(StoredEvent(NO_NID, NO_NID, event, NO_NID, NO_NID))
