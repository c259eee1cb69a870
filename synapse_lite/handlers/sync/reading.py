"""A sync result from the database: initial syncs, and what the memory of the stream cannot answer."""

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain
from typing import TypeVar

from attrs import evolve

from synapse_lite.handlers.broken_rooms import BrokenRooms
from synapse_lite.handlers.prejoin_state import PrejoinState
from synapse_lite.handlers.sync.departures import read_departures, read_removals
from synapse_lite.handlers.sync.gaps import Gaps
from synapse_lite.handlers.sync.initial import InitialRooms
from synapse_lite.handlers.sync.invitations import read_invitations
from synapse_lite.handlers.sync.own import OwnChange, read_own_changes
from synapse_lite.handlers.sync.rooms import RoomReader
from synapse_lite.handlers.sync.sections import Sections, UserParts, of_kinds
from synapse_lite.handlers.sync.values import Invitation, Reading, RoomDelta, RoomIds, SyncRequest, SyncResult
from synapse_lite.handlers.visibility import Visibility
from synapse_lite.storage import rooms
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore, StoredEvent
from synapse_lite.storage.rooms import Membership
from synapse_lite.storage.state import StateStore
from synapse_lite.storage.stream import Change, quiet_changes, read_position

GONE = ("leave", "ban")
Members = Mapping[int, StoredEvent]  # the user's member events by room nid
T = TypeVar("T")


class SyncReader:
    """Reads whole results. The methods run in database threads, in a snapshot."""

    def __init__(
        self,
        events: EventStore,
        state: StateStore,
        visibility: Visibility,
        prejoin: PrejoinState,
        sections: Sections,
        broken: BrokenRooms,
    ) -> None:
        self._events = events
        self._broken = broken
        self.gaps = Gaps()
        self._prejoin = prejoin
        self._sections = sections
        self._rooms = RoomReader(events, state, visibility, sections)

    def initial(
        self, txn: Transaction, request: SyncRequest, now_ms: int, known: InitialRooms | None = None
    ) -> tuple[SyncResult, Collection[int]]:
        """Everything, as for a client that knows nothing; and the nids of the rooms that the user is in.

        `known` are the rooms as they still are. Rooms that others put the user out of are shown, those that
        they left only when the filter asks.
        """
        if known is not None:
            reading = Reading(txn, request, 0, known.result.position, now_ms, known.joined, known.joined)
            return self._with_parts(reading, known.result), known.joined
        user_id, archived = request.user_id, request.filter.include_leave
        found = [
            one
            for one in rooms.memberships_of(txn, user_id, ("join", "invite", "knock", *GONE))
            if one.membership not in GONE or archived or one.sender != user_id
        ]
        joined = {one.room_nid for one in found if one.membership == "join"}
        reading = Reading(txn, request, 0, read_position(txn), now_ms, joined, joined)
        named = self._named(reading, [one.room_nid for one in found])
        events = self._own_members(reading, named, {one.room_nid: one.event_nid for one in found})

        def members(*memberships: str) -> dict[int, StoredEvent]:
            return {
                one.room_nid: events[one.room_nid]
                for one in found
                if one.membership in memberships and one.room_nid in events
            }

        result = SyncResult(
            reading.position,
            self._anew(reading, named, members("join"), known=()),
            self._archived(reading, named, members(*GONE), known=()),
            self._invitations(reading, named, members("invite")),
            self._invitations(reading, named, members("knock")),
        )
        return self._with_parts(reading, result), joined

    def _with_parts(self, reading: Reading, rooms: SyncResult) -> SyncResult:
        shown = UserParts.gather(
            [(section, section.initial(reading)) for section in self._sections.user], reading.position
        )
        return evolve(rooms, parts=shown.parts, is_news=True, delivered=shown.delivered)

    def since(self, txn: Transaction, request: SyncRequest, since: int, now_ms: int) -> SyncResult:
        """What changed after `since`; with `full_state`, all the state of the joined rooms, too.

        A room that could not be read when the client was last told of the stream starts anew, or is told as what it
        is now: an invite, a knock, a room that the user is out of.
        """
        mine = {one.room_nid: one.event_nid for one in rooms.memberships_of(txn, request.user_id, {"join"})}
        joined = mine.keys()
        reading = Reading(txn, request, since, read_position(txn), now_ms, joined)
        own = read_own_changes(reading, self._events)
        known = {nid for nid, change in own.items() if change.before == "join"}
        fresh = {nid for nid in joined & own.keys() if not own[nid].stayed}
        reading = evolve(reading, newly_joined=fresh, left=known - joined)
        purged = read_departures(txn, request, since, reading.position)
        gaps = self.gaps.rooms(request, since)
        named = self._named(reading, joined | own.keys() | gaps.keys(), but={one.room_id for one in purged})
        missed = gaps.keys() & (joined - fresh)
        kept = {nid: named[nid] for nid in joined - fresh - missed if nid in named}
        changes = quiet_changes(txn, request.user_id, kept, self._sections.kinds, since, reading.position)
        found = [
            (section, section.since(reading, of_kinds(changes, section.kinds)))
            for section in self._sections.user
        ]
        shown = UserParts.gather(found, reading.position)
        back = {nid: mine[nid] for nid in missed | fresh}
        gone, invites, knocks = (_last(own, *memberships) for memberships in (GONE, ("invite",), ("knock",)))
        others = self._missed(reading, gaps.keys() - own.keys())
        departed = _last(others, *GONE)
        invites |= _last(others, "invite")
        knocks |= _last(others, "knock")
        events = self._own_members(reading, named, {**back, **gone, **departed, **invites, **knocks})
        return SyncResult(
            reading.position,
            [
                *self._incremental(reading, kept, changes),
                *self._anew(reading, named, _of(events, back), known),
            ],
            [
                *self._archived(reading, named, _of(events, gone), known),
                *chain(*(self._departed(reading, named, _of(events, [nid]), gaps[nid]) for nid in departed)),
                *read_removals(reading, named, _undone(own)),
                *purged,
            ],
            self._invitations(reading, named, _of(events, invites)),
            self._invitations(reading, named, _of(events, knocks)),
            parts=shown.parts,
            is_news=shown.is_news,
            delivered=shown.delivered,
        )

    def _named(
        self, reading: Reading, room_nids: Collection[int], but: Collection[str] = ()
    ) -> dict[int, str]:
        """Room nid to room id, for the rooms that the filter lets through; those `but` are being purged."""
        takes_room = reading.request.filter.takes_room
        found = rooms.rooms_by_nid(reading.txn, room_nids)
        return {
            nid: room.room_id
            for nid, room in found.items()
            if takes_room(room.room_id) and room.room_id not in but
        }

    def _missed(self, reading: Reading, room_nids: Collection[int]) -> dict[int, Membership]:
        """What the user is now in those of the rooms that they have not joined."""
        if not room_nids:
            return {}
        found = rooms.memberships_of(reading.txn, reading.request.user_id, (*GONE, "invite", "knock"))
        return {one.room_nid: one for one in found if one.room_nid in room_nids}

    def _departed(self, reading: Reading, named: RoomIds, members: Members, whole: int) -> list[RoomDelta]:
        """A room that the user is out of, for who knew it as it was at `whole`."""
        then = evolve(reading, since=whole)
        own = read_own_changes(then, self._events)
        known = {nid for nid in members if nid in own and own[nid].before == "join"}
        return self._archived(reading, named, members, known, then)

    # Rooms that cannot be read are left out

    def _own_members(
        self, reading: Reading, named: RoomIds, event_nids: Mapping[int, int]
    ) -> dict[int, StoredEvent]:
        def read(part: RoomIds) -> list[tuple[int, StoredEvent]]:
            events = self._events.load(reading.txn, [event_nids[nid] for nid in part])
            return [(nid, events[event_nids[nid]]) for nid in part]

        return dict(self._readable(reading, _of(named, event_nids), read))

    def _incremental(self, reading: Reading, kept: RoomIds, changes: Sequence[Change]) -> list[RoomDelta]:
        return self._readable(reading, kept, lambda part: self._rooms.incremental(reading, part, changes))

    def _anew(
        self, reading: Reading, named: RoomIds, members: Members, known: Collection[int]
    ) -> list[RoomDelta]:
        def read(part: RoomIds) -> list[RoomDelta]:
            found = self._rooms.newly_joined(reading, part, _of(members, part), known)
            self._told(reading, part)
            return found

        return self._readable(reading, _of(named, members), read)

    def _archived(
        self, reading: Reading, named: RoomIds, members: Members, known: Collection[int],
        then: Reading | None = None,
    ) -> list[RoomDelta]:  # fmt: skip
        """`then`: as of when the client knows the rooms, unless it knows them as of `reading`."""

        def read(part: RoomIds) -> list[RoomDelta]:
            found = self._rooms.archived(then or reading, part, _of(members, part), known)
            self._told(reading, part)
            return found

        return self._readable(reading, _of(named, members), read)

    def _invitations(self, reading: Reading, named: RoomIds, members: Members) -> list[Invitation]:
        def read(part: RoomIds) -> list[Invitation]:
            found = read_invitations(reading, self._prejoin, part, _of(members, part))
            self._told(reading, part)
            return found

        return self._readable(reading, _of(named, members), read)

    def _told(self, reading: Reading, part: RoomIds) -> None:
        """The rooms are told as a whole."""
        self._broken.remove(part)
        self.gaps.close(reading.request, part, reading.since, reading.position)

    def _readable(self, reading: Reading, rooms: RoomIds, read: Callable[[RoomIds], list[T]]) -> list[T]:
        pieces, broken = self._broken.without_broken(rooms, read)
        self.gaps.note(reading.request, broken, reading.since, reading.position)
        return [*chain(*pieces)]


def _of(values: Mapping[int, T], room_nids: Collection[int]) -> dict[int, T]:
    return {nid: value for nid, value in values.items() if nid in room_nids}


def _undone(own: Mapping[int, OwnChange]) -> dict[int, OwnChange]:
    """Where the client took the user for a member, or invited, and the state knows them no longer."""
    return {
        nid: change
        for nid, change in own.items()
        if change.membership is None and change.before not in {None, *GONE}
    }


def _last(own: Mapping[int, OwnChange | Membership], *memberships: str) -> dict[int, int]:
    """The nids of the member events of rooms in which the user is now one of these."""
    return {
        nid: change.event_nid
        for nid, change in own.items()
        if change.event_nid is not None and change.membership in memberships
    }
