"""Rooms that were purged while a client was away: it has to hear that its user is out."""

import hashlib

from synapse_lite.handlers.sync.values import RoomDelta, SyncRequest
from synapse_lite.matrix.event import Event
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import StoredEvent, View
from synapse_lite.storage.purge import Departure, departures

NO_NID = 0


def read_departures(txn: Transaction, request: SyncRequest, since: int, position: int) -> list[RoomDelta]:
    """For `rooms.leave`: each room with a leave, made up after the real one that is gone."""
    user_id = request.requester.user_id
    return [
        RoomDelta(one.room_id, [_leave(one, user_id)], limited=True, prev_batch=one.position - 1)
        for one in departures(txn, user_id, since, position)
        if request.filter.takes_room(one.room_id)
    ]


def _leave(departure: Departure, user_id: str) -> View:
    """Always the same for the same departure, so that no client counts two."""
    digest = hashlib.sha256(f"{departure.room_id} {departure.position} {user_id}".encode()).hexdigest()
    pdu = {
        "type": "m.room.member",
        "room_id": departure.room_id,
        "sender": user_id,
        "state_key": user_id,
        "content": {"membership": "leave"},
        "origin_server_ts": departure.purged_ts,
        "depth": 0,
        "prev_events": [],
        "auth_events": [],
    }
    event = Event.from_pdu(pdu, ROOM_VERSIONS["11"], f"${digest}")
    return View(StoredEvent(NO_NID, NO_NID, event, NO_NID, NO_NID))
