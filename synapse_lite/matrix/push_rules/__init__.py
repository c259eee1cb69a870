"""Push rules: whether, and how, an event notifies a user (client-server API, "Push Rules")."""

from synapse_lite.matrix.push_rules.conditions import Context
from synapse_lite.matrix.push_rules.differences import Deviation, deviation
from synapse_lite.matrix.push_rules.evaluation import NOTHING, Actions, Evaluator, compile_rules
from synapse_lite.matrix.push_rules.notices import Notice, default_evaluator, notice_of
from synapse_lite.matrix.push_rules.ruleset import (
    change_rule,
    copy_room_rules,
    delete_rule,
    is_own_rule,
    put_rule,
    rule_of,
    rules_of,
)

__all__ = [
    "NOTHING",
    "Actions",
    "Context",
    "Deviation",
    "Evaluator",
    "Notice",
    "change_rule",
    "compile_rules",
    "copy_room_rules",
    "default_evaluator",
    "delete_rule",
    "deviation",
    "is_own_rule",
    "notice_of",
    "put_rule",
    "rule_of",
    "rules_of",
]
