"""A sliding sync result from the database. Runs in a database thread, in one snapshot.

The work is proportional to what changed since the client's position, not to the rooms in its windows: those that it
knows as it wants them, and in which nothing happened, are not looked at.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import reduce

from attrs import evolve, frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.broken_rooms import BrokenRooms
from synapse_lite.handlers.device_lists import list_changes_between
from synapse_lite.handlers.prejoin_state import PrejoinState
from synapse_lite.handlers.sliding_sync.extensions import (
    ACCOUNT_DATA,
    E2EE,
    TYPING,
    Before,
    Extensions,
    RoomExtensions,
    merged_parts,
    write_room_extensions,
)
from synapse_lite.handlers.sliding_sync.listings import Listings
from synapse_lite.handlers.sliding_sync.lists import Windows, find_windows, read_spaces
from synapse_lite.handlers.sliding_sync.own_data import RememberedAccountData
from synapse_lite.handlers.sliding_sync.recent import Recent, rooms_of
from synapse_lite.handlers.sliding_sync.remembered import RememberedRooms
from synapse_lite.handlers.sliding_sync.rooms import Found, SlidingRoomReader
from synapse_lite.handlers.sliding_sync.scene import Listed, Scene, told
from synapse_lite.handlers.sliding_sync.settled import SettledClients
from synapse_lite.handlers.sliding_sync.values import SlidingRequest, SlidingResult, SlidingRoom
from synapse_lite.handlers.sync.joined import is_own_membership
from synapse_lite.handlers.sync.own import read_own_changes
from synapse_lite.handlers.sync.sections import Shown, SyncSection
from synapse_lite.handlers.sync.unread import is_about_all
from synapse_lite.handlers.sync.values import Reading
from synapse_lite.handlers.visibility import Visibility
from synapse_lite.storage import purge
from synapse_lite.storage.cache import Cache
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.rooms import rooms_by_nid
from synapse_lite.storage.sent_rooms import NOTHING, Changed, Sent, changed, decode_sent
from synapse_lite.storage.sliding_sync import SlidingPosition, sent_rooms
from synapse_lite.storage.state import StateStore
from synapse_lite.storage.stream import Change, Kind, read_position

REMEMBERED_BYTES = 32 * 1024 * 1024  # of all connections together
_IN_ROOMS = frozenset(
    {
        Kind.RECEIPT,
        Kind.TYPING,
        Kind.ACCOUNT_DATA,
        Kind.PRIVATE_RECEIPT,
        Kind.THREAD_SUBSCRIPTION,
        Kind.REDACTED,
        Kind.PURGED,
    }
)
_TOUCHING = _IN_ROOMS | {Kind.EVENT, Kind.STATE}


@frozen
class ReadAnswer:
    """A result, and what it changes in what the client knows of rooms."""

    result: SlidingResult
    changes: Changed


@frozen
class _Joined:
    """What is new of rooms that the user is in; `broken` are those that cannot be read."""

    rooms: Found
    extensions: RoomExtensions
    broken: frozenset[int] = frozenset()

    def join(self, other: "_Joined") -> "_Joined":
        names = self.extensions.keys() | other.extensions.keys()
        parts = {name: {**self.extensions.get(name, {}), **other.extensions.get(name, {})} for name in names}
        return _Joined({**self.rooms, **other.rooms}, parts, self.broken | other.broken)


class SlidingReader:
    def __init__(
        self,
        events: EventStore,
        state: StateStore,
        visibility: Visibility,
        prejoin: PrejoinState,
        extensions: Extensions,
        remembered: RememberedRooms,
        broken: BrokenRooms,
        hidden: Collection[str] = (),
    ) -> None:
        """`hidden` as of `Listings`."""
        self._events = events
        self._rooms = SlidingRoomReader(events, state, visibility, prejoin)
        self._extensions = extensions
        self._remembered = remembered
        self._broken = broken
        self._sent: Cache[tuple[int, int], bytes] = Cache(REMEMBERED_BYTES)
        self.listings = Listings(events, hidden)
        self.own_data = RememberedAccountData()
        self.settled = SettledClients()

    def read(
        self,
        txn: Transaction,
        request: SlidingRequest,
        base: SlidingPosition | None,
        recent: Recent,
        now_ms: int,
    ) -> ReadAnswer | None:
        """None: another request has led the connection on."""
        sent = self._sent_rooms(txn, base)
        if sent is None:
            return None
        position = read_position(txn)
        recent = recent.until(txn, position)
        listing = self.listings.read(txn, request.user_id, recent, position)
        reading = self._reading(txn, request, base, recent, listing.standing.joined, now_ms)
        windows = self.settled.known(request, listing) or find_windows(
            request, listing, read_spaces(txn, request, listing.rooms)
        )
        scene = Scene(reading.since, listing.rooms, listing.standing.gone, windows, sent)
        joined = self._joined(reading, scene, recent, self._news(reading, scene, recent))
        outside, _ = self._readable(scene.outside, lambda part: self._rooms.invited(reading, part))
        departed, stuck = self._readable(scene.departed, lambda part: self._departures(reading, scene, part))
        lost = scene.lost
        of_user, is_news = self._of_user(reading, request, base, recent)
        shown = {**joined.rooms, **outside, **departed}
        rooms = _in_lists(shown, windows) if request.is_merged else [*shown.values()]
        rooms += self._removals(reading, lost)
        result = SlidingResult(
            position,
            windows.shown,
            rooms,
            merged_parts(of_user, write_room_extensions(joined.extensions, scene.ids(scene.inside))),
            base is None
            or base.asked != request.asked
            or bool(rooms)
            or is_news
            or any(joined.extensions.values()),
        )
        after = {**told(scene, joined.broken | stuck, outside, departed), **dict.fromkeys(lost)}
        return ReadAnswer(result, changed(sent, after))

    def known(self, base: SlidingPosition) -> Sent | None:
        """What the client knows of rooms, where memory tells."""
        data = self._sent.get((base.connection_nid, base.rooms_nid))
        return None if data is None else decode_sent(data)

    def remember(self, base: SlidingPosition) -> None:
        if base.rooms is not None:
            self._sent.put((base.connection_nid, base.rooms_nid), base.rooms, len(base.rooms) + 1)

    def _sent_rooms(self, txn: Transaction, base: SlidingPosition | None) -> Sent | None:
        if base is None:
            return NOTHING
        found = self.known(base)
        if found is not None:
            return found
        data = sent_rooms(txn, base)
        if data is None:
            return None
        self.remember(evolve(base, rooms=data))
        return decode_sent(data)

    def _reading(
        self,
        txn: Transaction,
        request: SlidingRequest,
        base: SlidingPosition | None,
        recent: Recent,
        joined: frozenset[int],
        now_ms: int,
    ) -> Reading:
        position = recent.position
        since = min(base.position, position) if base is not None else None
        reading = Reading(txn, request.as_sync(since), since or 0, position, now_ms, joined, joined)
        if since is None:
            return reading
        changes = recent.between(reading.since, position)
        if changes is not None:
            touched = {change.room_nid for change in changes if change.room_nid is not None}
            reading = evolve(reading, touched=touched)
        if changes is not None and not any(is_own_membership(one, request.user_id) for one in changes):
            return evolve(reading, newly_joined=())
        own = read_own_changes(reading, self._events)
        known = {nid for nid, change in own.items() if change.before == "join"}
        fresh = {nid for nid in joined & own.keys() if not own[nid].stayed}
        return evolve(reading, newly_joined=fresh, left=known - joined)

    # Rooms that the user is in

    def _news(self, reading: Reading, scene: Scene, recent: Recent) -> list[int]:
        """Those in the windows of which there may be something to tell."""
        live, user_id, since = scene.live, reading.request.user_id, reading.since
        if not live:
            return scene.inside
        changes = recent.between(since, reading.position)
        touched: set[int] = set()
        if changes is None:
            kinds = _IN_ROOMS | {Kind.STATE}
            changes = recent.quiet(reading.txn, user_id, live, kinds, since)
            touched = {nid for nid in live if scene.listed[nid].position > since}
        if any(is_about_all(user_id, change) for change in changes):
            return scene.inside
        touched |= rooms_of(changes, user_id, live, _TOUCHING)
        return [nid for nid in scene.inside if nid not in live or nid in touched]

    def _joined(self, reading: Reading, scene: Scene, recent: Recent, nids: Sequence[int]) -> _Joined:
        """One broken room keeps no other from the client: it is left out, until it can be read again."""

        def read(rooms: Mapping[int, str]) -> _Joined:
            return self._with_known(reading, scene, recent, list(rooms))

        pieces, broken = self._broken.without_broken(scene.ids(nids), read)
        self._broken.remove({*nids} - broken)
        return reduce(_Joined.join, pieces, _Joined({}, {}, broken))

    def _with_known(self, reading: Reading, scene: Scene, recent: Recent, nids: Sequence[int]) -> _Joined:
        """Of rooms that the client does not know what others may have been told of them just so."""
        wanted, names = scene.windows.wanted, scene.ids(nids)
        fresh = [nid for nid in nids if not scene.knows_joined(nid)]
        found = self._remembered.find(reading, recent, wanted, fresh) if fresh else {}
        counts = self._extensions.counts(reading, {nid: names[nid] for nid in found}, None)
        parts: RoomExtensions = {}
        for nid, one in found.items():
            for name, part in one.parts.items():
                parts.setdefault(name, {})[nid] = part
        known = _Joined({nid: _counting(one.room, counts.get(nid)) for nid, one in found.items()}, parts)
        others = [nid for nid in nids if nid not in found]
        read = self._joined_at_once(reading, scene, recent, others) if others else _Joined({}, {})
        rooms = {nid: room for nid, room in read.rooms.items() if room.initial and nid in fresh}
        self._remembered.keep(reading, wanted, rooms, read.extensions)
        joined = known.join(read)
        direct = {nid for nid in joined.rooms if names[nid] in scene.windows.direct}
        return evolve(
            joined,
            rooms={
                nid: evolve(room, summary={**room.summary, "is_dm": True}) if nid in direct else room
                for nid, room in joined.rooms.items()
            },
        )

    def _joined_at_once(self, reading: Reading, scene: Scene, recent: Recent, nids: Sequence[int]) -> _Joined:
        wanted, names = scene.windows.wanted, scene.ids(nids)
        joined = self._rooms.sort(reading, nids, scene.known(nids))
        before = {nid: Before(one.upto, one.config.extensions) for nid, one in joined.known.items()}
        changes = _changes(reading, recent, before)
        news = [one for one in changes if one.position > _told_upto(one, before, reading.since)]
        found = self._rooms.joined(reading, {nid: scene.listed[nid] for nid in nids}, joined, wanted)
        counted = self._extensions.counts(reading, {nid: names[nid] for nid in before}, news)
        stale = {nid for nid in before if _is_stale(reading, before[nid], changes)}
        counted |= self._extensions.counts(reading, {nid: names[nid] for nid in stale | found.keys()}, None)
        for nid, counts in counted.items():
            found[nid] = evolve(found.get(nid) or SlidingRoom(names[nid], "join"), counts=counts)
        unsure = {nid: evolve(before[nid], extensions=before[nid].extensions - {TYPING}) for nid in stale}
        return _Joined(found, self._extensions.of_rooms(reading, names, wanted, {**before, **unsure}, news))

    # What belongs to no room

    def _of_user(
        self, reading: Reading, request: SlidingRequest, base: SlidingPosition | None, recent: Recent
    ) -> tuple[JsonObject, bool]:
        kinds = self._extensions.kinds(request.extensions) if base is not None else ()
        changes: Sequence[Change] = ()
        if kinds:
            changes = recent.quiet(reading.txn, request.user_id, (), kinds, reading.since)
        on = {name: base is not None and name in base.extensions for name in request.extensions}
        shown, is_news = self._extensions.of_user(
            reading, on, changes, lambda section: self._initial(section, reading, recent)
        )
        if request.to_device_since is not None and on.get(E2EE) is False:
            # A client that begins anew still has the keys of others, as they were when it got its last messages.
            missed = list_changes_between(
                reading.txn, request.user_id, request.to_device_since, reading.position
            )
            shown[E2EE] |= {"device_lists": missed.answer()} if missed else {}
        return shown, is_news

    def _initial(self, section: SyncSection, reading: Reading, recent: Recent) -> Shown | None:
        if section.key == ACCOUNT_DATA:
            return self.own_data.initial(section, reading, recent)
        return section.initial(reading)

    # Other rooms

    def _readable(self, rooms: Listed, read: Callable[[Listed], Found]) -> tuple[Found, frozenset[int]]:
        """What is read of them, and which cannot be read: those come once they can."""

        def read_some(some: Mapping[int, str]) -> Found:
            return read({nid: rooms[nid] for nid in some})

        pieces, broken = self._broken.without_broken(
            {nid: one.room_id for nid, one in rooms.items()}, read_some
        )
        self._broken.remove(rooms.keys() - broken)
        return {nid: room for piece in pieces for nid, room in piece.items()}, broken

    def _departures(self, reading: Reading, scene: Scene, left: Listed) -> Found:
        """Each is told once."""
        known = {nid: scene.upto(nid) for nid in left if scene.knows_joined(nid)}
        return self._rooms.departed(reading, left, known, {nid: scene.config(nid) for nid in left})

    def _removals(self, reading: Reading, lost: Collection[int]) -> list[SlidingRoom]:
        """Rooms that are purged, whose state knows the user no longer, or into which they are asked again out of sight."""
        if not lost:
            return []
        still = [
            (room.room_id, reading.position, reading.now_ms)
            for room in rooms_by_nid(reading.txn, lost).values()
        ]
        gone = purge.purged_rooms(reading.txn, reading.request.user_id, reading.since, reading.position)
        purged = {one.room_id: (one.room_id, one.position, one.purged_ts) for one in gone}
        return self._rooms.removed(
            reading, [*(one for one in still if one[0] not in purged), *purged.values()]
        )


def _counting(room: SlidingRoom, counts: JsonObject | None) -> SlidingRoom:
    return room if room.counts == counts else evolve(room, counts=counts)


def _in_lists(rooms: Found, windows: Windows) -> list[SlidingRoom]:
    """With the names of the lists that show them, which only one of the forms tells."""
    return [evolve(room, lists=windows.lists.get(nid, ())) for nid, room in rooms.items()]


def _changes(reading: Reading, recent: Recent, before: Mapping[int, Before]) -> list[Change]:
    """What changed, beside events, in rooms since the client was last told of any of them."""
    if not before:
        return []
    first = min(reading.since, *(one.upto for one in before.values()))
    return recent.quiet(reading.txn, reading.request.user_id, before.keys(), _IN_ROOMS, first)


def _told_upto(change: Change, before: Mapping[int, Before], since: int) -> int:
    one = before.get(change.room_nid or 0)
    return one.upto if one is not None else since


def _is_stale(reading: Reading, before: Before, changes: Sequence[Change]) -> bool:
    """Whether the counts of a room that was out of sight, and who types there, may be wrong."""
    user_id = reading.request.user_id
    return before.upto < reading.since and any(
        before.upto < change.position and is_about_all(user_id, change) for change in changes
    )
