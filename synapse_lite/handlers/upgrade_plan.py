"""What a room takes with it into its replacement, before anything is stored ("Room Upgrades")."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from attrs import frozen

from synapse_lite.canonical_json import MAX_SAFE_INTEGER, JsonObject, check_canonical
from synapse_lite.errors import MatrixError
from synapse_lite.handlers.room_plan import TOMBSTONE, TOMBSTONE_LEVEL
from synapse_lite.matrix.auth_rules.state import JOIN_RULES, POWER_LEVELS
from synapse_lite.matrix.event import Event, StateKey
from synapse_lite.matrix.power_levels import CREATOR_LEVEL, creator, creators, read_level
from synapse_lite.matrix.room_versions import RoomVersion

CARRIED = frozenset(
    {
        "m.room.avatar",
        "m.room.canonical_alias",
        "m.room.encryption",
        "m.room.guest_access",
        "m.room.history_visibility",
        "m.room.name",
        "m.room.policy",
        "m.room.server_acl",
        "m.room.topic",
    }
)
LINKS = frozenset({"m.space.child", "m.space.parent"})
_NAMED = ("users_default", "events_default", "state_default", "ban", "kick", "redact", "invite")
_MAPPINGS = ("users", "events", "notifications")
_ALWAYS = ("users", "events")


@frozen
class UpgradePlan:
    """`state`, as (type, state key, content), follows the create event; `levels` come last, where the upgrader
    needed more power in the beginning.
    """

    version: RoomVersion
    create: JsonObject
    state: list[tuple[str, str, JsonObject]]
    levels: JsonObject | None


def plan_upgrade(
    create: Event,
    state: Mapping[StateKey, JsonObject],
    version: RoomVersion,
    user_id: str,
    additional_creators: Collection[str],
    last_event_id: str | None,
) -> UpgradePlan:
    """`state` is that of the old room, as it may be read now; `additional_creators` count where the version has them."""
    owners = [one for one in dict.fromkeys(additional_creators) if one != user_id]
    levels = carried_levels(create, state.get(POWER_LEVELS), version, [user_id, *owners])
    first = levels
    if not version.privileged_creators:
        highest = max(CREATOR_LEVEL, *_all_levels(levels))
        first = {**levels, "users": {**levels["users"], user_id: highest}}
    carried = [(*POWER_LEVELS, first), (*JOIN_RULES, _join_rules(state.get(JOIN_RULES), version))]
    carried += [(*key, content) for key, content in state.items() if _is_carried(key, content, version)]
    return UpgradePlan(
        version,
        _create_content(create, version, user_id, owners, last_event_id),
        carried,
        None if first == levels else levels,
    )


def carried_levels(
    create: Event, content: JsonObject | None, version: RoomVersion, owners: Collection[str]
) -> JsonObject:
    """The levels of the old room in the terms of the new version; `owners` are the creators of the new room.

    Where creators stand above all levels they must not be named. Where they do no longer, they get the highest.
    """
    old = create.version
    if content is None:
        content = {} if old.privileged_creators else {"users": {creator(create): CREATOR_LEVEL}}
    levels = _readable(content, old)
    users, events = levels["users"], levels["events"]
    if version.privileged_creators:
        levels["users"] = {one: level for one, level in users.items() if one not in owners}
        beyond = levels.get("state_default", 50) + 1
        levels["events"] = {**events, TOMBSTONE: max(TOMBSTONE_LEVEL, events.get(TOMBSTONE, 0), beyond)}
    elif old.privileged_creators:
        highest = max(CREATOR_LEVEL, *users.values(), 0)
        levels["users"] = {**users, **dict.fromkeys(creators(create), highest)}
        if TOMBSTONE in events:
            levels["events"] = {**events, TOMBSTONE: min(events[TOMBSTONE], highest)}
    return levels


def _readable(content: JsonObject, version: RoomVersion) -> JsonObject:
    """With integers for levels, as all versions understand them; what is none means nothing and is left out."""
    levels = {key: value for key, value in content.items() if key not in (*_NAMED, *_MAPPINGS)}
    for name in _MAPPINGS:
        given = content.get(name)
        if name not in content and name not in _ALWAYS:
            continue
        items = given.items() if isinstance(given, dict) else ()
        read = {key: _level(value, version) for key, value in items}
        levels[name] = {key: level for key, level in read.items() if level is not None}
    named = {name: _level(content.get(name), version) for name in _NAMED}
    return {**levels, **{name: level for name, level in named.items() if level is not None}}


def _level(value: Any, version: RoomVersion) -> int | None:
    level = read_level(value, version)
    return level if level is not None and abs(level) <= MAX_SAFE_INTEGER else None


def _all_levels(levels: JsonObject) -> Iterator[int]:
    yield from (levels[name] for name in _NAMED if name in levels)
    for name in ("users", "events"):
        yield from levels[name].values()


def _join_rules(content: JsonObject | None, version: RoomVersion) -> JsonObject:
    """Rules that the new version does not have would let nobody in but the invited; so it says that."""
    known = {
        "knock": version.knock,
        "restricted": version.restricted,
        "knock_restricted": version.knock_restricted,
    }
    rule = None if content is None else content.get("join_rule")
    if content is None or not isinstance(rule, str) or not known.get(rule, True):
        return {"join_rule": "invite"}
    return content


def _is_carried(key: StateKey, content: JsonObject, version: RoomVersion) -> bool:
    kind, state_key = key
    if not content or not ((kind in CARRIED and state_key == "") or (kind in LINKS and content.get("via"))):
        return False
    if version.strict_canonical_json:
        try:
            check_canonical(content)
        except MatrixError:  # numbers that the new version does not admit
            return False
    return True


def _create_content(
    create: Event, version: RoomVersion, user_id: str, owners: list[str], last_event_id: str | None
) -> JsonObject:
    dropped = {"creator", "additional_creators", "predecessor", "room_version"}
    content = {name: value for name, value in create.content.items() if name not in dropped}
    content["room_version"] = version.identifier
    content["predecessor"] = {"room_id": create.room_id} | (
        {} if last_event_id is None else {"event_id": last_event_id}
    )
    if not version.implicit_creator:
        content["creator"] = user_id
    if version.privileged_creators and owners:
        content["additional_creators"] = owners
    return content
