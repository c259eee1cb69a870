"""The push rules of a user, in the form of `matrix/push_rules/ruleset.py`."""

from synapse_lite import canonical_json
from synapse_lite.canonical_json import JsonObject
from synapse_lite.cli.import_synapse.target import UNREADABLE, Import
from synapse_lite.errors import bad_json
from synapse_lite.matrix.push_rules import is_own_rule
from synapse_lite.matrix.push_rules.ruleset import KINDS
from synapse_lite.storage.synapse.database import SynapseRow
from synapse_lite.storage.synapse.user_state import SynapsePushRules

PREDEFINED = "."  # their ids begin with it


def stored_rules(work: Import, found: SynapsePushRules) -> JsonObject:
    """What cannot be read is named, and left out."""
    own: dict[str, list[JsonObject]] = {}
    changed: dict[str, dict[str, JsonObject]] = {}
    enabled = {row["rule_id"]: bool(row["enabled"]) for row in found.enabled}
    for row in (*found.rules, *found.enabled):
        try:
            kind, rule_id = _place(row["rule_id"])
            if rule_id.startswith(PREDEFINED):
                changed.setdefault(kind, {}).setdefault(rule_id, {}).update(_change(row))
            elif "actions" in row:
                own.setdefault(kind, []).append(
                    _own_rule(row, kind, rule_id, enabled.get(row["rule_id"], True))
                )
        except UNREADABLE:
            work.refuse("push rules", f"{found.user_id} {row['rule_id']}")
    return {"own": own, "changed": changed}


def _place(text: str) -> tuple[str, str]:
    """Kind and id: `global/override/.m.rule.master`."""
    scope, kind, rule_id = text.split("/", 2)
    if scope != "global" or kind not in KINDS:
        raise bad_json("No rule")
    return kind, rule_id


def _change(row: SynapseRow) -> JsonObject:
    """Of a predefined rule."""
    if "actions" in row:
        return {"actions": canonical_json.decode(row["actions"])}
    return {"enabled": bool(row["enabled"])}


def _own_rule(row: SynapseRow, kind: str, rule_id: str, enabled: bool) -> JsonObject:
    """Of some kinds the conditions follow from the id."""
    rule: JsonObject = {
        "rule_id": rule_id,
        "enabled": enabled,
        "actions": canonical_json.decode(row["actions"]),
    }
    conditions = canonical_json.decode(row["conditions"])
    if kind == "content":
        rule["pattern"] = conditions[0]["pattern"]
    if kind in {"override", "underride"}:
        rule["conditions"] = conditions
    if not is_own_rule(kind, rule):
        raise bad_json("No rule")
    return rule
