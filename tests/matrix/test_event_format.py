from typing import Any

import pytest

from synapse_lite.errors import MatrixError
from synapse_lite.matrix.event_format import check_format
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from tests.matrix.builders import ALICE, Room


@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
def test_own_events_are_well_formed(version: str) -> None:
    """What we build passes the check of what others send."""
    room = Room(version)
    for event in room.state.values():
        check_format(event.pdu, room.version)
    check_format(room.build(ALICE, "m.room.message", {}).pdu | {"unsigned": {}}, room.version)


@pytest.mark.parametrize(
    "changes",
    [
        {"type": None},
        {"type": 5},
        {"sender": "alice"},
        {"sender": None},
        {"room_id": None},
        {"state_key": None},
        {"state_key": "\0"},
        {"content": []},
        {"content": {"x": 0.5}},
        {"content": {"x": 2**53}},
        {"depth": -1},
        {"depth": True},
        {"depth": 2**53},
        {"origin_server_ts": "1"},
        {"prev_events": [["$a", {}]]},
        {"prev_events": ["$a"] * 21},
        {"auth_events": None},
        {"auth_events": ["$a"] * 11},
        {"origin_server_ts": 2**53},
        {"hashes": None},
        {"signatures": 5},
    ],
)
def test_malformed_events(changes: dict[str, Any]) -> None:
    """Anything that an event cannot be built from is refused as bad JSON."""
    room = Room("12")
    pdu = room.build(ALICE, "m.room.message", {"body": "x"}).pdu
    with pytest.raises(MatrixError) as caught:
        check_format(pdu | changes, room.version)
    assert (caught.value.status, caught.value.errcode) == (400, "M_BAD_JSON")


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize(
    "changes",
    [
        {"event_id": None},
        {"event_id": "$hash"},
        {"event_id": "x:a.example"},
        {"event_id": "$" + "x" * 255 + ":a.example"},
        {"prev_events": ["$a"]},
        {"prev_events": [["$a"]]},
        {"prev_events": [[{}, "$a"]]},
        {"auth_events": [["$a", {"sha256": 5}]]},
        {"depth": 2**63},
    ],
)
def test_malformed_events_of_versions_1_and_2(version: str, changes: dict[str, Any]) -> None:
    """They name themselves and point to others by pairs."""
    room = Room(version)
    pdu = room.build(ALICE, "m.room.message", {"body": "x"}).pdu
    check_format(pdu | {"depth": 2**63 - 1}, room.version)
    check_format(pdu | {"prev_events": [["$a", {}]]}, room.version)
    with pytest.raises(MatrixError) as caught:
        check_format(pdu | changes, room.version)
    assert (caught.value.status, caught.value.errcode) == (400, "M_BAD_JSON")


@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
@pytest.mark.parametrize("value", [0.5, 2**53, 10**30])
def test_numbers(version: str, value: float) -> None:
    """From version 6 on canonical JSON is enforced, before it is not; depth of nesting always has a limit."""
    room = Room(version)
    pdu = room.build(ALICE, "m.room.message", {"body": "x"}).pdu | {"content": {"x": value}}
    if int(version) < 6:
        check_format(pdu, room.version)
    else:
        with pytest.raises(MatrixError, match="JSON"):
            check_format(pdu, room.version)
    nested: Any = []
    for _ in range(200):
        nested = [nested]
    with pytest.raises(MatrixError, match="nested"):
        check_format(pdu | {"content": {"x": nested}}, room.version)


@pytest.mark.parametrize("changes", [{"type": "x" * 256}, {"content": {"body": "x" * 65536}}])
def test_large_events(changes: dict[str, Any]) -> None:
    """Fields and events above the limits are refused as too large."""
    room = Room("11")
    pdu = room.build(ALICE, "m.room.message", {"body": "x"}).pdu
    with pytest.raises(MatrixError) as caught:
        check_format(pdu | changes, room.version)
    assert (caught.value.status, caught.value.errcode) == (413, "M_TOO_LARGE")
