from synapse_lite import canonical_json
from synapse_lite.matrix.push_rules import default_push_rules
from tests.matrix.builders import ALICE

OVERRIDE = [
    "master", "suppress_notices", "invite_for_me", "member_event", "is_user_mention", "is_room_mention",
    "tombstone", "reaction", "room.server_acl", "suppress_edits",
]  # fmt: skip
UNDERRIDE = ["call", "encrypted_room_one_to_one", "room_one_to_one", "message", "encrypted"]


def test_order_of_the_rules() -> None:
    """The rules come in the order of the specification, all of them enabled but the master."""
    rules = default_push_rules(ALICE)["global"]
    assert [rule["rule_id"] for rule in rules["override"]] == [f".m.rule.{name}" for name in OVERRIDE]
    assert [rule["rule_id"] for rule in rules["underride"]] == [f".m.rule.{name}" for name in UNDERRIDE]
    assert (rules["content"], rules["room"], rules["sender"]) == ([], [], [])
    everything = rules["override"] + rules["underride"]
    assert [rule["rule_id"] for rule in everything if not rule["enabled"]] == [".m.rule.master"]
    assert all(rule["default"] is True for rule in everything)


def test_rules_of_the_user() -> None:
    """Invites and mentions are those of this user."""
    override = {rule["rule_id"]: rule for rule in default_push_rules(ALICE)["global"]["override"]}
    assert override[".m.rule.invite_for_me"]["conditions"][2] == {
        "kind": "event_match",
        "key": "state_key",
        "pattern": ALICE,
    }
    assert override[".m.rule.is_user_mention"] == {
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
    mine = default_push_rules(ALICE)
    untouched = canonical_json.encode(mine)
    for rules in mine["global"].values():
        for rule in rules:
            rule["actions"].append("x")
            for part in [*rule["conditions"], *rule["actions"][:-1]]:
                if isinstance(part, dict):
                    part["x"] = 1
    assert canonical_json.encode(default_push_rules(ALICE)) == untouched
