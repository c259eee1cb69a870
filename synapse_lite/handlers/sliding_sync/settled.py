"""Clients that know all they look at, as they want it: for them only the order of rooms changes.

What one looks at follows from the user's list of rooms and from what is asked for. So it is remembered once for all
connections of a user that ask for the same, and brought up to date by the rooms that moved up.
"""

from collections.abc import Mapping, Sequence
from itertools import takewhile

from attrs import evolve, frozen

from synapse_lite.handlers.sliding_sync.listings import Listing
from synapse_lite.handlers.sliding_sync.lists import Windows, find_windows, is_in_list
from synapse_lite.handlers.sliding_sync.values import RoomConfig, ShownList, SlidingRequest
from synapse_lite.storage.cache import Cache
from synapse_lite.storage.room_lists import ListedRoom
from synapse_lite.storage.sliding_sync import SlidingPosition

REMEMBERED_ROOMS = 100_000  # of all windows together
REMEMBERED_CLIENTS = 10_000
MOST_MOVED = 50  # each is looked for in the windows

Asked = tuple[str, str, frozenset[str]]  # who, what, whom they ignore


@frozen
class _View:
    listing: Listing
    windows: Windows


class SettledClients:
    """For the reactor, and for database threads as far as they use `known`."""

    def __init__(self) -> None:
        self._views: Cache[Asked, _View] = Cache(REMEMBERED_ROOMS)
        self._clients: Cache[tuple[int, int], Mapping[int, RoomConfig]] = Cache(REMEMBERED_CLIENTS)

    def windows(self, request: SlidingRequest, listing: Listing) -> Windows:
        """As of the listing. `request` names no spaces."""
        windows = self.known(request, listing) or find_windows(request, listing, {})
        self._views.put(_key(request), _View(listing, windows), len(windows.wanted) + 1)
        return windows

    def known(self, request: SlidingRequest, listing: Listing) -> Windows | None:
        """As of the listing, where rooms have but moved up since they were looked at here."""
        known = self._views.get(_key(request))
        return moved_windows(request, known.listing, listing, known.windows) if known else None

    def has(self, base: SlidingPosition, windows: Windows) -> bool:
        """Whether the client knows all rooms in these windows as it wants them."""
        return self._clients.get((base.connection_nid, base.rooms_nid)) is windows.wanted

    def add(self, base: SlidingPosition, windows: Windows) -> None:
        self._clients.put((base.connection_nid, base.rooms_nid), windows.wanted)


def moved_windows(
    request: SlidingRequest, before: Listing, after: Listing, windows: Windows
) -> Windows | None:
    """The windows `before`, as they are `after`; None when other rooms may stand in them now."""
    if before.read_at != after.read_at or before.position > after.position:
        return None
    moved = list(takewhile(lambda room: room.position > before.position, reversed(after.rooms.values())))
    if len(moved) > MOST_MOVED:
        return None
    shown: dict[str, ShownList] = {}
    for name, one in windows.shown.items():
        filters = request.lists[name].filters
        inside = [room for room in moved if name in windows.lists.get(room.room_nid, ())]
        comes = any(
            name not in windows.lists.get(room.room_nid, ()) and is_in_list(room, request, filters, after)
            for room in moved
        )
        found = None if comes else _moved_up(one, inside)
        if found is None:
            return None
        shown[name] = found
    return evolve(windows, shown=shown) if moved else windows


def _moved_up(shown: ShownList, rooms: Sequence[ListedRoom]) -> ShownList | None:
    """With these rooms of the window first, in their order; None for other windows than one from the top."""
    if not rooms:
        return shown
    if len(shown.ops) != 1 or shown.ops[0][0][0] != 0:
        return None
    ((span, ids),) = shown.ops
    for room in reversed(rooms):
        place = ids.index(room.room_id)
        ids = [room.room_id, *ids[:place], *ids[place + 1 :]]
    return evolve(shown, ops=[(span, ids)])


def _key(request: SlidingRequest) -> Asked:
    return request.user_id, request.asked, request.ignored
