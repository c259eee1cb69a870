"""The push rules of a user: the predefined ones with the user's changes, and the user's own.

What is stored of a user is what differs from the predefined rules, as JSON:
`{"own": {kind: [rule, …]}, "changed": {kind: {rule_id: {"enabled": …, "actions": …}}}}`, own rules with the
most important one first. Whatever of it cannot be read is left out.
"""

from collections.abc import Sequence
from typing import Any

from synapse_lite import ids
from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, invalid_param, missing_param, not_found
from synapse_lite.matrix.push_rules.conditions import MAX_TEXT_BYTES, is_condition
from synapse_lite.matrix.push_rules.defaults import default_rules

POSTCONTENT = "postcontent"
KINDS = ("override", "content", POSTCONTENT, "room", "sender", "underride")
"""In the order of their priority. Users have no rules of their own of kind `POSTCONTENT` (MSC4306)."""

MASTER = ".m.rule.master"
MAX_OWN_RULES = 1000
MAX_CONDITIONS = 100
MAX_ACTIONS = 20
_WORDS = frozenset({"notify", "dont_notify", "coalesce"})  # the last two mean nothing any more


def rules_of(user_id: str, stored: JsonObject | None, *, follows_threads: bool = False) -> JsonObject:
    """The rules by kind, in the form of `GET /pushrules/global/`; the first that matches an event counts.

    `follows_threads`: with those that look at the threads that the user follows (MSC4306).
    """
    defaults = default_rules(user_id, follows_threads=follows_threads)
    return {
        kind: _merged(kind, defaults.get(kind, []), stored or {})
        for kind in KINDS
        if kind != POSTCONTENT or follows_threads
    }


def rule_of(
    user_id: str, stored: JsonObject | None, kind: str, rule_id: str, *, follows_threads: bool = False
) -> JsonObject:
    """404 `M_NOT_FOUND` when the user has no such rule."""
    check_kind(kind)
    for rule in rules_of(user_id, stored, follows_threads=follows_threads).get(kind, ()):
        if rule["rule_id"] == rule_id:
            found: JsonObject = rule
            return found
    raise not_found("Push rule not found")


def check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise MatrixError(404, Errcode.UNRECOGNIZED, f"Unknown kind of push rules: {kind[:80]!r}")


def put_rule(
    stored: JsonObject, kind: str, rule_id: str, body: JsonObject, before: str | None, after: str | None
) -> JsonObject:
    """What to store when the user makes or replaces a rule of their own.

    A new rule comes first, an old one stays in its place, unless it shall stand right before or after
    another one of the user's; `before` counts more. Whether an old rule is enabled stays as it was. 400 for
    a malformed rule, 404 when there is no such other rule.
    """
    rule = _new_rule(kind, rule_id, body)
    own = _own(stored, kind)
    place = next((index for index, one in enumerate(own) if one["rule_id"] == rule_id), None)
    others = [one for one in own if one["rule_id"] != rule_id]
    if place is not None:
        rule["enabled"] = own[place]["enabled"]
    elif sum(len(_own(stored, one)) for one in KINDS) >= MAX_OWN_RULES:
        raise invalid_param(f"A user has at most {MAX_OWN_RULES} push rules of their own")
    if before is not None:
        place = _place_of(others, before)
    elif after is not None:
        place = _place_of(others, after) + 1
    place = place or 0
    return _with_own(stored, kind, [*others[:place], rule, *others[place:]])


def delete_rule(stored: JsonObject, kind: str, rule_id: str) -> JsonObject:
    """404 for what is no rule of the user's own."""
    check_kind(kind)
    own = _own(stored, kind)
    kept = [rule for rule in own if rule["rule_id"] != rule_id]
    if len(kept) == len(own):
        raise not_found("Push rule not found")
    return _with_own(stored, kind, kept)


def change_rule(
    stored: JsonObject,
    user_id: str,
    kind: str,
    rule_id: str,
    attribute: str,
    value: Any,
    *,
    follows_threads: bool = False,
) -> JsonObject:
    """Set `enabled` or `actions` of any rule. 400 for a value of the wrong shape, 404 for an unknown rule."""
    _check_attribute(attribute, value)
    rule_of(user_id, stored, kind, rule_id, follows_threads=follows_threads)
    own = _own(stored, kind)
    if any(rule["rule_id"] == rule_id for rule in own):
        changed = [rule | {attribute: value} if rule["rule_id"] == rule_id else rule for rule in own]
        return _with_own(stored, kind, changed)
    changes = _object(stored.get("changed"))
    of_kind = _object(changes.get(kind))
    of_rule = {**_object(of_kind.get(rule_id)), attribute: value}
    return {**stored, "changed": {**changes, kind: {**of_kind, rule_id: of_rule}}}


def copy_room_rules(stored: JsonObject, old: str, new: str) -> JsonObject:
    """With the user's rules for one room for another one too, in the same places, unless there is such a rule, or there are too many.

    Those are rules of kind `room`, and those with the condition that it is that room, by which clients mute one.
    """
    left = MAX_OWN_RULES - sum(len(_own(stored, kind)) for kind in KINDS)
    for kind in ("override", "room", "underride"):
        own = _own(stored, kind)
        taken = {rule["rule_id"] for rule in own}
        rules = []
        for rule in own:
            copy = _for_room(kind, rule, old, new)
            if copy is not None and copy["rule_id"] not in taken and left > 0:
                rules.append(copy)
                taken.add(copy["rule_id"])
                left -= 1
            rules.append(rule)
        if len(rules) > len(own):
            stored = _with_own(stored, kind, rules)
    return stored


def _for_room(kind: str, rule: JsonObject, old: str, new: str) -> JsonObject | None:
    """What a rule for one room is for another; None for a rule that is for no room, or some other."""
    if kind == "room":
        return {**rule, "rule_id": new} if rule["rule_id"] == old else None
    conditions, named = rule.get("conditions", []), {"kind": "event_match", "key": "room_id", "pattern": old}
    if named not in conditions:
        return None
    rule_id = rule["rule_id"].replace(old, new) if old in rule["rule_id"] else new
    changed = [{**named, "pattern": new} if one == named else one for one in conditions]
    return {**rule, "rule_id": rule_id, "conditions": changed}


def _check_attribute(attribute: str, value: Any) -> None:
    if attribute == "enabled" and not isinstance(value, bool):
        raise invalid_param("'enabled' must be a boolean")
    if attribute == "actions":
        _check_actions(value)


# Reading what is stored


def _merged(kind: str, defaults: Sequence[JsonObject], stored: JsonObject) -> list[JsonObject]:
    changes = _object(_object(stored.get("changed")).get(kind))
    predefined = [rule | _readable_changes(changes.get(rule["rule_id"])) for rule in defaults]
    own = [{**rule, "default": False} for rule in _own(stored, kind)]
    if predefined and predefined[0]["rule_id"] == MASTER:
        return [predefined[0], *own, *predefined[1:]]
    return [*own, *predefined]


def _own(stored: JsonObject, kind: str) -> list[JsonObject]:
    rules = _object(stored.get("own")).get(kind)
    return [rule for rule in rules if is_own_rule(kind, rule)] if isinstance(rules, list) else []


def _with_own(stored: JsonObject, kind: str, rules: Sequence[JsonObject]) -> JsonObject:
    return {**stored, "own": {**_object(stored.get("own")), kind: list(rules)}}


def is_own_rule(kind: str, rule: Any) -> bool:
    """Whether it can be stored as one that the user made."""
    if not isinstance(rule, dict) or not isinstance(rule.get("enabled"), bool):
        return False
    try:
        _new_rule(kind, rule["rule_id"], rule)
    except (MatrixError, KeyError, AttributeError):
        return False
    return True


def _readable_changes(changes: Any) -> JsonObject:
    readable = {}
    for attribute in ("enabled", "actions"):
        if isinstance(changes, dict) and attribute in changes:
            try:
                _check_attribute(attribute, changes[attribute])
            except MatrixError:
                continue
            readable[attribute] = changes[attribute]
    return readable


def _object(value: Any) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _place_of(rules: Sequence[JsonObject], rule_id: str) -> int:
    for place, rule in enumerate(rules):
        if rule["rule_id"] == rule_id:
            return place
    raise not_found(f"The user has no push rule {rule_id[:80]!r} of this kind")


# The shape of a rule


def _new_rule(kind: str, rule_id: str, body: JsonObject) -> JsonObject:
    check_kind(kind)
    if kind == POSTCONTENT:
        raise invalid_param(f"Rules of kind {POSTCONTENT!r} are the server's")
    _check_rule_id(kind, rule_id)
    if "actions" not in body:
        raise missing_param("actions")
    _check_actions(body["actions"])
    rule: JsonObject = {"rule_id": rule_id, "enabled": True, "actions": body["actions"]}
    if kind == "content":
        pattern = body.get("pattern")
        if not isinstance(pattern, str) or len(pattern.encode()) > MAX_TEXT_BYTES:
            raise invalid_param(f"'pattern' must be a string of at most {MAX_TEXT_BYTES} bytes")
        rule["pattern"] = pattern
    if kind in {"override", "underride"}:
        conditions = body.get("conditions", [])
        if not isinstance(conditions, list) or len(conditions) > MAX_CONDITIONS:
            raise invalid_param(f"'conditions' must be a list of at most {MAX_CONDITIONS} conditions")
        for condition in conditions:
            if not is_condition(condition):
                raise invalid_param(f"Malformed condition: {str(condition)[:80]}")
        rule["conditions"] = conditions
    return rule


def _check_rule_id(kind: str, rule_id: str) -> None:
    if rule_id.startswith("."):
        raise invalid_param("Rule ids that start with a dot are the server's")
    if not rule_id or "/" in rule_id or "\\" in rule_id:
        raise invalid_param("A rule id is not empty, and has no slashes and backslashes")
    ids.check_length("rule_id", rule_id)
    if kind == "room" and not ids.is_room_id(rule_id):
        raise invalid_param("The id of a room rule is the id of the room")
    if kind == "sender" and not ids.is_user_id(rule_id):
        raise invalid_param("The id of a sender rule is the id of the user")


def _check_actions(actions: Any) -> None:
    if not isinstance(actions, list) or len(actions) > MAX_ACTIONS:
        raise invalid_param(f"'actions' must be a list of at most {MAX_ACTIONS} actions")
    for action in actions:
        is_tweak = isinstance(action, dict) and isinstance(action.get("set_tweak"), str)
        if not is_tweak and not (isinstance(action, str) and action in _WORDS):
            raise invalid_param(f"Unrecognised action {str(action)[:80]}")
