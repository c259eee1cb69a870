"""What differs between room versions, as data ("Room Versions")."""

from collections.abc import Mapping
from typing import Literal

import attrs

from synapse_lite.canonical_json import MAX_SAFE_INTEGER

MAX_OLD_DEPTH = 2**63 - 1

StateResolution = Literal["v1", "v2", "v2.1"]


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
    state_resolution: StateResolution = "v2.1"  # v1 in 1, v2 from 2, v2.1 from 12
    redactions_by_auth_rules: bool = False  # true up to 2; then judged when they are applied
    event_id_is_hash: bool = True  # 3: events and what they refer to are named by hashes alone
    event_id_is_url_safe: bool = True  # 4
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

    @property
    def max_depth(self) -> int:
        """The largest `depth` of an event ("Event format")."""
        return MAX_SAFE_INTEGER if self.strict_canonical_json else MAX_OLD_DEPTH


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
_REDACTION_1 = RedactionRules(
    top_level=_KEPT | {"membership", "origin", "prev_state"},
    content={
        "m.room.aliases": frozenset({"aliases"}),
        "m.room.create": frozenset({"creator"}),
        "m.room.history_visibility": frozenset({"history_visibility"}),
        "m.room.join_rules": frozenset({"join_rule"}),
        "m.room.member": frozenset({"membership"}),
        "m.room.power_levels": _LEVELS,
    },
)


def _keeping(rules: RedactionRules, changes: Mapping[str, frozenset[str]]) -> RedactionRules:
    return attrs.evolve(rules, content={**rules.content, **changes})


_REDACTION_6 = _keeping(_REDACTION_1, {"m.room.aliases": frozenset()})
_REDACTION_8 = _keeping(_REDACTION_6, {"m.room.join_rules": frozenset({"allow", "join_rule"})})
_REDACTION_9 = _keeping(
    _REDACTION_8, {"m.room.member": frozenset({"join_authorised_via_users_server", "membership"})}
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

# From the newest to the oldest: each row says what the version does not have yet.
_V12 = RoomVersion("12", _REDACTION_11)
_V11 = attrs.evolve(
    _V12, identifier="11", state_resolution="v2", room_id_is_hash=False, privileged_creators=False
)
_V10 = attrs.evolve(
    _V11, identifier="10", redaction=_REDACTION_9, implicit_creator=False, redacts_in_content=False
)
_V9 = attrs.evolve(_V10, identifier="9", integer_power_levels=False, knock_restricted=False)
_V8 = attrs.evolve(_V9, identifier="8", redaction=_REDACTION_8)
_V7 = attrs.evolve(_V8, identifier="7", redaction=_REDACTION_6, restricted=False)
_V6 = attrs.evolve(_V7, identifier="6", knock=False)
_V5 = attrs.evolve(
    _V6,
    identifier="5",
    redaction=_REDACTION_1,
    strict_canonical_json=False,
    check_notification_levels=False,
    aliases_rule=True,
)
_V4 = attrs.evolve(_V5, identifier="4", enforce_key_validity=False)
_V3 = attrs.evolve(_V4, identifier="3", event_id_is_url_safe=False)
_V2 = attrs.evolve(_V3, identifier="2", event_id_is_hash=False, redactions_by_auth_rules=True)
_V1 = attrs.evolve(_V2, identifier="1", state_resolution="v1")

ROOM_VERSIONS: Mapping[str, RoomVersion] = {
    version.identifier: version for version in (_V1, _V2, _V3, _V4, _V5, _V6, _V7, _V8, _V9, _V10, _V11, _V12)
}
