"""Reading filters, and what they let through."""

from typing import Any

import pytest

from synapse_lite.errors import MatrixError
from synapse_lite.handlers.filters import DEFAULT_LIMIT, MAX_NAMES, read_event_filter, read_sync_filter

ROOM = "!room:hs.test"


@pytest.mark.parametrize(
    ("pattern", "kind", "fits"),
    [
        ("m.room.message", "m.room.message", True),
        ("m.room.message", "m.room.messages", False),
        ("m.room.*", "m.room.message", True),
        ("m.room.*", "m.room", False),
        ("*", "", True),
        ("*.message", "m.room.message", True),
        ("m.*.message", "m.room.message", True),
        ("m.*.message", "m.message", False),
        ("*a*b*", "xaxbx", True),
        ("*a*b*", "xbxax", False),
        ("ab*ba", "aba", False),
        ("ab*ba", "abba", True),
        ("m.[r]oom.?", "m.room.x", False),
        ("m?room", "m.room", False),
    ],
)
def test_types(pattern: str, kind: str, fits: bool) -> None:
    """`*` stands for any text, also for none, and nothing else is special."""
    assert read_event_filter({"types": [pattern]}, 100).takes_type(kind) is fits
    assert read_event_filter({"not_types": [pattern]}, 100).takes_type(kind) is not fits


def test_many_stars_take_no_time() -> None:
    """A pattern made to be slow is not."""
    assert not read_event_filter({"types": ["*a" * 500 + "b"]}, 100).takes_type("a" * 255)


def test_exclusion_wins() -> None:
    """What is both wanted and unwanted is unwanted; empty lists want nothing."""
    wanted = read_event_filter(
        {"types": ["m.*"], "not_types": ["m.typing"], "rooms": [ROOM], "not_rooms": [ROOM]}, 9
    )
    assert not wanted.takes_type("m.typing")
    assert not wanted.takes_room(ROOM)
    assert not read_event_filter({"types": []}, 9).takes_type("m.typing")
    assert not read_event_filter({"rooms": []}, 9).takes_room(ROOM)


def test_limits() -> None:
    """Ten unless said otherwise, never more than the server allows."""
    assert read_event_filter({}, 100).limit == DEFAULT_LIMIT
    assert read_event_filter({"limit": 5000}, 100).limit == 100
    assert read_event_filter({"limit": -1}, 100).limit == 100
    assert read_event_filter({}, 5).limit == 5
    assert read_sync_filter({"room": {"timeline": {"limit": 0}}}, 100).timeline.limit == 0


def test_hides() -> None:
    """Without any condition nothing is hidden; each condition may hide something."""
    assert not read_event_filter({"limit": 1, "lazy_load_members": True}, 9).hides_in(ROOM)
    conditions: list[dict[str, Any]] = [
        {"types": ["m.*"]},
        {"not_types": ["m.x"]},
        {"senders": []},
        {"not_senders": ["@a:b"]},
        {"contains_url": False},
        {"rooms": ["!other:hs.test"]},
        {"not_rooms": [ROOM]},
    ]
    for condition in conditions:
        assert read_event_filter(condition, 9).hides_in(ROOM), condition


@pytest.mark.parametrize(
    "body",
    [
        {"room": []},
        {"room": {"timeline": "x"}},
        {"room": {"timeline": {"limit": -2}}},
        {"room": {"timeline": {"limit": True}}},
        {"room": {"timeline": {"limit": "1"}}},
        {"room": {"timeline": {"types": "m.room.message"}}},
        {"room": {"state": {"types": [1]}}},
        {"room": {"ephemeral": {"contains_url": "yes"}}},
        {"room": {"rooms": {}}},
        {"account_data": {"not_types": ["x"] * (MAX_NAMES + 1)}},
        {"event_fields": "type"},
        {"event_format": "x"},
        {"presence": "x"},
        {"room": {"include_leave": 1}},
        {"room": {"state": {"lazy_load_members": "yes"}}},
        {"room": {"timeline": {"senders": ["alice"]}}},
        {"room": {"timeline": {"not_senders": ["@a\0:hs.test"]}}},
        {"room": {"timeline": {"types": ["m.\0"]}}},
        {"room": {"timeline": {"rel_types": [None]}}},
        {"room": {"rooms": ["#alias:hs.test"]}},
        {"room": {"ephemeral": {"not_rooms": ["!"]}}},
    ],
)
def test_bad_filters(body: dict[str, Any]) -> None:
    """A wrong type is refused, wherever it stands."""
    with pytest.raises(MatrixError) as caught:
        read_sync_filter(body, 100)
    assert (caught.value.status, caught.value.errcode) == (400, "M_BAD_JSON")


def test_unknown_parts_are_ignored() -> None:
    """Clients may ask for what we do not have."""
    assert read_sync_filter({"widgets": {"types": 1}, "x": 1}, 100) == read_sync_filter({}, 100)
