"""What a new room consists of, before anything is stored ("POST /_matrix/client/v3/createRoom")."""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen

from synapse_lite import ids
from synapse_lite.canonical_json import JsonObject
from synapse_lite.config.rooms import RoomOptions
from synapse_lite.errors import Errcode, MatrixError, bad_json, invalid_param
from synapse_lite.handlers.canonical_alias import CANONICAL_ALIAS, bad_alias, listed_aliases
from synapse_lite.matrix.auth_rules.state import POWER_LEVELS
from synapse_lite.matrix.content_checks import check_content, check_draft
from synapse_lite.matrix.event import Draft
from synapse_lite.matrix.power_levels import CREATOR_LEVEL
from synapse_lite.matrix.room_versions import ROOM_VERSIONS, RoomVersion
from synapse_lite.matrix.types import CALL_INVITE, CREATE

StateKey = tuple[str, str]
ENCRYPTION = ("m.room.encryption", "")
TOMBSTONE = "m.room.tombstone"
CALL_INVITE_LEVEL = 50  # in a public room a call would ring for everybody
TOMBSTONE_LEVEL = 150  # where creators stand above all levels: out of reach of admins with 100


@frozen
class Preset:
    join_rule: str
    guest_access: str | None  # None: no event, which means forbidden
    levels: Mapping[str, int]
    is_private: bool
    trusts_invited: bool = False


PRESETS: Mapping[str, Preset] = {
    "private_chat": Preset("invite", "can_join", {"invite": 0}, is_private=True),
    "trusted_private_chat": Preset("invite", "can_join", {"invite": 0}, is_private=True, trusts_invited=True),
    "public_chat": Preset("public", None, {}, is_private=False),
}


@frozen
class RoomRequest:
    """What the client asks for. `alias_name` is a localpart; `initial_state` is in the client's order."""

    room_version: str | None = None
    preset: str | None = None
    is_public: bool = False
    alias_name: str | None = None
    name: str | None = None
    topic: str | None = None
    invited: Sequence[str] = ()
    is_direct: bool = False
    creation_content: Mapping[str, Any] = field(factory=dict)
    initial_state: Sequence[tuple[StateKey, JsonObject]] = ()
    power_levels: Mapping[str, Any] = field(factory=dict)


@frozen
class RoomPlan:
    """`state` follows the creator's join, in that order; the invites follow the state."""

    version: RoomVersion
    create: JsonObject
    state: dict[StateKey, JsonObject]
    invited: tuple[str, ...]
    is_direct: bool
    alias: str | None
    is_public: bool


def plan_room(request: RoomRequest, creator: str, options: RoomOptions) -> RoomPlan:
    """400 in the words of what is wrong with the request."""
    version = _version(options.default_room_version if request.room_version is None else request.room_version)
    name = request.preset or ("public_chat" if request.is_public else "private_chat")
    preset = PRESETS.get(name)
    if preset is None:
        raise bad_json(f"{name[:80]!r} is not a valid preset")
    invited = tuple(dict.fromkeys(map(ids.check_user_id, request.invited)))
    alias = None if request.alias_name is None else _alias(request.alias_name, ids.domain_of(creator))
    create = _create_content(request, creator, version, invited if preset.trusts_invited else ())
    levels = _power_levels(request, creator, version, preset, name, invited, options)
    state = {POWER_LEVELS: levels} | _state(request, preset, alias, options)
    check_content(CREATE, create)
    for (event_type, state_key), content in state.items():
        check_draft(Draft(event_type, creator, content, 0, state_key))
    return RoomPlan(
        version,
        create,
        state,
        invited,
        request.is_direct,
        alias,
        request.is_public,
    )


def _version(identifier: str) -> RoomVersion:
    version = ROOM_VERSIONS.get(identifier)
    if version is None:
        raise MatrixError(
            400, Errcode.UNSUPPORTED_ROOM_VERSION, "Your homeserver does not support this room version"
        )
    return version


def _alias(name: str, server_name: str) -> str:
    if ":" in name:
        raise invalid_param(
            "':' is not permitted in the room alias name. Please note this expects a local part — 'wombat', "
            "not '#wombat:example.com'."
        )
    alias = f"#{name}:{server_name}"
    if any(character.isspace() for character in name) or not ids.is_room_alias(alias):
        raise invalid_param("Invalid characters in room alias")
    return alias


def _create_content(
    request: RoomRequest, creator: str, version: RoomVersion, trusted: Sequence[str]
) -> JsonObject:
    content: JsonObject = {**request.creation_content, "room_version": version.identifier}
    content.pop("creator", None)
    if not version.implicit_creator:
        content["creator"] = creator
    if version.privileged_creators:
        _add_creators(content, creator, trusted)
    return content


def _add_creators(content: JsonObject, creator: str, trusted: Sequence[str]) -> None:
    named = content.pop("additional_creators", [])
    if not isinstance(named, list) or not all(isinstance(user_id, str) for user_id in named):
        raise bad_json("'additional_creators' must be a list of user IDs")
    additional = dict.fromkeys([*map(ids.check_user_id, named), *trusted])
    additional.pop(creator, None)
    if additional:
        content["additional_creators"] = list(additional)


def _power_levels(
    request: RoomRequest,
    creator: str,
    version: RoomVersion,
    preset: Preset,
    preset_name: str,
    invited: Sequence[str],
    options: RoomOptions,
) -> JsonObject:
    users = {}
    if not version.privileged_creators:
        trusted = invited if preset.trusts_invited else ()
        users = dict.fromkeys([creator, *trusted], CREATOR_LEVEL)
    defaults = _default_levels(users, TOMBSTONE_LEVEL if version.privileged_creators else CREATOR_LEVEL)
    if not preset.is_private:
        defaults["events"][CALL_INVITE] = CALL_INVITE_LEVEL
    content = {
        **defaults,
        **preset.levels,
        **(options.default_power_level_content_override.get(preset_name) or {}),
        **request.power_levels,
    }
    if not version.privileged_creators and creator not in _object(content, "users"):
        raise bad_json(f"Not a valid power_level_content_override: 'users' did not contain {creator}")
    if version.privileged_creators:
        content["events"] = _with_tombstone(_object(content, "events"), content["state_default"])
    return content


def _default_levels(users: Mapping[str, int], tombstone: int) -> JsonObject:
    return {
        "users": dict(users),
        "users_default": 0,
        "events": {
            "m.room.name": 50,
            "m.room.avatar": 50,
            "m.room.canonical_alias": 50,
            "m.room.power_levels": 100,
            "m.room.history_visibility": 100,
            TOMBSTONE: tombstone,
            "m.room.server_acl": 100,
            "m.room.encryption": 100,
        },
        "events_default": 0,
        "state_default": 50,
        "ban": 50,
        "kick": 50,
        "redact": 50,
        "invite": 50,
        "historical": 100,
    }


def _with_tombstone(events: JsonObject, state_default: Any) -> JsonObject:
    """Room version 12 demands a level above `state_default`. What is no integer is the rules' to refuse."""
    level = events.get(TOMBSTONE, TOMBSTONE_LEVEL)
    if isinstance(level, int) and isinstance(state_default, int) and level <= state_default:
        level = max(TOMBSTONE_LEVEL, state_default + 1)
    return {**events, TOMBSTONE: level}


def _object(content: JsonObject, name: str) -> JsonObject:
    value = content[name]
    if not isinstance(value, dict):
        raise bad_json(f"power_level_content_override: {name!r} must be an object")
    return value


def _state(
    request: RoomRequest, preset: Preset, alias: str | None, options: RoomOptions
) -> dict[StateKey, JsonObject]:
    """In the order of "createRoom" in the specification: what is named later replaces what was named before."""
    state: dict[StateKey, JsonObject] = {}
    if alias is not None:
        state[CANONICAL_ALIAS, ""] = {"alias": alias}
    state["m.room.join_rules", ""] = {"join_rule": preset.join_rule}
    state["m.room.history_visibility", ""] = {"history_visibility": "shared"}
    if preset.guest_access is not None:
        state["m.room.guest_access", ""] = {"guest_access": preset.guest_access}
    encrypted = options.encryption_enabled_by_default_for_room_type
    if encrypted == "all" or (encrypted == "invite" and preset.is_private):
        state[ENCRYPTION] = {"algorithm": "m.megolm.v1.aes-sha2"}
    given = dict(request.initial_state)
    for key, content in given.items():
        _check_initial(key, content, alias)
    if request.name is not None:
        _put_last(given, ("m.room.name", ""), {"name": request.name})
    if request.topic is not None:
        rich = {"m.text": [{"body": request.topic}]}
        _put_last(given, ("m.room.topic", ""), {"topic": request.topic, "m.topic": rich})
    return {key: content for key, content in state.items() if key not in given} | given


def _put_last(state: dict[StateKey, JsonObject], key: StateKey, content: JsonObject) -> None:
    state.pop(key, None)
    state[key] = content


def _check_initial(key: StateKey, content: JsonObject, alias: str | None) -> None:
    if key[0] in {"m.room.create", "m.room.member"}:
        raise invalid_param(f"{key[0]} must not be in 'initial_state'")
    if key[0] == CANONICAL_ALIAS:
        for listed in listed_aliases(content):
            if listed != alias:
                raise bad_alias(listed)
