"""What a user's own push rules change, for one room: mostly nothing, or all of it."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from synapse_lite.canonical_json import JsonObject, encode
from synapse_lite.matrix.push_rules.ruleset import KINDS, POSTCONTENT, rules_of

Outline = Sequence[tuple[bytes, bool, bool]]  # conditions, whether it notifies, whether it highlights


class Deviation(Enum):
    """How the rules of a user differ from the predefined ones, as far as counts go."""

    NONE = "not at all"
    MUTED = "nothing notifies"
    MENTIONS = "only what highlights by the predefined rules notifies"
    OTHER = "in some other way: each event has to be looked at"


def deviation(
    user_id: str, rules: Mapping[str, Sequence[JsonObject]], room_id: str, *, follows_threads: bool = False
) -> Deviation:
    """`rules` as `rules_of` returns them."""
    own = _outline(rules, room_id)
    if own[:1] == [_NOTHING]:
        return Deviation.MUTED
    predefined = rules_of(user_id, None, follows_threads=follows_threads)
    if own == _outline(predefined, room_id):
        return Deviation.NONE
    first = {kind: predefined.get(kind, ()) for kind in ("override", POSTCONTENT)}
    if own == [*_outline(first, room_id), _NOTHING]:
        return Deviation.MENTIONS
    return Deviation.OTHER


_NOTHING = (b"[]", False, False)


def _outline(rules: Mapping[str, Sequence[JsonObject]], room_id: str) -> list[tuple[bytes, bool, bool]]:
    """What of the enabled rules counts in that room, up to the first that fits everything."""
    outline = []
    for kind in KINDS:
        for rule in rules.get(kind, ()):
            conditions = _conditions(kind, rule, room_id) if rule["enabled"] else None
            if conditions is None:
                continue
            outline.append((encode(conditions), *_effect(rule["actions"])))
            if not conditions:
                return outline
    return outline


def _conditions(kind: str, rule: JsonObject, room_id: str) -> list[Any] | None:
    """Without those that are true of everything in the room; None when one is true of nothing there."""
    match kind:
        case "room":
            return [] if rule["rule_id"] == room_id else None
        case "sender" | "content":
            return [{"kind": kind, "id": rule["rule_id"], "pattern": rule.get("pattern")}]
    left = []
    for condition in rule.get("conditions", ()):
        if condition != {"kind": "event_match", "key": "room_id", "pattern": condition.get("pattern")}:
            left.append(condition)
        elif condition["pattern"].lower() != room_id.lower():
            if "*" not in condition["pattern"] and "?" not in condition["pattern"]:
                return None
            left.append(condition)
    return left


def _effect(actions: Sequence[Any]) -> tuple[bool, bool]:
    notifies = "notify" in actions
    tweaks = [action for action in actions if isinstance(action, dict)]
    loud = any(one["set_tweak"] == "highlight" and one.get("value", True) is True for one in tweaks)
    return notifies, notifies and loud
