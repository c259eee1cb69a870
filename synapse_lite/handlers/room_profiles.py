"""Profiles in rooms: what member events show of a user."""

import logging

from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import MatrixError
from synapse_lite.handlers.sender import Sender
from synapse_lite.matrix.event import Draft
from synapse_lite.storage import accounts, rooms
from synapse_lite.storage.branches import Write
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore

logger = logging.getLogger(__name__)

FIELDS = ("displayname", "avatar_url")
CHUNK = 100


class RoomProfiles:
    """Carries a changed profile into the user's rooms."""

    def __init__(self, database: Database, events: EventStore, sender: Sender, clock: Clock) -> None:
        self._database = database
        self._events = events
        self._sender = sender
        self._clock = clock

    async def show(self, user_id: str, _changed_by: str) -> None:
        """Each joined room gets a new member event; one that shows the profile already stays as it is."""
        writes = await self._database.read(self._writes, user_id)
        for start in range(0, len(writes), CHUNK):
            chunk = writes[start : start + CHUNK]
            await gatherResults(
                [Deferred.fromCoroutine(self._send(write)) for write in chunk], consumeErrors=True
            )

    async def _send(self, write: Write) -> None:
        try:
            await self._sender.send(write)
        except MatrixError as error:  # for instance because the user has just left
            logger.info("a room does not take the new profile: %s", error)

    def _writes(self, txn: Transaction, user_id: str) -> list[Write]:
        members = rooms.memberships_of(txn, user_id, ["join"])
        events = self._events.load(txn, [member.event_nid for member in members])
        profile = shown_profile(txn, user_id)
        now = self._clock.now_ms()
        writes = []
        for member in members:
            old = events[member.event_nid].event.content
            new = {**{key: value for key, value in old.items() if key not in FIELDS}, **profile}
            writes.append(Write(member.room_nid, Draft("m.room.member", user_id, new, now, user_id)))
        return writes


def shown_profile(txn: Transaction, user_id: str) -> JsonObject:
    """What a member event shows of a user; nothing of those whom this server does not know."""
    profile = accounts.read_profile(txn, user_id) or {}
    return {name: profile[name] for name in FIELDS if name in profile}
