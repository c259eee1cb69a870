"""The rule on power levels."""

from typing import Any

import pytest

from synapse_lite.matrix.auth_rules import AuthError
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from tests.matrix.builders import ALICE, BOB, CAROL, DAVE, Room

VERSIONS = list(ROOM_VERSIONS)
BASE = {
    "users": {BOB: 50, CAROL: 50, DAVE: 40},
    "users_default": 0,
    "kick": 60,
    "ban": 50,
    "events": {"m.room.name": 40, "m.high": 60, "m.room.power_levels": 50},
    "notifications": {"room": 50, "high": 60},
}


def room_of_three(version: str) -> Room:
    room = Room(version)
    room.open()
    for user_id in (BOB, CAROL, DAVE):
        room.join(user_id)
    room.levels(**BASE)  # type: ignore[arg-type]  # one mapping of users and further levels
    return room


def changed(room: Room, changes: dict[str, Any]) -> dict[str, Any]:
    """The current levels with changes; None removes; mappings are changed entry by entry."""
    content = dict(room.state["m.room.power_levels", ""].content)
    for name, value in changes.items():
        entries = content.get(name, {}) | value if isinstance(value, dict) else value
        if isinstance(entries, dict):
            entries = {key: level for key, level in entries.items() if level is not None}
        content[name] = entries
    return {name: value for name, value in content.items() if value is not None}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        ({}, True),
        ({"ban": 40}, True),
        ({"ban": None}, True),
        ({"ban": 51}, False),
        ({"kick": 50}, False),
        ({"kick": None}, False),
        ({"invite": 50}, True),
        ({"invite": 51}, False),
        ({"users_default": 51}, False),
        ({"events_default": 50}, True),
        ({"state_default": 51}, False),
        ({"redact": 51}, False),
        ({"events": {"m.room.name": 50}}, True),
        ({"events": {"m.room.name": 51}}, False),
        ({"events": {"m.high": 50}}, False),
        ({"events": {"m.high": None}}, False),
        ({"events": {"m.new": 50}}, True),
        ({"events": {"m.new": 51}}, False),
        ({"notifications": {"room": 10}}, True),
        ({"notifications": {"room": 51}}, None),
        ({"notifications": {"high": None}}, None),
        ({"users": {BOB: 49}}, True),
        ({"users": {BOB: None}}, True),
        ({"users": {BOB: 51}}, False),
        ({"users": {CAROL: 49}}, False),
        ({"users": {CAROL: None}}, False),
        ({"users": {DAVE: 50}}, True),
        ({"users": {DAVE: 51}}, False),
        ({"users": {DAVE: None}}, True),
        ({"users": {"@new:x": 50}}, True),
        ({"users": {"@new:x": 51}}, False),
        ({"x": 1000}, True),
    ],
)
def test_changes_of_a_moderator(version: str, changes: dict[str, Any], allowed: bool | None) -> None:
    """Somebody with 50 moves what is at most 50, to at most 50, and only lesser users; before version 6
    levels of notifications are free (None in the table).
    """
    if allowed is None:
        allowed = int(version) < 6
    room = room_of_three(version)
    event = room.build(BOB, "m.room.power_levels", changed(room, changes), "")
    if allowed:
        room.allows(event)
    else:
        with pytest.raises(AuthError, match="permission"):
            room.allows(event)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("content", "refused_since"),
    [
        ({"users": []}, 1),
        ({"users": None}, 1),
        ({"users": {"bob": 5}}, 1),
        ({"users": {BOB: True}}, 1),
        ({"users": {BOB: None}}, 1),
        ({"users": {BOB: "x"}}, 1),
        ({"users": {BOB: " 50"}}, 10),
        ({"ban": "50", "kick": "x"}, 10),
        ({"kick": True}, 10),
        ({"invite": None}, 10),
        ({"users_default": []}, 10),
        ({"events": []}, 10),
        ({"events": {"x": "5"}}, 10),
        ({"notifications": 5}, 10),
        ({"notifications": {"room": None}}, 10),
    ],
)
def test_malformed_levels(version: str, content: dict[str, Any], refused_since: int) -> None:
    """Users are user ids with levels; from version 10 on every level is an integer, also in the first event."""
    room = Room(version)
    event = room.build(ALICE, "m.room.power_levels", content, "")
    if int(version) < refused_since:
        room.allows(event)
    else:
        with pytest.raises(AuthError):
            room.allows(event)


@pytest.mark.parametrize("version", ["1", "5", "9"])
def test_the_same_level_in_another_form_is_no_change(version: str) -> None:
    """Before version 10 a level may be written as text: who writes 60 for "60" needs no 60."""
    room = room_of_three(version)
    room.allows(room.build(BOB, "m.room.power_levels", changed(room, {"kick": "60"}), ""))
    with pytest.raises(AuthError, match="permission"):
        room.allows(room.build(BOB, "m.room.power_levels", changed(room, {"kick": "59"}), ""))


@pytest.mark.parametrize("version", VERSIONS)
def test_first_levels_are_free(version: str) -> None:
    """Without a previous event nothing is compared."""
    room = Room(version)
    room.allows(room.build(ALICE, "m.room.power_levels", {"users": {BOB: 5000}, "ban": 9000}, ""))


@pytest.mark.parametrize("version", [version for version in VERSIONS if version != "12"])
def test_nobody_rises_above_the_highest(version: str) -> None:
    """An administrator of 100 gives at most 100, and cannot lower another one."""
    room = Room(version)
    room.levels({BOB: 100})
    for users in ({BOB: 99}, {BOB: 100, CAROL: 101}, {}):
        event = room.build(ALICE, "m.room.power_levels", {"users": {ALICE: 100, **users}}, "")
        with pytest.raises(AuthError, match="permission"):
            room.allows(event)
    room.allows(room.build(ALICE, "m.room.power_levels", {"users": {BOB: 100}}, ""))


def test_creators_are_above_all_levels() -> None:
    """In version 12 a creator gives and takes any level."""
    room = Room("12", {"additional_creators": [BOB]})
    room.open()
    room.join(BOB)
    room.levels({CAROL: 2**53 - 1}, ban=2**53 - 1)
    for sender in (ALICE, BOB):
        room.allows(room.build(sender, "m.room.power_levels", {"users": {CAROL: 0}}, ""))


@pytest.mark.parametrize("user_id", [ALICE, BOB])
def test_creators_are_not_in_the_levels(user_id: str) -> None:
    """In version 12 the levels must not name a creator."""
    room = Room("12", {"additional_creators": [BOB]})
    with pytest.raises(AuthError, match="creator"):
        room.allows(room.build(ALICE, "m.room.power_levels", {"users": {user_id: 100}}, ""))
    room.allows(room.build(ALICE, "m.room.power_levels", {"users": {CAROL: 100}}, ""))
