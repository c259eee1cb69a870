"""Which rule counts for an event."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synapse_lite.matrix.event import Event
from synapse_lite.matrix.push_rules import NOTHING, Actions, Context, compile_rules, put_rule, rules_of
from synapse_lite.matrix.push_rules.conditions import Subject, compile_condition
from synapse_lite.matrix.push_rules.ruleset import change_rule
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from tests.matrix.builders import ALICE, BOB

SOUND = Actions(notify=True, tweaks={"sound": "default"})
NOTIFY = Actions(notify=True)
HIGHLIGHT = Actions(notify=True, tweaks={"highlight": True})
SILENT = Actions(notify=False)
SMALL = Context(2, lambda _key: False, "Ally")
LARGE = Context(3, lambda _key: False, "Ally")
POWERFUL = Context(3, lambda key: key == "room")
ROOM = "!room:a.example"


def event(event_type: str, content: dict[str, Any], state_key: str | None = None, sender: str = BOB) -> Event:
    pdu: dict[str, Any] = {
        "room_id": ROOM, "type": event_type, "sender": sender, "content": content, "origin_server_ts": 1,
        "depth": 1, "prev_events": [], "auth_events": [],
    }  # fmt: skip
    if state_key is not None:
        pdu["state_key"] = state_key
    return Event.from_pdu(pdu, ROOM_VERSIONS["11"], "$x")


def message(body: Any = "hi", **more: Any) -> Event:
    return event("m.room.message", {"msgtype": "m.text", "body": body, **more})


DEFAULTS: list[tuple[Event, Context, Actions]] = [
    (message(), LARGE, NOTIFY),
    (message(), SMALL, SOUND),
    (event("m.room.encrypted", {}), LARGE, NOTIFY),
    (event("m.room.encrypted", {}), SMALL, SOUND),
    (event("m.room.message", {"msgtype": "m.notice", "body": "x"}), SMALL, SILENT),
    (event("m.room.member", {"membership": "invite"}, ALICE), SMALL, SOUND),
    (event("m.room.member", {"membership": "invite"}, BOB), SMALL, SILENT),
    (event("m.room.member", {"membership": "join"}, ALICE), SMALL, SILENT),
    (
        message(**{"m.mentions": {"user_ids": [BOB, ALICE]}}),
        LARGE,
        Actions(notify=True, tweaks={"sound": "default", "highlight": True}),
    ),
    (message(**{"m.mentions": {"user_ids": [BOB]}}), LARGE, NOTIFY),
    (message(**{"m.mentions": {"user_ids": ALICE}}), LARGE, NOTIFY),
    (message(**{"m.mentions": {"room": True}}), POWERFUL, HIGHLIGHT),
    (message(**{"m.mentions": {"room": True}}), LARGE, NOTIFY),
    (message(**{"m.mentions": {"room": 1}}), POWERFUL, NOTIFY),
    (message(**{"m.mentions": {"room": "true"}}), POWERFUL, NOTIFY),
    (event("m.room.tombstone", {}, ""), LARGE, HIGHLIGHT),
    (event("m.room.tombstone", {}, "other"), LARGE, NOTHING),
    (event("m.room.tombstone", {}), LARGE, NOTHING),
    (event("m.reaction", {}), SMALL, SILENT),
    (event("m.room.server_acl", {}, ""), SMALL, SILENT),
    (message(**{"m.relates_to": {"rel_type": "m.replace", "event_id": "$y"}}), SMALL, SILENT),
    (
        event("m.room.encrypted", {"m.relates_to": {"rel_type": "m.replace"}, "m.mentions": {"user_ids": [ALICE]}}),
        SMALL,
        Actions(notify=True, tweaks={"sound": "default", "highlight": True}),
    ),
    (event("m.call.invite", {}), LARGE, Actions(notify=True, tweaks={"sound": "ring"})),
    (event("m.room.name", {}, ""), SMALL, NOTHING),
    (event("x.unknown", {}), SMALL, NOTHING),
    (event("m.room.message", {"body": "x"}, sender=ALICE), SMALL, NOTHING),
]  # fmt: skip


@pytest.mark.parametrize(("subject", "context", "expected"), DEFAULTS)
def test_predefined_rules(subject: Event, context: Context, expected: Actions) -> None:
    """What every user is told of, and how, without any change to the rules."""
    assert compile_rules(ALICE, rules_of(ALICE, None))(subject, context) == expected


def test_master_rule() -> None:
    """Once it is enabled, nothing notifies, whatever own rules there are."""
    stored = put_rule({}, "override", "all", {"actions": ["notify"]}, None, None)
    assert compile_rules(ALICE, rules_of(ALICE, stored))(event("x", {}), LARGE) == NOTIFY
    off = change_rule(stored, ALICE, "override", ".m.rule.master", "enabled", value=True)
    for subject, context, _ in DEFAULTS:
        assert compile_rules(ALICE, rules_of(ALICE, off))(subject, context) == SILENT


def own(kind: str, rule_id: str, sound: str, **body: Any) -> dict[str, Any]:
    actions = ["notify", {"set_tweak": "sound", "value": sound}]
    return {"kind": kind, "rule_id": rule_id, "body": {"actions": actions, **body}}


def test_order_of_the_kinds() -> None:
    """Override, content, room, sender, underride; within a kind the order of the user."""
    rules = [
        own("underride", "u", "underride"),
        own("sender", BOB, "sender"),
        own("room", ROOM, "room"),
        own("content", "c", "content", pattern="word"),
        own("override", "second", "second"),
        own("override", "first", "first"),
    ]
    stored: dict[str, Any] = {}
    for rule in rules:
        stored = put_rule(stored, rule["kind"], rule["rule_id"], rule["body"], None, None)
    subject = message("a word")
    for sound in ("first", "second", "content", "room", "sender", "underride"):
        assert compile_rules(ALICE, rules_of(ALICE, stored))(subject, LARGE).sound == sound
        top = rules.pop()
        stored = change_rule(stored, ALICE, top["kind"], top["rule_id"], "enabled", value=False)
    assert compile_rules(ALICE, rules_of(ALICE, stored))(subject, LARGE) == NOTIFY


def test_a_rule_with_an_unknown_condition_never_counts() -> None:
    """Conditions of the future switch a rule off, instead of widening it."""
    conditions = [{"kind": "org.example.moon"}, {"kind": "room_member_count", "is": ">0"}]
    stored = put_rule({}, "override", "a", {"actions": [], "conditions": conditions}, None, None)
    assert compile_rules(ALICE, rules_of(ALICE, stored))(message(), LARGE) == NOTIFY


def test_actions() -> None:
    """Old words mean nothing; a highlight may be switched off; unknown tweaks are handed on."""
    table: list[tuple[list[Any], bool, bool, str | None]] = [
        ([], False, False, None),
        (["dont_notify"], False, False, None),
        (["coalesce"], False, False, None),
        (["notify", {"set_tweak": "highlight"}], True, True, None),
        (["notify", {"set_tweak": "highlight", "value": True}], True, True, None),
        (["notify", {"set_tweak": "highlight", "value": False}], True, False, None),
        ([{"set_tweak": "highlight"}], False, False, None),
        (["notify", {"set_tweak": "sound", "value": "x"}], True, False, "x"),
        (["notify", {"set_tweak": "sound"}], True, False, None),
    ]
    for actions, notify, highlight, sound in table:
        stored = put_rule({}, "override", "a", {"actions": actions}, None, None)
        done = compile_rules(ALICE, rules_of(ALICE, stored))(message(), LARGE)
        assert (done.notify, done.highlight, done.sound) == (notify, highlight, sound)


def fits(condition: dict[str, Any], subject: Event, context: Context = LARGE) -> bool:
    compiled = compile_condition(condition)
    assert compiled is not None
    return compiled(Subject(subject), context)


@pytest.mark.parametrize(
    ("key", "pattern", "expected"),
    [
        ("type", "M.ROOM.MESSAGE", True),
        ("type", "m.room.*", True),
        ("type", "m.room", False),
        ("type", "m?room?message", True),
        ("sender", BOB, True),
        ("room_id", ROOM, True),
        ("state_key", "", False),
        ("content.body", "the CAT", True),
        ("content.body", "ca?", True),
        ("content.body", "ca", False),
        ("content.body", "sat*mat", True),
        ("content.body", "s*t", True),
        ("content.msgtype", "m.te", False),
        ("content.number", "1", False),
        ("content.flag", "true", False),
        ("content.nothing", "null", False),
        ("content.nested.deep", "x", True),
        ("content.dotted.key", "nested", True),
        (r"content.dotted\.key", "flat", True),
        ("content.missing", "*", False),
        ("content", "*", False),
        ("content.body.x", "*", False),
        (r"content.back\\slash", "y", True),
    ],
)
def test_event_match(key: str, pattern: str, expected: bool) -> None:
    """Texts only, without regard to case, as a whole; in the body by words."""
    subject = message(
        "The cat sat on the mat",
        number=1, flag=True, nothing=None, nested={"deep": "x"}, dotted={"key": "nested"},
        **{"dotted.key": "flat", "back\\slash": "y"},
    )  # fmt: skip
    assert fits({"kind": "event_match", "key": key, "pattern": pattern}, subject) is expected


VALUES = [True, False, 1, 0, "1", "true", "", None]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("found", [*VALUES, [], {}, [1]])
def test_properties_are_compared_with_their_type(value: Any, found: Any) -> None:
    """True is not 1 and not "true"; lists and objects equal nothing, but a list contains its items."""
    is_same = type(value) is type(found) and value == found
    subject = message(found=found, listed=[{}, [], found])
    key = {"key": "content.found", "value": value}
    assert fits({"kind": "event_property_is", **key}, subject) is is_same
    assert fits({"kind": "event_property_contains", **key}, subject) is (
        found == [1] and type(value) is int and value == 1
    )
    contains = {"kind": "event_property_contains", "key": "content.listed", "value": value}
    assert fits(contains, subject) is is_same
    assert not fits({"kind": "event_property_is", "key": "content.missing", "value": value}, subject)


@pytest.mark.parametrize(
    ("text", "counts"),
    [("2", {2}), ("==2", {2}), ("<2", {0, 1}), (">2", {3, 4}), ("<=2", {0, 1, 2}), (">=2", {2, 3, 4})],
)
def test_member_count(text: str, counts: set[int]) -> None:
    """Equal without a prefix."""
    condition = {"kind": "room_member_count", "is": text}
    fitting = {n for n in range(5) if fits(condition, message(), Context(n, lambda _key: True))}
    assert fitting == counts


def test_sender_notification_permission() -> None:
    """The sender's level decides, by key."""
    for key in ("room", "other"):
        condition = {"kind": "sender_notification_permission", "key": key}
        assert fits(condition, message(), POWERFUL) is (key == "room")


@pytest.mark.parametrize(
    ("name", "body", "expected"),
    [
        ("Ally", "hey ally!", True),
        ("ALLY", "Ally?", True),
        ("Ally", "really", False),
        ("Ally", "ally_", False),
        ("[Ally]", "a [ally] b", True),
        ("[Ally]", "a", False),
        ("A*", "a* here", True),
        ("A*", "abc here", False),
        ("A.?", "a.? here", True),
        ("A.?", "abc here", False),
        ("D'Angelo", "where is d'angelo", True),
        ("test", "testü", True),
        ("検索", "全文検索する", True),
        ("", "anything", False),
        (None, "anything", False),
        ("Ally", "", False),
        ("Ally", 5, False),
    ],
)
def test_display_names(name: str | None, body: Any, expected: bool) -> None:
    """A name is a text, no pattern, and stands between word boundaries."""
    assert (
        fits({"kind": "contains_display_name"}, message(body), Context(3, lambda _key: False, name))
        is expected
    )


@given(st.text(max_size=30), st.text(max_size=60), st.text(max_size=10))
def test_any_text_is_evaluated(pattern: str, body: str, name: str) -> None:
    """No pattern, body or name of whatever characters breaks the evaluation."""
    stored = put_rule({}, "content", "a", {"actions": [], "pattern": pattern}, None, None)
    conditions = [{"kind": "contains_display_name"}, {"kind": "event_match", "key": pattern, "pattern": body}]
    stored = put_rule(stored, "override", "b", {"actions": [], "conditions": conditions}, None, None)
    compile_rules(ALICE, rules_of(ALICE, stored))(message(body), Context(1, lambda _key: True, name))
