"""Who may do what: the reading of `m.room.power_levels`."""

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Self

import attrs

from synapse_lite.canonical_json import JsonObject
from synapse_lite.matrix.event import Event
from synapse_lite.matrix.room_versions import RoomVersion

Level = int | float
"""An integer, or infinity for the creators of a room (version 12)."""

CREATOR_LEVEL = 100
ROOMS_REMEMBERED = 200
"""Rooms in which much is said have their levels read once, not for each event."""
_INTEGER_TEXT = re.compile(r"\s*[+-]?[0-9]{1,100}\s*", re.ASCII)


def read_level(value: Any, version: RoomVersion) -> int | None:
    """The integer that a level stands for, None when it stands for none.

    Room versions before 10 take texts, before 6 also floats (which are cut at the point).
    """
    if type(value) is int:
        return value
    if version.integer_power_levels:
        return None
    if isinstance(value, str) and _INTEGER_TEXT.fullmatch(value):
        return int(value)
    if isinstance(value, float) and math.isfinite(value) and not version.strict_canonical_json:
        return int(value)
    return None


def creator(create: Event) -> str:
    """Who made the room: the sender of the create event, before version 11 its `content.creator`."""
    named = create.sender if create.version.implicit_creator else create.content.get("creator")
    return named if isinstance(named, str) else create.sender


def creators(create: Event) -> frozenset[str]:
    """The creator and, in version 12, `additional_creators`."""
    additional = create.content.get("additional_creators")
    if not create.version.privileged_creators or not isinstance(additional, list):
        return frozenset({creator(create)})
    return frozenset({creator(create), *additional})


@attrs.frozen
class PowerLevels:
    """The levels of a room; what the event does not say has the defaults of the specification."""

    version: RoomVersion
    privileged: frozenset[str]
    users: Mapping[str, Any]
    events: Mapping[str, Any]
    users_default: int
    events_default: int
    state_default: int
    ban: int
    kick: int
    invite: int
    redact: int

    @classmethod
    @lru_cache(maxsize=ROOMS_REMEMBERED)
    def read(cls, create: Event, power_levels: Event | None) -> Self:
        version = create.version
        owners = creators(create)
        content: JsonObject = {} if power_levels is None else power_levels.content

        def named(name: str, default: int) -> int:
            level = read_level(content.get(name), version)
            return default if level is None else level

        users = _mapping(content, "users")
        if power_levels is None:
            users = dict.fromkeys(owners, CREATOR_LEVEL)
        return cls(
            version=version,
            privileged=owners if version.privileged_creators else frozenset(),
            users=users,
            events=_mapping(content, "events"),
            users_default=named("users_default", 0),
            events_default=named("events_default", 0),
            state_default=named("state_default", 50),
            ban=named("ban", 50),
            kick=named("kick", 50),
            invite=named("invite", 0),
            redact=named("redact", 50),
        )

    def user(self, user_id: str) -> Level:
        if user_id in self.privileged:
            return math.inf
        level = read_level(self.users.get(user_id), self.version)
        return self.users_default if level is None else level

    def required(self, event_type: str, is_state: bool) -> int:
        """The level that a sender of this type of event needs."""
        level = read_level(self.events.get(event_type), self.version)
        if level is not None:
            return level
        return self.state_default if is_state else self.events_default


def _mapping(content: JsonObject, name: str) -> Mapping[str, Any]:
    value = content.get(name)
    return value if isinstance(value, dict) else {}
