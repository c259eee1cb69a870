"""Which events of a room a user may see (client-server API, "Room History Visibility")."""

from collections.abc import Sequence

from attrs import frozen

from synapse_lite.errors import forbidden
from synapse_lite.matrix.visibility import better_membership, less_restrictive, may_see
from synapse_lite.storage import rooms, timeline
from synapse_lite.storage.branches import Room
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore, StoredEvent
from synapse_lite.storage.state import NidMap, StateKey, StateStore

_VISIBILITY = ("m.room.history_visibility", "")
NEVER = -1


@frozen
class Viewer:
    """A user's view of a room: what they are in it, since when (`position` of that membership event)."""

    user_id: str
    membership: str | None
    position: int = NEVER

    @property
    def is_joined(self) -> bool:
        return self.membership == "join"

    def end(self, now: int) -> int:
        """The last position that concerns the viewer: their leave, when they left."""
        return self.position if self.membership in {"leave", "ban"} else now


class Visibility:
    """Reads what the rule needs. The methods run in database threads."""

    def __init__(self, events: EventStore, state: StateStore) -> None:
        self._events = events
        self._state = state

    def viewer(self, txn: Transaction, room: Room | None, user_id: str) -> Viewer:
        """403 `M_FORBIDDEN` for a stranger, unless anybody may read the room; the same for an unknown room."""
        membership = rooms.membership_in(txn, room.nid, user_id) if room else None
        if room is None or ((membership is None or membership.forgotten) and not self._is_open(txn, room)):
            raise forbidden("You aren't a member of the room and weren't previously a member of the room.")
        if membership is None or membership.forgotten:
            return Viewer(user_id, None)
        position = timeline.positions_of(txn, [membership.event_nid]).get(membership.event_nid, NEVER)
        return Viewer(user_id, membership.membership, position)

    def only_visible(
        self, txn: Transaction, viewer: Viewer, entries: Sequence[timeline.Entry]
    ) -> list[timeline.Entry]:
        """Those of the entries (oldest first or last) that the viewer may see."""
        if not entries or (viewer.is_joined and viewer.position <= min(entries)[0]):
            return list(entries)
        events = self._events.load(txn, [nid for _, nid in entries])
        member = ("m.room.member", viewer.user_id)
        snapshots = {nid for stored in events.values() for nid in (stored.before_nid, stored.after_nid)}
        states = {nid: self._state.at(txn, nid, [_VISIBILITY, member]) for nid in snapshots}
        deciding = self._events.load(txn, {nid for state in states.values() for nid in state.values()})

        def sees(position: int, stored: StoredEvent) -> bool:
            before, after = states[stored.before_nid], states[stored.after_nid]
            return may_see(
                less_restrictive(
                    _content(before, _VISIBILITY, deciding), _content(after, _VISIBILITY, deciding)
                ),
                better_membership(_content(before, member, deciding), _content(after, member, deciding)),
                joined_since=viewer.is_joined or position < viewer.position,
            )

        return [(position, nid) for position, nid in entries if nid in events and sees(position, events[nid])]

    def _is_open(self, txn: Transaction, room: Room) -> bool:
        """World readable now."""
        current = self._state.current(txn, [(room.nid, _VISIBILITY)])
        events = self._events.load(txn, list(current.values()))
        return any(
            stored.event.content.get("history_visibility") == "world_readable" for stored in events.values()
        )


def _content(state: NidMap, key: StateKey, events: dict[int, StoredEvent]) -> str | None:
    """The history visibility or the membership that the state says."""
    stored = events.get(state.get(key, 0))
    if stored is None:
        return None
    value = stored.event.content.get("history_visibility" if key == _VISIBILITY else "membership")
    return value if isinstance(value, str) else None
