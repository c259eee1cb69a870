"""What differs between room versions, as data ("Room Versions").

Versions 4 to 9 would be further rows; 1 to 3 also need their own event format.
"""

from collections.abc import Mapping
from typing import Literal

import attrs

StateResolution = Literal["v2", "v2.1"]


@attrs.frozen
class RedactionRules:
    """What survives a redaction.

    `content` lists the kept keys of `content` by event type (a type that is not listed keeps none);
    `whole_content` names the types that keep everything; `nested` names, by type and key of
    `content`, objects that are cut down to the given keys.
    """

    top_level: frozenset[str]
    content: Mapping[str, frozenset[str]]
    whole_content: frozenset[str] = frozenset()
    nested: Mapping[str, Mapping[str, frozenset[str]]] = attrs.field(factory=dict)


@attrs.frozen
class RoomVersion:
    """The flags of one room version; the comment says from which version on a flag is true."""

    identifier: str
    redaction: RedactionRules
    state_resolution: StateResolution = "v2"
    enforce_key_validity: bool = True  # 5
    strict_canonical_json: bool = True  # 6
    check_notification_levels: bool = True  # 6
    aliases_rule: bool = False  # true up to 5
    knock: bool = True  # 7
    restricted: bool = True  # 8
    knock_restricted: bool = True  # 10
    integer_power_levels: bool = True  # 10
    implicit_creator: bool = True  # 11: the creator is the sender of the create event
    redacts_in_content: bool = True  # 11
    room_id_is_hash: bool = True  # 12: and no create event in `auth_events`
    privileged_creators: bool = True  # 12: creators have infinite power


_KEPT = frozenset(
    {
        "auth_events",
        "content",
        "depth",
        "event_id",
        "hashes",
        "origin_server_ts",
        "prev_events",
        "room_id",
        "sender",
        "signatures",
        "state_key",
        "type",
    }
)
_LEVELS = frozenset(
    {
        "ban",
        "events",
        "events_default",
        "kick",
        "redact",
        "state_default",
        "users",
        "users_default",
    }
)
_REDACTION_9 = RedactionRules(
    top_level=_KEPT | {"membership", "origin", "prev_state"},
    content={
        "m.room.create": frozenset({"creator"}),
        "m.room.history_visibility": frozenset({"history_visibility"}),
        "m.room.join_rules": frozenset({"allow", "join_rule"}),
        "m.room.member": frozenset({"join_authorised_via_users_server", "membership"}),
        "m.room.power_levels": _LEVELS,
    },
)
_REDACTION_11 = RedactionRules(
    top_level=_KEPT,
    content={
        **_REDACTION_9.content,
        "m.room.power_levels": _LEVELS | {"invite"},
        "m.room.redaction": frozenset({"redacts"}),
    },
    whole_content=frozenset({"m.room.create"}),
    nested={"m.room.member": {"third_party_invite": frozenset({"signed"})}},
)

_V12 = RoomVersion("12", _REDACTION_11, state_resolution="v2.1")
_V11 = attrs.evolve(
    _V12, identifier="11", state_resolution="v2", room_id_is_hash=False, privileged_creators=False
)
_V10 = attrs.evolve(
    _V11, identifier="10", redaction=_REDACTION_9, implicit_creator=False, redacts_in_content=False
)

ROOM_VERSIONS: Mapping[str, RoomVersion] = {version.identifier: version for version in (_V10, _V11, _V12)}
DEFAULT_ROOM_VERSION = "12"
