"""The rules of a user: predefined, changed, own."""

from typing import Any

import pytest

from synapse_lite import canonical_json
from synapse_lite.errors import MatrixError
from synapse_lite.matrix.push_rules import (
    change_rule,
    copy_room_rules,
    delete_rule,
    put_rule,
    rule_of,
    rules_of,
)
from synapse_lite.matrix.push_rules.ruleset import MAX_OWN_RULES
from tests.matrix.builders import ALICE, BOB

KINDS = ["override", "content", "room", "sender", "underride"]
OVERRIDE = [
    "master", "suppress_notices", "invite_for_me", "member_event", "is_user_mention", "is_room_mention",
    "tombstone", "reaction", "room.server_acl", "suppress_edits",
]  # fmt: skip
UNDERRIDE = ["call", "encrypted_room_one_to_one", "room_one_to_one", "message", "encrypted"]
RULE: dict[str, Any] = {"actions": ["notify"]}
IDS = {"override": "mine", "underride": "mine", "content": "mine", "room": "!room:a.example", "sender": BOB}


def body_of(kind: str) -> dict[str, Any]:
    return RULE | {"content": {"pattern": "word"}}.get(kind, {})


def put(stored: dict[str, Any], kind: str, rule_id: str, **place: str) -> dict[str, Any]:
    return put_rule(stored, kind, rule_id, body_of(kind), place.get("before"), place.get("after"))


def ids_of(stored: dict[str, Any], kind: str = "override") -> list[str]:
    """Of the user's own rules, in order."""
    return [rule["rule_id"] for rule in rules_of(ALICE, stored)[kind] if not rule["default"]]


def refusal(function: Any, *arguments: Any) -> tuple[int, str]:
    with pytest.raises(MatrixError) as caught:
        function(*arguments)
    return caught.value.status, caught.value.errcode


def test_order_of_the_rules() -> None:
    """The rules come in the order of the specification, all of them enabled but the master."""
    rules = rules_of(ALICE, None)
    assert list(rules) == KINDS
    assert [rule["rule_id"] for rule in rules["override"]] == [f".m.rule.{name}" for name in OVERRIDE]
    assert [rule["rule_id"] for rule in rules["underride"]] == [f".m.rule.{name}" for name in UNDERRIDE]
    assert (rules["content"], rules["room"], rules["sender"]) == ([], [], [])
    everything = rules["override"] + rules["underride"]
    assert [rule["rule_id"] for rule in everything if not rule["enabled"]] == [".m.rule.master"]
    assert all(rule["default"] is True for rule in everything)


def test_rules_of_the_user() -> None:
    """Invites and mentions are those of this user."""
    assert rule_of(ALICE, None, "override", ".m.rule.invite_for_me")["conditions"][2] == {
        "kind": "event_match",
        "key": "state_key",
        "pattern": ALICE,
    }
    assert rule_of(ALICE, None, "override", ".m.rule.is_user_mention") == {
        "rule_id": ".m.rule.is_user_mention",
        "default": True,
        "enabled": True,
        "conditions": [
            {"kind": "event_property_contains", "key": r"content.m\.mentions.user_ids", "value": ALICE}
        ],
        "actions": ["notify", {"set_tweak": "sound", "value": "default"}, {"set_tweak": "highlight"}],
    }


def test_every_user_has_a_copy() -> None:
    """A change to one user's rules does not reach another's, not even inside a rule."""
    mine = rules_of(ALICE, None)
    untouched = canonical_json.encode(mine)
    for rules in mine.values():
        for rule in rules:
            rule["actions"].append("x")
            for part in [*rule["conditions"], *rule["actions"][:-1]]:
                if isinstance(part, dict):
                    part["x"] = 1
    assert canonical_json.encode(rules_of(ALICE, None)) == untouched


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_rule(kind: str) -> None:
    """It is enabled, no default, the most important one of its kind after the master rule, and gone when deleted."""
    stored = put(put({}, kind, IDS[kind]), kind, IDS[kind])  # twice: one rule
    rules = rules_of(ALICE, stored)[kind]
    expected = body_of(kind) | {"rule_id": IDS[kind], "enabled": True, "default": False}
    if kind in {"override", "underride"}:
        expected["conditions"] = []
    assert rules[1 if kind == "override" else 0] == expected
    assert rule_of(ALICE, stored, kind, IDS[kind]) == expected
    assert ids_of(stored, kind) == [IDS[kind]]
    gone = delete_rule(stored, kind, IDS[kind])
    assert rules_of(ALICE, gone) == rules_of(ALICE, None)
    assert refusal(delete_rule, gone, kind, IDS[kind]) == (404, "M_NOT_FOUND")


def test_places() -> None:
    """First, or right before or after another own rule; an old rule that is updated stays; `before` counts more."""
    stored = put(put(put({}, "override", "c"), "override", "b"), "override", "a")
    assert ids_of(stored) == ["a", "b", "c"]
    assert ids_of(put(stored, "override", "b")) == ["a", "b", "c"]
    table = [
        ("x", {"before": "a"}, "xabc"), ("x", {"before": "c"}, "abxc"), ("x", {"after": "a"}, "axbc"),
        ("x", {"after": "c"}, "abcx"), ("x", {"before": "b", "after": "c"}, "axbc"),
        ("a", {"before": "c"}, "bac"), ("a", {"after": "c"}, "bca"), ("c", {"before": "a"}, "cab"),
        ("c", {"after": "a"}, "acb"), ("b", {"after": "a"}, "abc"), ("b", {"before": "c"}, "abc"),
    ]  # fmt: skip
    for rule_id, place, expected in table:
        assert ids_of(put(stored, "override", rule_id, **place)) == list(expected), (rule_id, place)
    for other in ("unknown", ".m.rule.master", ".m.rule.tombstone", "x"):
        assert refusal(put_rule, stored, "override", "x", RULE, other, None) == (404, "M_NOT_FOUND")
        assert refusal(put_rule, stored, "override", "x", RULE, None, other) == (404, "M_NOT_FOUND")


@pytest.mark.parametrize(
    ("kind", "rule_id"), [("override", ".m.rule.master"), ("underride", ".m.rule.call"), ("content", "own")]
)
def test_changes(kind: str, rule_id: str) -> None:
    """Any rule can be enabled, disabled and given other actions, again and again."""
    stored = put({}, "content", "own")
    actions = ["notify", {"set_tweak": "sound", "value": "ring"}, {"set_tweak": "x.custom"}]
    for enabled in (False, True, False):
        stored = change_rule(stored, ALICE, kind, rule_id, "enabled", enabled)
        stored = change_rule(stored, ALICE, kind, rule_id, "actions", actions)
        rule = rule_of(ALICE, stored, kind, rule_id)
        assert (rule["enabled"], rule["actions"]) == (enabled, actions)
    others = [rule for one in rules_of(ALICE, stored).values() for rule in one if rule["rule_id"] != rule_id]
    untouched = [rule for one in rules_of(ALICE, put({}, "content", "own")).values() for rule in one]
    assert others == [rule for rule in untouched if rule["rule_id"] != rule_id]


def test_a_deleted_rule_comes_back_enabled() -> None:
    """Whether a rule is enabled goes with it; updating it keeps that."""
    stored = change_rule(put({}, "override", "a"), ALICE, "override", "a", "enabled", value=False)
    assert rule_of(ALICE, put(stored, "override", "a"), "override", "a")["enabled"] is False
    anew = put(delete_rule(stored, "override", "a"), "override", "a")
    assert rule_of(ALICE, anew, "override", "a")["enabled"] is True


@pytest.mark.parametrize("rule_id", ["unknown", ".m.rule.unknown", ".m.rule.call"])
def test_unknown_rules_are_not_changed(rule_id: str) -> None:
    """A rule that is not there, or of another kind, is 404."""
    assert refusal(change_rule, {}, ALICE, "override", rule_id, "enabled", True) == (404, "M_NOT_FOUND")
    assert refusal(change_rule, {}, ALICE, "override", rule_id, "actions", []) == (404, "M_NOT_FOUND")
    assert refusal(delete_rule, {}, "override", rule_id) == (404, "M_NOT_FOUND")
    assert refusal(rule_of, ALICE, {}, "override", rule_id) == (404, "M_NOT_FOUND")


BAD_RULES: list[tuple[str, str, dict[str, Any], str]] = [
    ("override", ".mine", RULE, "M_INVALID_PARAM"),
    ("override", ".m.rule.master", RULE, "M_INVALID_PARAM"),
    ("override", "", RULE, "M_INVALID_PARAM"),
    ("override", "a/b", RULE, "M_INVALID_PARAM"),
    ("override", "a\\b", RULE, "M_INVALID_PARAM"),
    ("override", "a\0b", RULE, "M_BAD_JSON"),
    ("override", "a" * 256, RULE, "M_TOO_LARGE"),
    ("room", "mine", RULE, "M_INVALID_PARAM"),
    ("sender", "mine", RULE, "M_INVALID_PARAM"),
    ("strange", "mine", RULE, "M_UNRECOGNIZED"),
    ("override", "a", {}, "M_MISSING_PARAM"),
    ("override", "a", {"actions": "notify"}, "M_INVALID_PARAM"),
    ("override", "a", {"actions": ["sing"]}, "M_INVALID_PARAM"),
    ("override", "a", {"actions": [{}]}, "M_INVALID_PARAM"),
    ("override", "a", {"actions": [["notify"]]}, "M_INVALID_PARAM"),
    ("override", "a", {"actions": [{"set_tweak": 5}]}, "M_INVALID_PARAM"),
    ("override", "a", {"actions": ["notify"] * 21}, "M_INVALID_PARAM"),
    ("content", "a", RULE, "M_INVALID_PARAM"),
    ("content", "a", RULE | {"pattern": 5}, "M_INVALID_PARAM"),
    ("content", "a", RULE | {"pattern": "x" * 256}, "M_INVALID_PARAM"),
    ("override", "a", RULE | {"conditions": {}}, "M_INVALID_PARAM"),
    ("override", "a", RULE | {"conditions": [{"kind": "unknown"}] * 101}, "M_INVALID_PARAM"),
    *(
        ("underride", "a", RULE | {"conditions": [condition]}, "M_INVALID_PARAM")
        for condition in (
            "x",
            {},
            {"kind": []},
            {"kind": "event_match"},
            {"kind": "event_match", "key": "type"},
            {"kind": "event_match", "key": 5, "pattern": "x"},
            {"kind": "event_match", "key": "type", "pattern": None},
            {"kind": "event_match", "key": "type", "pattern": "x" * 256},
            {"kind": "event_property_is", "key": "x"},
            {"kind": "event_property_is", "key": "x", "value": []},
            {"kind": "event_property_is", "key": "x", "value": 1.5},
            {"kind": "event_property_contains", "key": "x" * 256, "value": 1},
            {"kind": "room_member_count", "is": 2},
            {"kind": "room_member_count", "is": "two"},
            {"kind": "room_member_count", "is": "=2"},
            {"kind": "room_member_count"},
            {"kind": "sender_notification_permission", "key": None},
        )
    ),
]


@pytest.mark.parametrize(("kind", "rule_id", "body", "errcode"), BAD_RULES)
def test_malformed_rules(kind: str, rule_id: str, body: dict[str, Any], errcode: str) -> None:
    """They are refused with the reason, and when they are stored nevertheless, they are left out."""
    status = {"M_TOO_LARGE": 413, "M_UNRECOGNIZED": 404}.get(errcode, 400)
    assert refusal(put_rule, {}, kind, rule_id, body, None, None) == (status, errcode)
    stored = put({"own": {kind: [body | {"rule_id": rule_id, "enabled": True}]}}, "override", "good")
    assert ids_of(stored) == ["good"]


def test_unknown_conditions_may_be_stored() -> None:
    """A kind of condition of the future is kept as it is."""
    conditions = [{"kind": "org.example.moon", "phase": 5.5}]
    stored = put_rule({}, "override", "a", RULE | {"conditions": conditions}, None, None)
    assert rule_of(ALICE, stored, "override", "a")["conditions"] == conditions


@pytest.mark.parametrize(
    "stored",
    [
        {"own": 5, "changed": []},
        {"own": {"override": 5}, "changed": {"override": 5}},
        {"own": {"override": [5, None, {}, {"rule_id": 5, "enabled": True}]}},
        {"own": {"override": [{"rule_id": "a", "actions": []}]}},
        {"changed": {"override": {".m.rule.tombstone": 5, ".m.rule.reaction": {"enabled": 5, "actions": 5}}}},
    ],
)
def test_what_cannot_be_read_is_left_out(stored: dict[str, Any]) -> None:
    """Whatever is stored, the user has the predefined rules, and can change them."""
    assert rules_of(ALICE, stored) == rules_of(ALICE, None)
    changed = change_rule(put(stored, "override", "a"), ALICE, "override", ".m.rule.reaction", "actions", [])
    assert ids_of(changed) == ["a"]
    assert rule_of(ALICE, changed, "override", ".m.rule.reaction")["actions"] == []


def test_number_of_rules() -> None:
    """There is a limit over all kinds; at the limit old rules can still be updated and deleted."""
    rules = [{"rule_id": str(n), "enabled": True, "conditions": [], **RULE} for n in range(MAX_OWN_RULES)]
    stored = {"own": {"override": rules[:500], "underride": rules[500:]}}
    assert refusal(put_rule, stored, "room", IDS["room"], RULE, None, None) == (400, "M_INVALID_PARAM")
    put(stored, "override", "7")
    put(delete_rule(stored, "override", "7"), "room", IDS["room"])


def test_what_was_stored_stays_as_it_was() -> None:
    """The functions return what to store, and change nothing that they were given."""
    stored = change_rule(put({}, "override", "a"), ALICE, "override", "a", "enabled", value=False)
    before = canonical_json.encode(stored)
    put(stored, "override", "b")
    delete_rule(stored, "override", "a")
    change_rule(stored, ALICE, "override", "a", "actions", [])
    change_rule(stored, ALICE, "underride", ".m.rule.call", "enabled", value=False)
    assert canonical_json.encode(stored) == before


def test_rules_for_a_room_are_copied_for_another() -> None:
    """In their places, under the name of that room; not over what is there already, and no more than a user may have."""

    def about(room_id: str, **more: str) -> dict[str, Any]:
        condition = {"kind": "event_match", "key": "room_id", "pattern": room_id}
        return {"actions": [], "conditions": [condition, {"kind": "event_match", "key": "type", **more}]}

    stored: dict[str, Any] = {}
    for rule_id, body in (
        ("last", {"actions": ["notify"], "conditions": []}),
        ("!old:x", about("!old:x", pattern="a")),
        ("my !old:x", about("!old:x", pattern="b")),
        ("other", about("!other:x", pattern="c")),
    ):
        stored = put_rule(stored, "override", rule_id, body, None, None)
    copied = copy_room_rules(stored, "!old:x", "!new:x")["own"]["override"]
    assert [one["rule_id"] for one in copied] == [
        "other",
        "my !new:x",
        "my !old:x",
        "!new:x",
        "!old:x",
        "last",
    ]
    assert copied[1]["conditions"] == about("!new:x", pattern="b")["conditions"]
    assert copied[2:3] == stored["own"]["override"][1:2]
    once_more = copy_room_rules({"own": {"override": copied}}, "!old:x", "!new:x")
    assert once_more["own"]["override"] == copied
    for number in range(MAX_OWN_RULES - 5):
        stored = put_rule(stored, "underride", str(number), {"actions": []}, None, None)
    full = copy_room_rules(stored, "!old:x", "!new:x")["own"]
    assert [one["rule_id"] for one in full["override"]] == [
        "other",
        "my !new:x",
        "my !old:x",
        "!old:x",
        "last",
    ]
