"""Which of a user's push rules counts for an event."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from synapse_lite.canonical_json import JsonObject
from synapse_lite.matrix.event import Event
from synapse_lite.matrix.push_rules.conditions import (
    BODY,
    Condition,
    Context,
    Subject,
    compile_condition,
    equals,
    is_exact,
)
from synapse_lite.matrix.push_rules.ruleset import KINDS

_TYPE = "type"


@attrs.frozen
class Actions:
    """What happens: `tweaks` by name, with their values."""

    notify: bool = False
    tweaks: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def highlight(self) -> bool:
        return self.notify and self.tweaks.get("highlight") is True

    @property
    def sound(self) -> str | None:
        sound = self.tweaks.get("sound")
        return sound if isinstance(sound, str) else None


NOTHING = Actions()


@attrs.frozen
class _Rule:
    """`event_type`, in lower case, is the only one that can fulfil the conditions; None: any can."""

    event_type: str | None
    conditions: Sequence[Condition]
    actions: Actions

    def fits(self, subject: Subject, context: Context) -> bool:
        return all(condition(subject, context) for condition in self.conditions)


@attrs.frozen
class Evaluator:
    """The enabled rules of a user, in order. An event of the user's own does nothing."""

    user_id: str
    _rules: Sequence[_Rule]

    def __call__(self, event: Event, context: Context) -> Actions:
        if event.sender == self.user_id:
            return NOTHING
        subject, event_type = Subject(event), event.type.lower()
        for rule in self._rules:
            if rule.event_type in (None, event_type) and rule.fits(subject, context):
                return rule.actions
        return NOTHING


def compile_rules(user_id: str, rules: Mapping[str, Sequence[JsonObject]]) -> Evaluator:
    """`rules` as `rules_of` returns them. A rule with a condition that we do not know never counts."""
    compiled = [_compile(kind, rule) for kind in KINDS for rule in rules.get(kind, ()) if rule["enabled"]]
    return Evaluator(user_id, tuple(rule for rule in compiled if rule is not None))


def _compile(kind: str, rule: JsonObject) -> _Rule | None:
    actions = _actions(rule["actions"])
    match kind:
        case "content":
            return _Rule(None, (equals(BODY, rule["pattern"]),), actions)
        case "room" | "sender":
            return _Rule(None, (_is_of(f"{kind}_id" if kind == "room" else kind, rule["rule_id"]),), actions)
    event_type, others = _split_type(rule.get("conditions", []))
    conditions = [compile_condition(condition) for condition in others]
    known = [condition for condition in conditions if condition is not None]
    return _Rule(event_type, tuple(known), actions) if len(known) == len(conditions) else None


def _is_of(field: str, identifier: str) -> Condition:
    return lambda subject, _context: subject.value((field,)) == identifier


def _split_type(conditions: Sequence[JsonObject]) -> tuple[str | None, Sequence[JsonObject]]:
    """The type that one of the conditions asks for, and the other conditions."""
    for index, condition in enumerate(conditions):
        pattern = condition.get("pattern")
        is_type = condition.get("kind") == "event_match" and condition.get("key") == _TYPE
        if is_type and isinstance(pattern, str) and is_exact(pattern):
            return pattern.lower(), [*conditions[:index], *conditions[index + 1 :]]
    return None, conditions


def _actions(actions: Sequence[Any]) -> Actions:
    tweaks = {}
    for action in actions:
        if isinstance(action, dict):
            name = action["set_tweak"]
            tweaks[name] = action.get("value", True if name == "highlight" else None)
    return Actions("notify" in actions, tweaks)
