import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synapse_lite.matrix.power_levels import PowerLevels, creator, creators, read_level
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from tests.matrix.builders import ALICE, BOB, CAROL, Room

LEVELS = st.integers(-100, 200)
USERS = [ALICE, BOB, CAROL]
TYPES = ["m.room.message", "m.room.name", "x"]
NAMED = {
    "users_default": 0,
    "events_default": 0,
    "state_default": 50,
    "ban": 50,
    "kick": 50,
    "invite": 0,
    "redact": 50,
}
CONTENTS = st.fixed_dictionaries(
    {},
    optional={
        "users": st.dictionaries(st.sampled_from(USERS), LEVELS),
        "events": st.dictionaries(st.sampled_from(TYPES), LEVELS),
        **dict.fromkeys(NAMED, LEVELS),
    },
)


@pytest.mark.parametrize(
    ("version", "level"), [*((str(number), 100) for number in range(1, 12)), ("12", math.inf)]
)
def test_without_an_event(version: str, level: float) -> None:
    """The creator has 100, or all power in version 12; everybody else nothing."""
    levels = PowerLevels.read(Room(version).create, None)
    assert levels.user(ALICE) == level
    assert levels.user(BOB) == 0
    assert levels.required("x", is_state=True) == 50
    assert levels.required("x", is_state=False) == 0
    assert {name: getattr(levels, name) for name in NAMED} == NAMED


@pytest.mark.parametrize(
    ("version", "level"), [*((str(number), 0) for number in range(1, 12)), ("12", math.inf)]
)
def test_an_event_demotes_creators_before_version_12(version: str, level: float) -> None:
    """Where an event does not name the creator, they are like everybody; in version 12 never."""
    room = Room(version)
    event = room.build(ALICE, "m.room.power_levels", {"users": {BOB: 7}}, "")
    levels = PowerLevels.read(room.create, event)
    assert (levels.user(ALICE), levels.user(BOB)) == (level, 7)


def test_creator_of_version_10_is_named() -> None:
    """Before version 11 the content of the create event names the creator."""
    room = Room("10")
    event = room.build(BOB, "m.room.create", {"creator": CAROL}, "")
    assert creator(event) == CAROL
    assert creator(room.build(BOB, "m.room.create", {"creator": {}}, "")) == BOB
    assert creator(Room("11").build(BOB, "m.room.create", {"creator": CAROL}, "")) == BOB


@pytest.mark.parametrize(("version", "expected"), [("11", {ALICE}), ("12", {ALICE, BOB})])
def test_additional_creators(version: str, expected: set[str]) -> None:
    """Version 12 knows further creators."""
    assert creators(Room(version, {"additional_creators": [BOB]}).create) == expected


@settings(deadline=None)
@given(
    st.sampled_from(list(ROOM_VERSIONS)),
    CONTENTS,
    st.sampled_from(USERS),
    st.sampled_from(TYPES),
    st.booleans(),
)
def test_same_as_naive_reading(
    version: str, content: dict[str, Any], user_id: str, event_type: str, is_state: bool
) -> None:
    """Every level is the one of the event, or its default."""
    room = Room(version)
    levels = PowerLevels.read(room.create, room.build(ALICE, "m.room.power_levels", content, ""))
    named = NAMED | content
    users, events = content.get("users", {}), content.get("events", {})
    is_privileged = version == "12" and user_id == ALICE
    assert levels.user(user_id) == (math.inf if is_privileged else users.get(user_id, named["users_default"]))
    default = named["state_default" if is_state else "events_default"]
    assert levels.required(event_type, is_state) == events.get(event_type, default)
    assert (levels.ban, levels.kick, levels.invite, levels.redact) == tuple(
        named[name] for name in ("ban", "kick", "invite", "redact")
    )


@pytest.mark.parametrize(
    ("value", "since_10", "since_6", "before"),
    [
        (5, 5, 5, 5),
        (True, None, None, None),
        (None, None, None, None),
        ("5", None, 5, 5),
        (" -05 ", None, -5, -5),
        ("+7", None, 7, 7),
        ("", None, None, None),
        ("1_000", None, None, None),
        ("٣", None, None, None),
        ("5.5", None, None, None),
        (5.9, None, None, 5),
        (-5.9, None, None, -5),
        (math.inf, None, None, None),
        ([], None, None, None),
    ],
)
@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
def test_reading_one_level(
    version: str, value: object, since_10: int | None, since_6: int | None, before: int | None
) -> None:
    """From version 10 on only integers count; before, texts too, and before 6 floats."""
    expected = since_10 if int(version) >= 10 else since_6 if int(version) >= 6 else before
    assert read_level(value, ROOM_VERSIONS[version]) == expected


def test_broken_content_has_the_defaults() -> None:
    """Levels that are no levels count as not there."""
    room = Room("11")
    content = {"users": [], "events": {"x": "1"}, "ban": "x", "users_default": None}
    levels = PowerLevels.read(room.create, room.build(ALICE, "m.room.power_levels", content, ""))
    assert (levels.user(BOB), levels.required("x", is_state=True), levels.ban) == (0, 50, 50)
