"""What another server may see of a room (server-server API, "Retrieving events"; "Room History Visibility")."""

from collections.abc import Collection, Mapping, Sequence

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, forbidden, not_found
from synapse_lite.handlers.current_state import CurrentState
from synapse_lite.handlers.federation.acl import check_acl
from synapse_lite.matrix.redaction import redact
from synapse_lite.matrix.types import MEMBER
from synapse_lite.matrix.visibility import HISTORY_VISIBILITY, may_see
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore, Standing, StoredEvent
from synapse_lite.storage.heads import read_head
from synapse_lite.storage.partial_rooms import is_partial, was_there
from synapse_lite.storage.room_servers import is_in_room, users_of
from synapse_lite.storage.rooms import Room, room_by_id
from synapse_lite.storage.state import StateKey, StateStore


@frozen
class ServedRoom:
    """A room that a server asks about. `is_ours`: somebody of this server is in there, else we know how it was until they left.
    `is_joined`: somebody of the server that asks is in there now, as far as we know.
    """

    room: Room
    origin: str
    is_ours: bool
    is_joined: bool


@frozen
class RoomGate:
    """Lets servers look into rooms. The methods run in database threads."""

    events: EventStore
    state: StateStore
    current: CurrentState
    server_name: str

    def find(self, txn: Transaction, origin: str, room_id: str) -> ServedRoom:
        """404 `M_NOT_FOUND` for a room that nobody here is in, 403 `M_FORBIDDEN` for one that shuts the server out."""
        served = self._served(txn, origin, room_id)
        if served is None or not served.is_ours:
            raise not_found("Unknown room")
        return served

    def _served(self, txn: Transaction, origin: str, room_id: str) -> ServedRoom | None:
        room = room_by_id(txn, room_id)
        if room is None:
            return None
        check_acl(txn, self.current, room.nid, [origin])
        is_ours = is_in_room(txn, room.nid, self.server_name)
        if not is_ours and read_head(txn, room.nid) is None:
            return None  # it is being purged
        is_joined = is_ours and (is_in_room(txn, room.nid, origin) or was_there(txn, room.nid, origin))
        return ServedRoom(room, origin, is_ours, is_joined)

    def check_whole(self, txn: Transaction, served: ServedRoom) -> None:
        """400 `M_UNABLE_DUE_TO_PARTIAL_STATE` for a room whose members we do not know all yet: we can vouch for nobody there."""
        if is_partial(txn, served.room.nid):
            raise MatrixError(
                400,
                Errcode.UNABLE_DUE_TO_PARTIAL_STATE,
                "This server does not know the whole state of the room yet",
            )

    def enter(
        self, txn: Transaction, origin: str, room_id: str, event_ids: Collection[str] = ()
    ) -> ServedRoom:
        """403 unless the server is in the room, or was at one of the events; so it is not told which rooms there are.

        The last of ours may have left: nobody could believe their leave without what they did before it (synapse#12569).
        """
        served = self._served(txn, origin, room_id)
        if served is None:
            raise forbidden("Host not in room.")
        if not served.is_joined:
            events = self._of_room(txn, served, event_ids).values()
            if not any(self._members_at(txn, served, [one]).get(one.nid) for one in events):
                raise forbidden("Host not in room.")
        return served

    def event(self, txn: Transaction, served: ServedRoom, event_id: str) -> StoredEvent:
        """An event of the room that has its place there; 404 `M_NOT_FOUND`."""
        stored = self._of_room(txn, served, [event_id]).get(event_id)
        if stored is None or stored.after_nid is None:
            raise not_found(f"Could not find event {event_id}")
        return stored

    def pdus(self, txn: Transaction, served: ServedRoom, events: Sequence[StoredEvent]) -> list[JsonObject]:
        """The events as the server may have them: without their content, where that is not for it, or is redacted."""
        hidden = self.hidden(txn, served, events)
        redacted = self.events.redactions(txn, [one.nid for one in events])
        return [
            redact(one.event.pdu, one.event.version)
            if one.nid in hidden or one.nid in redacted
            else one.event.pdu
            for one in events
        ]

    def state_pdus(self, txn: Transaction, nids: Collection[int]) -> list[JsonObject]:
        """State events for somebody who may have the state."""
        events = self.events.load(txn, nids)
        redacted = self.events.redactions(txn, list(events))
        return [
            redact(one.event.pdu, one.event.version) if one.nid in redacted else one.event.pdu
            for one in events.values()
        ]

    def hidden(self, txn: Transaction, served: ServedRoom, events: Sequence[StoredEvent]) -> set[int]:
        """The nids of those whose content is not for the server, by the history visibility there."""
        snapshots = {nid for one in events for nid in (one.before_nid, one.after_nid)}
        states = self.state.at_each(txn, snapshots, [HISTORY_VISIBILITY])
        said = self.events.load(txn, {nid for state in states.values() for nid in state.values()})
        members: Mapping[int, set[str]] | None = None
        hidden = set()
        for one in events:
            if one.event.is_state and served.is_joined:
                continue  # a part of what makes the room, which its servers have to know
            visibilities = [
                _text(said, states[nid].get(HISTORY_VISIBILITY)) for nid in (one.before_nid, one.after_nid)
            ]
            if one.after_nid is None:
                hidden.add(one.nid)
            elif not any(may_see(value, None, served.is_joined) for value in visibilities):
                members = self._members_at(txn, served, events) if members is None else members
                then = members.get(one.nid, set())
                if not any(
                    may_see(value, which, served.is_joined) for value in visibilities for which in then
                ):
                    hidden.add(one.nid)
        return hidden

    def _of_room(
        self, txn: Transaction, served: ServedRoom, event_ids: Collection[str]
    ) -> dict[str, StoredEvent]:
        found = self.events.by_ids(txn, event_ids) if event_ids else {}
        return {
            event_id: one
            for event_id, one in found.items()
            if one.room_nid == served.room.nid and one.standing is not Standing.REJECTED
        }

    def _members_at(
        self, txn: Transaction, served: ServedRoom, events: Sequence[StoredEvent]
    ) -> dict[int, set[str]]:
        """By event the memberships that users of the server had around it: `join` and `invite`."""
        keys: list[StateKey] = [(MEMBER, user) for user in users_of(txn, served.room.nid, served.origin)]
        snapshots = {nid for one in events for nid in (one.before_nid, one.after_nid)}
        states = self.state.at_each(txn, snapshots, keys)
        said = self.events.load(txn, {nid for state in states.values() for nid in state.values()})
        found: dict[int, set[str]] = {}
        for one in events:
            nids = {nid for around in (one.before_nid, one.after_nid) for nid in states[around].values()}
            memberships = {said[nid].event.membership for nid in nids if nid in said}
            known = {which for which in memberships if which in ("join", "invite")}
            if known:
                found[one.nid] = {which for which in known if which is not None}
        return found


def _text(events: Mapping[int, StoredEvent], nid: int | None) -> str | None:
    stored = events.get(nid) if nid is not None else None
    value = stored.event.content.get("history_visibility") if stored else None
    return value if isinstance(value, str) else None
