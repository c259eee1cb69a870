"""Push rules, pushers and notifications: as Synapse answers."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.interop.alike import Caller, Scenario, differences
from tests.interop.synapse import Synapse
from tests.processes.harness import Server

RULES = "pushrules/global"
NOTIFY: Mapping[str, Any] = {"actions": ["notify"], "conditions": []}
MASTER = "override/.m.rule.master"
NOTICES = "override/.m.rule.suppress_notices"


def written_rules(caller: Caller) -> None:
    """Rules of one's own, good and bad, of each kind."""
    caller.register("ada")
    match = {"kind": "event_match", "key": "type", "pattern": "m.x"}
    rules: Mapping[str, tuple[str, Any]] = {
        "nothing": ("override/x", b""),
        "a list": ("override/x", []),
        "no fields": ("override/x", {}),
        "no actions": ("override/x", {"conditions": []}),
        "text as actions": ("override/x", {"actions": "notify", "conditions": []}),
        "a number as action": ("override/x", {"actions": [5], "conditions": []}),
        "an unknown action": ("override/x", {"actions": ["foo"], "conditions": []}),
        "an object without a tweak": ("override/x", {"actions": [{"foo": 1}], "conditions": []}),
        "text as conditions": ("override/x", {"actions": ["notify"], "conditions": "x"}),
        "a number as condition": ("override/x", {"actions": ["notify"], "conditions": [5]}),
        "a condition of no kind": ("override/x", {"actions": ["notify"], "conditions": [{}]}),
        "content without a pattern": ("content/x", {"actions": ["notify"]}),
        "a name of the server": ("override/.mine", NOTIFY),
        "a rule of the server": (MASTER, NOTIFY),
        "a backslash": ("override/a%5Cb", NOTIFY),
        "an unknown kind of condition": ("override/a", {"actions": [], "conditions": [{"kind": "foo"}]}),
        "an unknown tweak": ("override/b", {"actions": [{"set_tweak": "x", "value": {}}], "conditions": []}),
        "old actions": ("override/c", {"actions": ["coalesce", "dont_notify"], "conditions": []}),
        "no action": ("override/d", {"actions": [], "conditions": [match]}),
        "no ASCII": ("override/%C3%A9", NOTIFY),
        "a word": ("content/word", {"actions": ["notify"], "pattern": "cake*"}),
        "an empty word": ("content/empty", {"actions": ["notify"], "pattern": ""}),
        "a room": ("room/!a:b.c", {"actions": []}),
        "a sender": ("sender/@a:b.c", {"actions": ["notify"]}),
        "an underride": ("underride/u", NOTIFY),
    }
    for label, (path, rule) in rules.items():
        caller.call(label, "PUT", f"{RULES}/{path}", rule, "ada")
    caller.call("nobody", "PUT", f"{RULES}/override/x", NOTIFY)
    caller.call("POST", "POST", f"{RULES}/override/x", NOTIFY, "ada")
    show(caller, "all")


def order_of_rules(caller: Caller) -> None:
    """New rules go first, or where they are wanted."""
    caller.register("ada")
    for label, path in {
        "first": "one",
        "second": "two",
        "before": "three?before=one",
        "after": "four?after=two",
        "both": "five?before=one&after=two",
        "moved": "one?before=two",
        "changed": "two",
    }.items():
        caller.call(label, "PUT", f"{RULES}/override/{path}", NOTIFY, "ada")
        show(caller, f"{label}, all")
    for label, path in {
        "before nothing": "six?before=zz",
        "before a rule of the server": "six?before=.m.rule.master",
        "after one of another kind": "six?after=.m.rule.message",
    }.items():
        caller.call(label, "PUT", f"{RULES}/override/{path}", NOTIFY, "ada")


def show(caller: Caller, label: str) -> None:
    """Compares the user's own rules."""
    rules = caller.ask("GET", f"{RULES}/", by="ada")
    own = {
        kind: [rule for rule in found if not rule["default"]]
        for kind, found in rules.body.items()
        if kind != "postcontent"
    }
    caller.compare(label, own)


def parts_of_rules(caller: Caller) -> None:
    """`enabled` and `actions`, of one's own rule and of those of the server; deleted rules."""
    caller.register("ada")
    caller.call("a rule", "PUT", f"{RULES}/override/mine", NOTIFY, "ada")
    for label, body in {
        "off": {"enabled": False},
        "nothing": {},
        "text": {"enabled": "x"},
        "a number": {"enabled": 1},
        "null": {"enabled": None},
        "an empty body": b"",
    }.items():
        for path in ("override/mine", NOTICES, "override/zz", "override/.m.rule.zz", "content/mine"):
            caller.call(f"{path} enabled: {label}", "PUT", f"{RULES}/{path}/enabled", body, "ada")
    for label, body in {
        "good": {"actions": ["notify", {"set_tweak": "sound", "value": "x"}]},
        "nothing": {},
        "text": {"actions": "x"},
        "unknown": {"actions": ["foo"]},
    }.items():
        for path in ("override/mine", NOTICES, "override/zz", "override/.m.rule.zz"):
            caller.call(f"{path} actions: {label}", "PUT", f"{RULES}/{path}/actions", body, "ada")
    for path in ("override/mine", MASTER, NOTICES, "override/zz", "override/.m.rule.zz", "underride/mine"):
        for part in ("", "/enabled", "/actions"):
            caller.call(f"{path}{part}", "GET", f"{RULES}/{path}{part}", by="ada")
    caller.call("of nobody", "GET", f"{RULES}/override/mine")
    caller.call("all of nobody", "GET", "pushrules/")
    for label, path in {"one": "override/mine", "again": "override/mine", "master": MASTER}.items():
        caller.call(f"delete {label}", "DELETE", f"{RULES}/{path}", by="ada")
    caller.call("delete of nobody", "DELETE", f"{RULES}/override/mine")
    caller.call("the rule again", "PUT", f"{RULES}/override/mine", NOTIFY, "ada")
    caller.call("it is on", "GET", f"{RULES}/override/mine", by="ada")
    caller.call("as account data", "PUT", "user/{ada}/account_data/m.push_rules", {"global": {}}, "ada")


def pushers(caller: Caller) -> None:
    """Set, replaced, taken over, deleted; bad ones."""
    caller.register("ada", "bob")
    url = "https://push.test/_matrix/push/v1/notify"
    good = {
        "kind": "http",
        "app_id": "app",
        "pushkey": caller.unique("key"),
        "app_display_name": "A",
        "device_display_name": "D",
        "lang": "en",
        "data": {"url": url, "format": "event_id_only", "default_payload": {"a": 1}},
        "profile_tag": "t",
    }
    bodies: Mapping[str, Any] = {
        "an empty body": b"",
        "a list": [],
        **{
            f"without {name}": {key: value for key, value in good.items() if key != name}
            for name in good
            if name != "profile_tag"
        },
        "a key of null": {**good, "pushkey": None},
        "text as data": {**good, "data": "x"},
        "good": good,
        "another language": {**good, "lang": "de"},
        "plain HTTP": {**good, "data": {"url": url.replace("https", "http")}, "app_id": "plain"},
        "a query": {**good, "data": {"url": f"{url}?x=1"}, "app_id": "query"},
    }
    for label, body in bodies.items():
        caller.call(label, "POST", "pushers/set", body, "ada")
    caller.call("nobody", "POST", "pushers/set", good)
    caller.call("all of nobody", "GET", "pushers")
    deleted = {"kind": None, "app_id": "app", "pushkey": good["pushkey"]}
    for label, by, body in (
        ("all", "ada", None),
        ("beside", "bob", {**good, "append": True}),
        ("instead", "bob", good),
        ("deleted", "bob", deleted),
        ("deleted again", "bob", deleted),
        ("deleted without a key", "bob", {"kind": None, "app_id": "app"}),
        ("deleted, of others", "bob", {**deleted, "app_id": "plain"}),
    ):
        if body is not None:
            caller.call(label, "POST", "pushers/set", body, by)
        for user in ("ada", "bob"):
            caller.call(f"{label}: of {user}", "GET", "pushers", by=user)


def notifications(caller: Caller) -> None:
    """What notified, the newest first, in pages; what was read."""
    caller.register("ada", "bob", "carl")
    caller.room("den", "ada", preset="public_chat")
    for name in ("bob", "carl"):
        caller.ask("POST", "join/{den}", {}, name)
    conditions = [{"kind": "event_match", "key": "content.body", "pattern": "hello"}]
    rule = {"actions": ["notify", {"set_tweak": "highlight"}], "conditions": conditions}
    caller.ask("PUT", f"{RULES}/underride/all", rule, "bob")
    for name, content in {
        "hello": {"msgtype": "m.text", "body": "hello"},
        "plain": {"msgtype": "m.text", "body": "plain"},
        "notice": {"msgtype": "m.notice", "body": "hello"},
        "hello again": {"msgtype": "m.text", "body": "hello"},
    }.items():
        caller.send(name, "den", "ada", content)
    caller.call("of nobody", "GET", "notifications")
    first = caller.ask("GET", "notifications?limit=2", by="bob")
    following = caller.ask("GET", f"notifications?limit=2&from={first['next_token']}", by="bob")
    caller.ask("POST", "rooms/{den}/receipt/m.read/{plain}", {}, "bob")
    for label, answer in {
        "all": caller.ask("GET", "notifications", by="bob"),
        "highlights": caller.ask("GET", "notifications?only=highlight", by="bob"),
        "one's own": caller.ask("GET", "notifications", by="ada"),
        "the first two": first,
        "the third": following,
    }.items():
        found = answer["notifications"]
        told = ("actions", "read", "room_id", "ts")
        caller.compare(label, [{key: one[key] for key in told} for one in found])
        caller.compare(f"{label}: events", [one["event"]["event_id"] for one in found])
    for query in ("limit=-1", "limit=x", "from=x"):
        caller.call(query, "GET", f"notifications?{query}", by="bob")


NO_RULE = "404 says that the rule is not there"
PLACE = "only a rule that is created goes first, as the specification says"
BODY_FIRST = "the body is read before the rule"
HIGHLIGHT = "the predefined rules of the present specification"
SCENARIOS: Mapping[Scenario, Mapping[str, str]] = {
    written_rules: {},
    order_of_rules: {
        "changed, all: .override": PLACE,
        "before nothing: status": NO_RULE,
        "before a rule of the server: status": NO_RULE,
        "after one of another kind: status": NO_RULE,
    },
    parts_of_rules: {
        "override/.m.rule.zz enabled": BODY_FIRST,
        "override/.m.rule.zz actions": BODY_FIRST,
    },
    pushers: {"text as data: .errcode": "a value of the wrong type is M_BAD_JSON"},
    notifications: {f"{label}: [1].actions": HIGHLIGHT for label in ("all", "the first two")},
}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_push(scenario: Scenario, synapse: Synapse, server: Server) -> None:
    """Clients find what they find on Synapse."""
    wrong = differences(scenario, synapse, server, SCENARIOS[scenario])
    assert not wrong, "\n".join(wrong)
