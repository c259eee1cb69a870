"""Which events of a room a user may see (client-server API, "Room History Visibility")."""

from collections.abc import Collection, Mapping, Sequence

from attrs import evolve, frozen

from synapse_lite.errors import forbidden
from synapse_lite.handlers.retention import Retention
from synapse_lite.matrix.visibility import better_membership, may_see
from synapse_lite.storage import rooms, timeline
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore, StoredEvent
from synapse_lite.storage.rooms import Standing
from synapse_lite.storage.state import NidMap, StateKey, StateStore

_VISIBILITY = ("m.room.history_visibility", "")
_HIDES_NOTHING = frozenset({None, "shared", "world_readable"})  # from members
_CHANGES_FOLLOWED = 10
NEVER = -1


@frozen
class Viewer:
    """A user's view of a room. `member` is their current member event, `position` its position.

    `left_at` is the position of the event by which they last ceased to be joined, `left_state` the
    snapshot after it. `sees_all`: joined, in a room that never hid anything from its members; then
    `position` matters to nobody, and stays `NEVER`. `visibility` is the room's now.
    """

    user_id: str
    member: StoredEvent | None = None
    position: int = NEVER
    left_at: int = NEVER
    left_state: int = 0
    sees_all: bool = False
    visibility: str | None = None

    @property
    def membership(self) -> str | None:
        return self.member.event.membership if self.member else None

    @property
    def is_joined(self) -> bool:
        return self.membership == "join"

    @property
    def may_look(self) -> bool:
        """Whether there may be anything in the room for them to see."""
        return (
            self.is_joined
            or self.left_at != NEVER
            or self.visibility == "world_readable"
            or (self.visibility == "invited" and self.membership == "invite")
        )

    def joined_after(self, position: int) -> bool:
        """Whether the user was joined at any later point."""
        return self.is_joined or position < self.left_at

    def end(self, now: int) -> int:
        """The last position that concerns the viewer: the end of their membership, when that has ended."""
        is_over = self.membership in {"leave", "ban"} and self.visibility != "world_readable"
        return self.position if is_over else now


class Visibility:
    """Reads what the rule needs. The methods run in database threads."""

    def __init__(self, events: EventStore, state: StateStore, retention: Retention) -> None:
        self._events = events
        self._state = state
        self._retention = retention

    def viewer(self, txn: Transaction, standing: Standing | None, user_id: str) -> Viewer:
        """403 `M_FORBIDDEN` for an unknown room, and for who was never joined, or has forgotten the room.

        Unless anybody may read the room, or those who are invited.
        """
        viewer = Viewer(user_id) if standing is None else self._viewer(txn, standing, user_id)
        if not viewer.may_look:
            raise forbidden("You aren't a member of the room and weren't previously a member of the room.")
        return viewer

    def viewers(
        self, txn: Transaction, user_id: str, members: Mapping[int, StoredEvent]
    ) -> dict[int, Viewer]:
        """The user's view of each room, by nid; `members` are their current member events."""
        joined = [nid for nid, stored in members.items() if stored.event.membership == "join"]
        return self._viewers(txn, user_id, members, self._visibilities(txn, joined))

    def only_visible(
        self, txn: Transaction, viewer: Viewer, entries: Sequence[timeline.Entry]
    ) -> list[timeline.Entry]:
        """Those of the entries (oldest first or last) that the viewer may see."""
        return self.unexpired(txn, self._only_permitted(txn, viewer, entries))

    def unexpired(self, txn: Transaction, entries: Sequence[timeline.Entry]) -> list[timeline.Entry]:
        """Those of the entries, of whatever rooms, that have not had their time."""
        if self._retention.policy is None:
            return list(entries)
        events = self._events.load(txn, [nid for _, nid in entries])
        expired = self._retention.expired(txn, events.values())
        return [entry for entry in entries if entry[1] not in expired]

    def _only_permitted(
        self, txn: Transaction, viewer: Viewer, entries: Sequence[timeline.Entry]
    ) -> list[timeline.Entry]:
        if not entries or viewer.sees_all or (viewer.is_joined and viewer.position <= min(entries)[0]):
            return list(entries)
        events = self._events.load(txn, [nid for _, nid in entries])
        member = ("m.room.member", viewer.user_id)
        snapshots = {nid for stored in events.values() for nid in (stored.before_nid, stored.after_nid)}
        states = self._state.at_each(txn, snapshots, [_VISIBILITY, member])
        deciding = self._events.load(txn, {nid for state in states.values() for nid in state.values()})

        def sees(position: int, stored: StoredEvent) -> bool:
            if stored.event.is_state and stored.event.key == member:
                return True
            around = (states[stored.before_nid], states[stored.after_nid])
            membership = better_membership(*(_content(state, member, deciding) for state in around))
            return any(
                may_see(_content(state, _VISIBILITY, deciding), membership, viewer.joined_after(position))
                for state in around
            )

        return [(position, nid) for position, nid in entries if nid in events and sees(position, events[nid])]

    def _viewer(self, txn: Transaction, standing: Standing, user_id: str) -> Viewer:
        nid = standing.room.nid
        events = self._events.load(
            txn, [event for event in (standing.member_nid, standing.visibility_nid) if event is not None]
        )
        said = {} if standing.visibility_nid is None else {nid: events[standing.visibility_nid]}
        visibility = _said(said[nid], _VISIBILITY) if said else None
        if standing.member_nid is None:
            return Viewer(user_id, visibility=visibility)
        viewers = self._viewers(txn, user_id, {nid: events[standing.member_nid]}, said)
        return evolve(viewers[nid], visibility=visibility)

    def _viewers(
        self,
        txn: Transaction,
        user_id: str,
        members: Mapping[int, StoredEvent],
        visibilities: Mapping[int, StoredEvent],
    ) -> dict[int, Viewer]:
        """`visibilities` are the current `m.room.history_visibility` of the rooms that the user is in."""
        joined = {nid for nid, stored in members.items() if stored.event.membership == "join"}
        sees_all = self._hide_nothing(txn, joined, visibilities)
        departed = rooms.departures(txn, [members[nid].nid for nid in members.keys() - joined])
        placed = [stored.nid for nid, stored in members.items() if nid not in sees_all]
        positions = timeline.positions_of(txn, [*placed, *(left.event_nid for left in departed.values())])
        viewers = {}
        for nid, stored in members.items():
            left = departed.get(stored.nid)
            viewers[nid] = Viewer(
                user_id,
                stored,
                positions.get(stored.nid, NEVER),
                left_at=positions.get(left.event_nid, NEVER) if left else NEVER,
                left_state=left.after_nid if left else 0,
                sees_all=nid in sees_all,
            )
        return viewers

    def _hide_nothing(
        self, txn: Transaction, room_nids: Collection[int], visibilities: Mapping[int, StoredEvent]
    ) -> set[int]:
        """Those of the rooms that have never hidden an event from who joined later."""
        hide_nothing = set(room_nids)
        said = {nid: stored for nid, stored in visibilities.items() if nid in hide_nothing}
        for _ in range(_CHANGES_FOLLOWED):
            hide_nothing -= {
                nid for nid, stored in said.items() if _said(stored, _VISIBILITY) not in _HIDES_NOTHING
            }
            replaced = {nid: said[nid].replaces_nid for nid in hide_nothing & said.keys()}
            earlier = self._events.load(txn, {nid for nid in replaced.values() if nid is not None})
            said = {nid: earlier[event] for nid, event in replaced.items() if event in earlier}
            if not said:
                break
        return hide_nothing - said.keys()

    def _visibilities(self, txn: Transaction, room_nids: Collection[int]) -> dict[int, StoredEvent]:
        """The current `m.room.history_visibility` of the rooms that have one."""
        current = self._state.current(txn, [(nid, _VISIBILITY) for nid in room_nids])
        events = self._events.load(txn, list(current.values()))
        return {room_nid: events[nid] for (room_nid, _), nid in current.items()}


def _content(state: NidMap, key: StateKey, events: Mapping[int, StoredEvent]) -> str | None:
    """The history visibility or the membership that the state says."""
    stored = events.get(state.get(key, 0))
    return None if stored is None else _said(stored, key)


def _said(stored: StoredEvent, key: StateKey) -> str | None:
    value = stored.event.content.get("history_visibility" if key == _VISIBILITY else "membership")
    return value if isinstance(value, str) else None
