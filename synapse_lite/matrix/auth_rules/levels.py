"""The rule on `m.room.power_levels`: a well-formed event, and no change above one's own level."""

from collections.abc import Iterator
from typing import Any

from synapse_lite import ids
from synapse_lite.canonical_json import JsonObject
from synapse_lite.matrix.auth_rules.state import POWER_LEVELS, AuthError, StateMap, power_levels
from synapse_lite.matrix.event import Event
from synapse_lite.matrix.power_levels import Level, creators, read_level
from synapse_lite.matrix.room_versions import RoomVersion

_NAMED = ("users_default", "events_default", "state_default", "ban", "redact", "kick", "invite")


def check_power_levels(event: Event, create: Event, state: StateMap) -> None:
    """Raises `AuthError`; `event` is an `m.room.power_levels`."""
    version = event.version
    new = event.content
    _check_form(new, version)
    if version.privileged_creators:
        for user_id in new.get("users", {}).keys() & creators(create):
            raise AuthError(f"The creator {user_id} must not be in 'users'")
    current = state.get(POWER_LEVELS)
    if current is None:
        return
    own_level = power_levels(state).user(event.sender)
    _check_named_levels(current.content, new, own_level, version)
    for name in ("events", "notifications") if version.check_notification_levels else ("events",):
        _check_entries(name, current.content, new, own_level, version)
    _check_users(event.sender, current.content, new, own_level, version)


def _check_form(content: JsonObject, version: RoomVersion) -> None:
    users = content.get("users", {})
    if not isinstance(users, dict):
        raise AuthError("'users' must be an object")
    for user_id, level in users.items():
        if not ids.is_user_id(user_id):
            raise AuthError(f"{user_id!r} in 'users' is not a user ID")
        if read_level(level, version) is None:
            raise AuthError(f"The level of {user_id} must be an integer")
    if version.integer_power_levels:
        _check_integers(content)


def _check_integers(content: JsonObject) -> None:
    for name in _NAMED:
        if name in content and type(content[name]) is not int:
            raise AuthError(f"{name!r} must be an integer")
    for name in ("events", "notifications"):
        entries = content.get(name, {})
        if not isinstance(entries, dict) or any(type(level) is not int for level in entries.values()):
            raise AuthError(f"{name!r} must be an object of integers")


def _check_named_levels(old: JsonObject, new: JsonObject, own_level: Level, version: RoomVersion) -> None:
    for name in _NAMED:
        before, after = read_level(old.get(name), version), read_level(new.get(name), version)
        if before != after:
            _check_not_above(name, before, own_level)
            _check_not_above(name, after, own_level)


def _check_entries(
    name: str, old: JsonObject, new: JsonObject, own_level: Level, version: RoomVersion
) -> None:
    for key, before, after in _changes(old.get(name), new.get(name), version):
        _check_not_above(f"{name}.{key}", before, own_level)
        _check_not_above(f"{name}.{key}", after, own_level)


def _check_users(
    sender: str, old: JsonObject, new: JsonObject, own_level: Level, version: RoomVersion
) -> None:
    for user_id, before, after in _changes(old.get("users"), new.get("users"), version):
        if before is not None and user_id != sender and before >= own_level:
            raise AuthError(f"You don't have permission to change the level of {user_id}")
        _check_not_above(f"users.{user_id}", after, own_level)


def _changes(old: Any, new: Any, version: RoomVersion) -> Iterator[tuple[str, int | None, int | None]]:
    """Key, old level and new level of every entry that was added, changed or removed."""
    before: JsonObject = old if isinstance(old, dict) else {}
    after: JsonObject = new if isinstance(new, dict) else {}
    for key in before.keys() | after.keys():
        levels = (read_level(before.get(key), version), read_level(after.get(key), version))
        if levels[0] != levels[1]:
            yield key, *levels


def _check_not_above(name: str, level: int | None, own_level: Level) -> None:
    if level is not None and level > own_level:
        raise AuthError(f"You don't have permission to change {name!r}: {level} is above your own level")
