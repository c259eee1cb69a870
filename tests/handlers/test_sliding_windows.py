"""Windows that are brought up to date are those that one finds anew, or are not told."""

import pytest
from attrs import evolve
from hypothesis import event, given
from hypothesis import strategies as st

from synapse_lite.handlers.sliding_sync.listings import Listing
from synapse_lite.handlers.sliding_sync.lists import find_windows, is_in_list
from synapse_lite.handlers.sliding_sync.settled import moved_windows
from synapse_lite.handlers.sliding_sync.values import ListFilters, RoomConfig, RoomList, SlidingRequest
from synapse_lite.storage.room_lists import ListedRoom
from tests.builders import ALICE, BOB
from tests.handlers.house import requester

CONFIGS = [RoomConfig(timeline_limit=limit) for limit in (1, 5)]
RANGES = ([(0, 0)], [(0, 2)], [(0, 9)], None, [(1, 2)], [(0, 0), (2, 3)])
FILTERS = (
    ListFilters(),
    ListFilters(room_name_like="a"),
    ListFilters(is_invite=True),
    ListFilters(is_dm=True),
)
lists = st.builds(RoomList, st.sampled_from(CONFIGS), st.sampled_from(RANGES), st.sampled_from(FILTERS))
requests = st.builds(
    lambda lists, rooms, ignored: SlidingRequest(
        requester(ALICE),
        "",
        None,
        0,
        lists,
        {f"!{nid}": CONFIGS[1] for nid in rooms},
        {},
        ignored=ignored,
    ),
    st.dictionaries(st.sampled_from("ab"), lists, max_size=2),
    st.frozensets(st.integers(1, 6), max_size=2),
    st.sampled_from([frozenset[str](), frozenset([BOB])]),
)
rooms = st.lists(
    st.tuples(st.sampled_from(["join", "join", "invite", "leave"]), st.sampled_from("ab")), max_size=6
)


def listed(number: int, membership: str, name: str) -> ListedRoom:
    return ListedRoom(number, f"!{number}", membership, BOB, number, False, number, True, None, None, name)


@given(requests, rooms, st.lists(st.integers(1, 6), max_size=4))
def test_rooms_that_move(request: SlidingRequest, made: list[tuple[str, str]], moves: list[int]) -> None:
    """Whatever the lists show of the user's rooms, and whichever of them move up."""
    found = [listed(number, *one) for number, one in enumerate(made, 1)]
    before = Listing(10, 10, {room.room_nid: room for room in found}, {"!1", "!2"}, {})
    joined = {room.room_nid for room in found if room.membership == "join"}
    order = list(before.rooms.values())
    for position, nid in enumerate([nid for nid in moves if nid in joined], 11):
        moved = evolve(before.rooms[nid], position=position)
        order = [*(room for room in order if room.room_nid != nid), moved]
    after = evolve(before, position=20, rooms={room.room_nid: room for room in order})
    windows = moved_windows(request, before, after, find_windows(request, before, {}))
    event("told" if windows is not None else "not told")
    if windows is None:
        return
    anew = find_windows(request, after, {})
    assert [
        (name, one.count, [(span, list(ids)) for span, ids in one.ops]) for name, one in windows.shown.items()
    ] == [(name, one.count, [(span, list(ids)) for span, ids in one.ops]) for name, one in anew.shown.items()]
    assert (windows.wanted, windows.lists) == (anew.wanted, anew.lists)


@pytest.mark.parametrize("membership", ["invite", "ban"])
def test_what_is_unknown_of_a_room_fits_no_filter_that_asks_for_it(membership: str) -> None:
    """An invite without stripped state, and a room that one was put out of: only what leaves out may show them."""
    unknown = evolve(listed(1, membership, ""), is_known=False, name=None)
    listing = Listing(10, 10, {1: unknown}, (), {})
    request = SlidingRequest(requester(ALICE), "", None, 0, {}, {}, {})
    asking = [
        ListFilters(is_encrypted=True),
        ListFilters(is_encrypted=False),
        ListFilters(room_types=["m.space"]),
        ListFilters(room_types=[None]),
        ListFilters(room_name_like="a"),
        ListFilters(tags=["u.x"]),
    ]
    assert [one for one in asking if is_in_list(unknown, request, one, listing)] == []
    for left_out in (ListFilters(), ListFilters(not_room_types=["m.space"]), ListFilters(not_tags=["u.x"])):
        assert is_in_list(unknown, request, left_out, listing)
    known = evolve(unknown, is_known=True, room_type="m.space", encryption="x", name="Tea")
    fits = [one for one in asking if is_in_list(known, request, one, listing)]
    assert fits == [asking[0], asking[2], asking[4]]


def test_a_room_that_moves_in_its_window() -> None:
    """It is known without a look at the others; one that comes from below is not, nor a list that was read anew."""
    found = {number: listed(number, "join", "a") for number in (1, 2, 3)}
    before = Listing(10, 10, found, (), {})
    request = SlidingRequest(requester(ALICE), "", None, 0, {"a": RoomList(CONFIGS[0], [(0, 1)])}, {}, {})
    windows = find_windows(request, before, {})

    def up(nid: int) -> Listing:
        others = {other: room for other, room in found.items() if other != nid}
        return evolve(before, position=11, rooms={**others, nid: evolve(found[nid], position=11)})

    moved = moved_windows(request, before, up(2), windows)
    assert moved is not None
    assert moved.shown["a"].ops == [((0, 1), ["!2", "!3"])]
    assert moved.wanted is windows.wanted
    assert moved_windows(request, before, up(1), windows) is None
    assert moved_windows(request, before, evolve(up(2), read_at=11), windows) is None
