"""Which events of a room a user may see (client-server API, "Room History Visibility")."""

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType

from attrs import evolve, frozen

from synapse_lite.errors import forbidden
from synapse_lite.handlers.retention import Retention
from synapse_lite.matrix.types import MEMBER
from synapse_lite.matrix.visibility import HISTORY_VISIBILITY, better_membership, may_see
from synapse_lite.storage import last_leaves, rooms, timeline
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore, StoredEvent, View
from synapse_lite.storage.rooms import RoomAccess, Standings
from synapse_lite.storage.state import NidMap, SnapshotNid, StateKey, StateStore
from synapse_lite.storage.stream import Place

_HIDES_NOTHING = frozenset({None, "shared", "world_readable"})  # from members
_CHANGES_FOLLOWED = 10
NEVER = Place(-1)


@frozen
class Viewer:
    """A user's view of a room. `member` is their current member event, `place` where it is.

    `left_at` is the place of the event by which they last ceased to be joined, `left_state` the
    snapshot after it. `sees_all`: joined, in a room that never hid anything from its members.
    `visibility` is the room's now.
    """

    user_id: str
    member: StoredEvent | None = None
    place: Place = NEVER
    left_at: Place = NEVER
    left_state: int = 0
    sees_all: bool = False
    visibility: str | None = None

    @cached_property
    def membership(self) -> str | None:
        return self.member.event.membership if self.member else None

    @cached_property
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

    def joined_after(self, place: Place) -> bool:
        """Whether the user was joined at any later point."""
        return self.is_joined or place < self.left_at

    def end(self, now: Place) -> Place:
        """The last place that concerns the viewer: the end of their membership, when that has ended."""
        is_over = self.membership in {"leave", "ban"} and self.visibility != "world_readable"
        return self.place if is_over else now


class Visibility:
    """Reads what the rule needs. The methods run in database threads."""

    def __init__(self, events: EventStore, state: StateStore, retention: Retention) -> None:
        self._events = events
        self._state = state
        self._retention = retention

    def viewer(self, txn: Transaction, access: RoomAccess | None, user_id: str) -> Viewer:
        """403 `M_FORBIDDEN` for an unknown room, and for who was never joined, or has forgotten the room.

        Unless anybody may read the room, or those who are invited.
        """
        viewer = Viewer(user_id) if access is None else self._viewer(txn, access, user_id)
        if not viewer.may_look:
            raise forbidden("You aren't a member of the room and weren't previously a member of the room.")
        return viewer

    def viewers(
        self,
        txn: Transaction,
        user_id: str,
        members: Mapping[int, StoredEvent],
        known: Standings = MappingProxyType({}),
    ) -> dict[int, Viewer]:
        """The user's view of each room, by nid; `members` are their current member events. What is `known` is not read."""
        missing = {nid: stored.nid for nid, stored in members.items() if nid not in known}
        standings = {nid: known[nid] for nid in members if nid in known} | {**rooms.standings(txn, missing)}
        events = self._events.load(txn, [nid for nid, _ in standings.values() if nid is not None])
        visibilities = {room: events[nid] for room, (nid, _) in standings.items() if nid in events}
        places = {members[room].nid: place for room, (_, place) in standings.items() if place is not None}
        return self._viewers(txn, user_id, members, visibilities, places)

    def only_visible(
        self, txn: Transaction, viewer: Viewer, entries: Sequence[timeline.Entry]
    ) -> list[timeline.Entry]:
        """Those of the entries (oldest first or last) that the viewer may see."""
        return self.unexpired(txn, self._only_permitted(txn, viewer, entries))

    def seen(
        self, txn: Transaction, viewers: Mapping[int, Viewer], entries: Mapping[int, Sequence[timeline.Entry]]
    ) -> set[int]:
        """The nids of those of the entries, by room, that its viewer may see."""
        return {
            nid
            for room_nid, of_room in entries.items()
            for _, nid in self.only_visible(txn, viewers[room_nid], of_room)
        }

    def unexpired(self, txn: Transaction, entries: Sequence[timeline.Entry]) -> list[timeline.Entry]:
        """Those of the entries, of whatever rooms, that have not expired."""
        if self._retention.policy is None:
            return list(entries)
        events = self._events.load(txn, [nid for _, nid in entries])
        expired = self._retention.expired(txn, events.values())
        return [entry for entry in entries if entry[1] not in expired]

    def as_seen(
        self, txn: Transaction, viewers: Mapping[int, Viewer], entries: Sequence[timeline.Entry],
        views: Sequence[View],
    ) -> list[View]:  # fmt: skip
        """The views of these entries as the viewers (by room) may read them.

        With their membership at the event (client-server API, "UnsignedData"); who is out of the room is
        not told of a redaction that came after they left.
        """
        places = {nid: place for place, nid in entries}
        memberships = self._memberships(txn, viewers, places, [view.stored for view in views])
        hidden = self._hidden_redactions(txn, viewers, views)
        return [one.seen_by(memberships[one.stored.nid], one.stored.nid in hidden) for one in views]

    def state_at(self, txn: Transaction, viewer: Viewer, entry: timeline.Entry) -> SnapshotNid:
        """The state after an event that the viewer is shown; no younger than their leave.

        Their own member event is shown to them even when nothing else is.
        """
        place, nid = entry
        stored = self._events.load(txn, [nid])[nid]
        if viewer.joined_after(place) or self._permitted(txn, viewer, {nid: place})[nid]:
            return stored.after_nid
        return viewer.left_state

    def _memberships(
        self,
        txn: Transaction,
        viewers: Mapping[int, Viewer],
        places: Mapping[int, Place],
        events: Sequence[StoredEvent],
    ) -> dict[int, str]:
        """By event nid. Since they joined for the last time it is known, before that the state tells."""
        found = {}
        asked: dict[str, list[StoredEvent]] = {}
        for stored in events:
            viewer = viewers[stored.room_nid]
            if viewer.is_joined and viewer.place <= places[stored.nid]:
                found[stored.nid] = "join"
                continue
            found[stored.nid] = "leave"
            if viewer.member is not None:
                asked.setdefault(viewer.user_id, []).append(stored)
        for user_id, some in asked.items():
            key = (MEMBER, user_id)
            states = self._state.at_each(txn, {stored.after_nid for stored in some}, [key])
            deciding = self._events.load(txn, {nid for state in states.values() for nid in state.values()})
            for stored in some:
                found[stored.nid] = _content(states[stored.after_nid], key, deciding) or "leave"
        return found

    def _hidden_redactions(
        self, txn: Transaction, viewers: Mapping[int, Viewer], views: Sequence[View]
    ) -> set[int]:
        """Of which of the views the redaction is younger than what the viewer may see."""
        doubtful = {
            one.stored.nid: one.redaction
            for one in views
            if one.redaction is not None and not viewers[one.stored.room_nid].is_joined
        }
        places = timeline.places_of(txn, [redaction.nid for redaction in doubtful.values()])
        hidden = set()
        for nid, redaction in doubtful.items():
            viewer, place = viewers[redaction.room_nid], places.get(redaction.nid)
            if place is None or not (
                place <= viewer.left_at or self._permitted(txn, viewer, {redaction.nid: place})[redaction.nid]
            ):
                hidden.add(nid)
        return hidden

    def _only_permitted(
        self, txn: Transaction, viewer: Viewer, entries: Sequence[timeline.Entry]
    ) -> list[timeline.Entry]:
        if not entries or viewer.sees_all or (viewer.is_joined and viewer.place <= min(entries)[0]):
            return list(entries)
        permitted = self._permitted(txn, viewer, {nid: place for place, nid in entries})
        events = self._events.load(txn, list(permitted))
        own = {
            nid
            for nid in permitted
            if events[nid].event.is_state and events[nid].event.key == (MEMBER, viewer.user_id)
        }
        return [(place, nid) for place, nid in entries if permitted.get(nid) or nid in own]

    def _permitted(self, txn: Transaction, viewer: Viewer, places: Mapping[int, Place]) -> dict[int, bool]:
        """Whether the history visibility lets the viewer see events (nid to place); purged ones are absent."""
        events = self._events.load(txn, list(places))
        member = (MEMBER, viewer.user_id)
        snapshots = {nid for stored in events.values() for nid in (stored.before_nid, stored.after_nid)}
        states = self._state.at_each(txn, snapshots, [HISTORY_VISIBILITY, member])
        deciding = self._events.load(txn, {nid for state in states.values() for nid in state.values()})

        def sees(stored: StoredEvent) -> bool:
            if stored.before_nid is None:  # it was purged, with what would decide
                return False
            around = (states[stored.before_nid], states[stored.after_nid])
            membership = better_membership(*(_content(state, member, deciding) for state in around))
            joined_after = viewer.joined_after(places[stored.nid])
            return any(
                may_see(_content(state, HISTORY_VISIBILITY, deciding), membership, joined_after)
                for state in around
            )

        return {nid: sees(stored) for nid, stored in events.items()}

    def _viewer(self, txn: Transaction, access: RoomAccess, user_id: str) -> Viewer:
        nid = access.room.nid
        events = self._events.load(
            txn, [event for event in (access.member_nid, access.visibility_nid) if event is not None]
        )
        said = {} if access.visibility_nid is None else {nid: events[access.visibility_nid]}
        visibility = _said(said[nid], HISTORY_VISIBILITY) if said else None
        if access.member_nid is None:
            return Viewer(user_id, visibility=visibility)
        places = {} if access.member_position is None else {access.member_nid: Place(access.member_position)}
        viewers = self._viewers(txn, user_id, {nid: events[access.member_nid]}, said, places)
        return evolve(viewers[nid], visibility=visibility)

    def _viewers(
        self,
        txn: Transaction,
        user_id: str,
        members: Mapping[int, StoredEvent],
        visibilities: Mapping[int, StoredEvent],
        known: Mapping[int, Place],
    ) -> dict[int, Viewer]:
        """`visibilities` are the current `m.room.history_visibility` of the rooms that the user is in.

        `known` are places of member events.
        """
        joined = {nid for nid, stored in members.items() if stored.event.membership == "join"}
        sees_all = self._hide_nothing(txn, joined, visibilities)
        departed = last_leaves.last_leaves(txn, [members[nid].nid for nid in members.keys() - joined])
        placed = {stored.nid for stored in members.values()} | {left.event_nid for left in departed.values()}
        places = {**known, **timeline.places_of(txn, placed - known.keys())}
        viewers = {}
        for nid, stored in members.items():
            left = departed.get(stored.nid)
            viewers[nid] = Viewer(
                user_id,
                stored,
                places.get(stored.nid, NEVER),
                left_at=places.get(left.event_nid, NEVER) if left else NEVER,
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
                nid for nid, stored in said.items() if _said(stored, HISTORY_VISIBILITY) not in _HIDES_NOTHING
            }
            replaced = {nid: said[nid].replaces_nid for nid in hide_nothing & said.keys()}
            earlier = self._events.load(txn, {nid for nid in replaced.values() if nid is not None})
            said = {nid: earlier[event] for nid, event in replaced.items() if event in earlier}
            if not said:
                break
        return hide_nothing - said.keys()


def _content(state: NidMap, key: StateKey, events: Mapping[int, StoredEvent]) -> str | None:
    """The history visibility or the membership that the state says."""
    stored = events.get(state.get(key, 0))
    return None if stored is None else _said(stored, key)


def _said(stored: StoredEvent, key: StateKey) -> str | None:
    value = stored.event.content.get("history_visibility" if key == HISTORY_VISIBILITY else "membership")
    return value if isinstance(value, str) else None
