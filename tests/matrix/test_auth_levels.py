"""The rule on power levels."""

from typing import Any

import attrs
import pytest

from synapse_lite.matrix.auth_rules import AuthError, check_event
from synapse_lite.matrix.event import Draft, build_event
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from tests.matrix.builders import ALICE, BOB, CAROL, DAVE, KEY, Room

VERSIONS = sorted(ROOM_VERSIONS)
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
        ({"notifications": {"room": 51}}, False),
        ({"notifications": {"high": None}}, False),
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
def test_changes_of_a_moderator(version: str, changes: dict[str, Any], allowed: bool) -> None:
    """Somebody with 50 moves what is at most 50, to at most 50, and only lesser users."""
    room = room_of_three(version)
    event = room.build(BOB, "m.room.power_levels", changed(room, changes), "")
    if allowed:
        room.allows(event)
    else:
        with pytest.raises(AuthError, match="permission"):
            room.allows(event)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "content",
    [
        {"users": []},
        {"users": None},
        {"users": {"bob": 5}},
        {"users": {BOB: "5"}},
        {"users": {BOB: True}},
        {"users": {BOB: None}},
        {"ban": "50"},
        {"kick": True},
        {"invite": None},
        {"users_default": []},
        {"events": []},
        {"events": {"x": "5"}},
        {"notifications": 5},
        {"notifications": {"room": None}},
    ],
)
def test_malformed_levels(version: str, content: dict[str, Any]) -> None:
    """Levels are integers and users are user ids, also in the first event."""
    room = Room(version)
    with pytest.raises(AuthError):
        room.allows(room.build(ALICE, "m.room.power_levels", content, ""))


@pytest.mark.parametrize(
    ("content", "allowed"),
    [
        ({"users": {BOB: " 50"}}, True),
        ({"users": {BOB: "x"}}, False),
        ({"ban": "70", "kick": "x"}, True),
        ({"events": []}, True),
    ],
)
def test_levels_of_old_versions(content: dict[str, Any], allowed: bool) -> None:
    """Before version 10 texts are levels, and only `users` is checked."""
    room = Room("10")
    old = attrs.evolve(room.version, integer_power_levels=False)
    draft = Draft("m.room.power_levels", ALICE, content, 1, "")
    event = build_event(draft, old, room.room_id, ["$p"], [], 1, KEY)
    if allowed:
        check_event(event, room.state)
    else:
        with pytest.raises(AuthError):
            check_event(event, room.state)


def test_notification_levels_of_old_versions() -> None:
    """Where the version does not check notifications, anybody with levels changes them."""
    room = room_of_three("10")
    old = attrs.evolve(room.version, check_notification_levels=False)
    content = changed(room, {"notifications": {"high": 1}})
    draft = Draft("m.room.power_levels", BOB, content, 1, "")
    check_event(build_event(draft, old, room.room_id, ["$p"], [], 1, KEY), room.state)


@pytest.mark.parametrize("version", VERSIONS)
def test_first_levels_are_free(version: str) -> None:
    """Without a previous event nothing is compared."""
    room = Room(version)
    room.allows(room.build(ALICE, "m.room.power_levels", {"users": {BOB: 5000}, "ban": 9000}, ""))


@pytest.mark.parametrize("version", ["10", "11"])
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
