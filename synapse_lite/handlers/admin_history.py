"""The past of rooms as administrators may read it: all of it, redacted content of single events too."""

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import not_found
from synapse_lite.handlers.visibility import Viewer, Visibility
from synapse_lite.matrix.event import client_event
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore, Standing
from synapse_lite.storage.rooms import RoomAccess
from synapse_lite.storage.stream import END, Place

SOFT_FAILED = "io.element.synapse.soft_failed"


class EverythingVisible(Visibility):
    """Whoever asks sees what those see who were always in the room. 404 `M_NOT_FOUND` for an unknown one."""

    def viewer(
        self,
        txn: Transaction,  # noqa: ARG002 (read by the ordinary visibility)
        access: RoomAccess | None,
        user_id: str,
    ) -> Viewer:
        if access is None:
            raise not_found("Room not found")
        return Viewer(user_id, left_at=Place(END), sees_all=True)


class NobodyIgnored:
    """Administrators judge also those whom they do not want to hear of."""

    async def of(self, _user_id: str, /) -> frozenset[str]:
        return frozenset()


@frozen
class FetchEvent:
    """Any event that the server stores."""

    database: Database
    events: EventStore
    clock: Clock

    async def fetch(self, event_id: str) -> JsonObject:
        """As servers exchange it, unredacted, with its id; 404 `M_NOT_FOUND` when it is not stored.

        `unsigned` tells its age, its redaction, and whether it was soft-failed or rejected.
        """
        return await self.database.snapshot(self._read, event_id)

    def _read(self, txn: Transaction, event_id: str) -> JsonObject:
        stored = self.events.by_ids(txn, [event_id]).get(event_id)
        if stored is None:
            raise not_found("Event not found")
        redaction = self.events.redactions(txn, [stored.nid]).get(stored.nid)
        event = stored.event
        unsigned: JsonObject = {"age": max(0, self.clock.now_ms() - event.origin_server_ts)}
        if redaction is not None:
            unsigned["redacted_by"] = redaction.event_id
            unsigned["redacted_because"] = client_event(redaction.event)
        if stored.standing is Standing.SOFT_FAILED:
            unsigned[SOFT_FAILED] = True
        if stored.standing is Standing.REJECTED:
            unsigned["rejected"] = True
        return {**event.pdu, "event_id": event_id, "room_id": event.room_id, "unsigned": unsigned}
