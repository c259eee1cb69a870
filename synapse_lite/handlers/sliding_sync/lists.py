"""Which rooms stand in which list, in which order."""

from collections.abc import Callable, Collection, Mapping, Sequence

from attrs import evolve, frozen

from synapse_lite.handlers.sliding_sync.listings import GONE, Listing
from synapse_lite.handlers.sliding_sync.values import (
    ListFilters,
    RoomConfig,
    ShownList,
    SlidingRequest,
    joined_configs,
)
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.room_lists import ListedRoom, children_of

Spaces = Mapping[str, Collection[str]]  # the rooms in them, by room id


@frozen
class Windows:
    """`shown` by name of list; `wanted`: the rooms in some window or subscription, and what is wanted of each.

    `lists`: the names of the lists that show a room. `direct`: the ids of the rooms that are direct chats.
    """

    shown: Mapping[str, ShownList]
    wanted: Mapping[int, RoomConfig]
    lists: Mapping[int, Sequence[str]]
    direct: Collection[str]


def find_windows(request: SlidingRequest, listing: Listing, spaces: Spaces) -> Windows:
    """`spaces` are those that the user is in, of those that filters name."""
    rooms = listing.rooms
    # To ask of each of 5,000 rooms by a call would take longer than all else: most are joined.
    ordered = [
        one for one in reversed(rooms.values()) if one.membership == "join" or _is_listed(one, request)
    ]
    shown: dict[str, ShownList] = {}
    names: dict[int, list[str]] = {}
    for name, one in request.lists.items():
        checks = _checks(one.filters, listing, spaces)
        found = [room for room in ordered if all(check(room) for check in checks)] if checks else ordered
        ranges = [(0, len(found) - 1)] if one.ranges is None else one.ranges
        windows = [((start, end), found[start : end + 1]) for start, end in ranges]
        shown[name] = ShownList(
            len(found), [(span, [room.room_id for room in window]) for span, window in windows]
        )
        for nid in dict.fromkeys(room.room_nid for _, window in windows for room in window):
            names.setdefault(nid, []).append(name)
    if request.subscriptions:
        for room in rooms.values():
            if room.room_id in request.subscriptions and _is_shown(room, request):
                names.setdefault(room.room_nid, [])
    lists = {nid: tuple(of_room) for nid, of_room in names.items()}
    return Windows(shown, _configs(request, rooms, lists), lists, listing.direct)


def most_shown(request: SlidingRequest, listing: Listing) -> int:
    """How many rooms the windows may hold, each as often as it stands in one."""
    count = len(listing.rooms)
    every = [(0, count - 1)]
    ranges = [
        span for one in request.lists.values() for span in (every if one.ranges is None else one.ranges)
    ]
    return sum(max(0, min(end + 1, count) - start) for start, end in ranges)


def is_in_list(room: ListedRoom, request: SlidingRequest, wanted: ListFilters, listing: Listing) -> bool:
    """Whether a list with these filters, which name no spaces, holds the room, in a window or not."""
    return _is_listed(room, request) and all(check(room) for check in _checks(wanted, listing, {}))


def _configs(
    request: SlidingRequest, rooms: Mapping[int, ListedRoom], names: Mapping[int, tuple[str, ...]]
) -> dict[int, RoomConfig]:
    """Rooms in the same lists, of which nothing else is asked, have the same."""
    named = {*request.subscriptions, *(room for one in request.extensions.values() for room in one.rooms)}
    known: dict[tuple[tuple[str, ...], str | None], RoomConfig] = {}
    found = {}
    for nid, lists in names.items():
        room_id = rooms[nid].room_id
        key = lists, room_id if room_id in named else None
        if key not in known:
            subscription = request.subscriptions.get(room_id)
            wanted = [
                *(request.lists[name].config for name in lists),
                *([subscription] if subscription else []),
            ]
            known[key] = evolve(joined_configs(wanted), extensions=_extensions(request, room_id, lists))
        found[nid] = known[key]
    return found


def _extensions(request: SlidingRequest, room_id: str, lists: Collection[str]) -> frozenset[str]:
    """Those that are to tell of this room."""
    is_subscribed = room_id in request.subscriptions
    return frozenset(
        name
        for name, one in request.extensions.items()
        if (lists and "*" in one.lists)
        or not set(lists).isdisjoint(one.lists)
        or (is_subscribed and "*" in one.rooms)
        or room_id in one.rooms
    )


def _is_listed(room: ListedRoom, request: SlidingRequest) -> bool:
    """Whoever left a room has it in no list, who was put out of it does."""
    has_left = room.membership in GONE and room.sender == request.user_id
    return not has_left and _is_shown(room, request)


def _is_shown(room: ListedRoom, request: SlidingRequest) -> bool:
    """To who subscribes to it: unless it is forgotten, or somebody ignored invites into it."""
    if room.membership in GONE:
        return not room.forgotten
    return room.membership == "join" or room.sender not in request.ignored


def _checks(wanted: ListFilters, listing: Listing, spaces: Spaces) -> list[Callable[[ListedRoom], bool]]:
    """All must hold. What is unknown of a room fits no filter that asks for something."""
    name = (wanted.room_name_like or "").casefold()
    tags, not_tags = set(wanted.tags or ()), set(wanted.not_tags)
    types = wanted.room_types or ()
    children = {child for space in wanted.spaces or () for child in spaces.get(space, ())}
    checks: Sequence[tuple[bool, Callable[[ListedRoom], bool]]] = (
        (wanted.is_dm is not None, lambda room: (room.room_id in listing.direct) is wanted.is_dm),
        (wanted.is_invite is not None, lambda room: (room.membership == "invite") is wanted.is_invite),
        (
            wanted.is_encrypted is not None,
            lambda room: room.is_known and (room.encryption is not None) is wanted.is_encrypted,
        ),
        (wanted.room_types is not None, lambda room: room.is_known and room.room_type in types),
        (
            bool(wanted.not_room_types),
            lambda room: not room.is_known or room.room_type not in wanted.not_room_types,
        ),
        (wanted.room_name_like is not None, lambda room: name in (room.name or "").casefold()),
        (wanted.tags is not None, lambda room: not tags.isdisjoint(listing.tags.get(room.room_nid, ()))),
        (bool(not_tags), lambda room: not_tags.isdisjoint(listing.tags.get(room.room_nid, ()))),
        (wanted.spaces is not None, lambda room: room.room_id in children),
    )
    return [check for is_asked, check in checks if is_asked]


def spaces_asked(request: SlidingRequest) -> set[str]:
    return {space for one in request.lists.values() for space in one.filters.spaces or ()}


def read_spaces(txn: Transaction, request: SlidingRequest, rooms: Mapping[int, ListedRoom]) -> Spaces:
    """Only those that the user is in tell of their rooms."""
    asked = spaces_asked(request)
    found = asked & {one.room_id for one in rooms.values() if one.membership == "join"} if asked else asked
    return children_of(txn, found) if found else {}
