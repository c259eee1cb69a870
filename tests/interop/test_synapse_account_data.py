"""Profiles, account data, tags, filters, and what the server says of itself: as Synapse answers."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pytest

from tests.interop.alike import Caller, Scenario, differences
from tests.interop.synapse import Synapse
from tests.processes.harness import Server

FIELDS: Mapping[str, Any] = {
    "displayname": "Näme",
    "avatar_url": "mxc://synapse.test/abc",
    "m.tz": "Europe/London",
    "org.example.x": {"a": [1, 2]},
}


def profiles(caller: Caller) -> None:
    """Fields of a profile, set and deleted by oneself and by others."""
    caller.register("ada", "bob")
    caller.register("root", admin=True)
    path = "profile/{ada}"
    for label, asked in {
        "a new one": path,
        "unknown": "profile/@nobody:synapse.test",
        "no user id": "profile/zz",
    }.items():
        caller.call(label, "GET", asked)
    caller.call("with a bad token", "GET", path, by="bad")
    for name, value in FIELDS.items():
        field = f"{path}/{name}"
        caller.call(f"{name}: nobody", "PUT", field, {name: value})
        for label, body in {
            "nothing": {},
            "an empty body": b"",
            "a list": [],
            "another field": {"zz": value},
            "too long": {name: "x" * 70_000},
            "good": {name: value, "more": 1},
        }.items():
            caller.call(f"{name}: {label}", "PUT", field, body, "ada")
        caller.call(f"{name}: shown", "GET", field)
        caller.call(f"{name}: of others", "PUT", field, {name: value}, "bob")
        caller.call(f"{name}: by an administrator", "PUT", field, {name: value}, "root")
    caller.call("all", "GET", path)
    caller.call("an empty name", "PUT", f"{path}/displayname", {"displayname": ""}, "ada")
    caller.call("without a name", "GET", path)
    for name in FIELDS:
        caller.call(f"{name}: deleted by nobody", "DELETE", f"{path}/{name}")
        caller.call(f"{name}: deleted", "DELETE", f"{path}/{name}", by="ada")
        caller.call(f"{name}: deleted again", "DELETE", f"{path}/{name}", by="ada")
        caller.call(f"{name}: not there", "GET", f"{path}/{name}")
    caller.call("none", "GET", path)
    for name in ("UPPER", "a b", "é", "x" * 300):
        caller.call(f"odd: {name[:9]}", "PUT", f"{path}/{quote(name)}", {name: "x"}, "ada")


def account_data(caller: Caller) -> None:
    """For the account and for a room."""
    caller.register("ada", "bob")
    caller.room("den", "ada")
    for scope in ("", "/rooms/{den}"):
        path = f"user/{{ada}}{scope}/account_data"
        for by in (None, "bob"):
            caller.call(f"{scope} put by {by}", "PUT", f"{path}/m.x", {}, by)
            caller.call(f"{scope} got by {by}", "GET", f"{path}/m.x", by=by)
        for label, kind, body in (
            ("good", "m.x", {"a": [1, "é\0", None, True]}),
            ("a list", "m.x", []),
            ("text", "m.x", "x"),
            ("an empty body", "m.x", b""),
            ("no JSON", "m.x", b"{"),
            ("a float", "m.float", b'{"a":1.5}'),
            ("twice the same key", "m.twice", b'{"a":1,"a":2}'),
            ("no ASCII", "%C3%A9", {"x": 1}),
            ("a slash", "a%2Fb", {"x": 1}),
            ("fully read", "m.fully_read", {"event_id": "$x"}),
            ("push rules", "m.push_rules", {}),
            ("too much", "m.much", {"x": "y" * 70_000}),
            ("empty", "m.empty", {}),
        ):
            caller.call(f"{scope} {label}", "PUT", f"{path}/{kind}", body, "ada")
            if kind != "m.push_rules":
                caller.call(f"{scope} after {label}", "GET", f"{path}/{kind}", by="ada")
        caller.call(f"{scope} POST", "POST", f"{path}/m.x", {}, "ada")
        caller.call(f"{scope} DELETE", "DELETE", f"{path}/m.x", by="ada")
        caller.call(f"{scope} all", "GET", path, by="ada")
    for label, user in {"unknown": "@nobody:synapse.test", "bad": "zz"}.items():
        caller.call(f"{label} user", "GET", f"user/{user}/account_data/m.x", by="ada")
    caller.call("no room", "PUT", "user/{ada}/rooms/zz/account_data/m.x", {"a": 1}, "ada")
    caller.call("of no room", "GET", "user/{ada}/rooms/zz/account_data/m.x", by="ada")


def tags(caller: Caller) -> None:
    """Of a room, with their orders."""
    caller.register("ada", "bob")
    caller.room("den", "ada")
    path = "user/{ada}/rooms/{den}/tags"
    for label, body in {
        "an order": {"order": 0.5},
        "nothing": {},
        "a large order": {"order": 7},
        "null": {"order": None},
        "more": {"order": 0.1, "x": [1]},
        "an empty body": b"",
        "a list": [],
    }.items():
        caller.call(label, "PUT", f"{path}/u.{label.replace(' ', '')}", body, "ada")
    for by in (None, "bob"):
        caller.call(f"put by {by}", "PUT", f"{path}/u.x", {}, by)
        caller.call(f"got by {by}", "GET", path, by=by)
        caller.call(f"deleted by {by}", "DELETE", f"{path}/u.x", by=by)
    caller.call("no ASCII", "PUT", f"{path}/u.%C3%A9", {}, "ada")
    caller.call("unknown", "PUT", f"{path}/m.foo", {}, "ada")
    caller.call("all", "GET", path, by="ada")
    caller.call("deleted", "DELETE", f"{path}/u.anorder", by="ada")
    caller.call("deleted again", "DELETE", f"{path}/u.anorder", by="ada")
    caller.call("the rest", "GET", path, by="ada")


def filters(caller: Caller) -> None:
    """Stored as they came, or refused."""
    caller.register("ada", "bob")
    path = "user/{ada}/filter"
    timeline: Mapping[str, Any] = {
        "no limit": {"limit": 0},
        "unknown": {"foo": 1},
        "labels": {"org.matrix.labels": ["#x"]},
        "threads": {"unread_thread_notifications": True},
        "text for a flag": {"contains_url": "x"},
        "patterns": {"types": ["m.*"], "not_types": ["*", "a\\b"]},
        "relations": {"related_by_rel_types": ["m.thread"], "related_by_senders": ["@a:b"]},
    }
    bodies: Mapping[str, Any] = {
        "an empty body": b"",
        "a list": [],
        "all": {},
        "text as types": {"presence": {"types": "x"}},
        "a number as type": {"presence": {"types": [5]}},
        "bad rooms": {"room": {"rooms": ["zz"]}},
        "rooms": {"room": {"rooms": ["!a:b"], "include_leave": True}},
        "bad senders": {"presence": {"senders": ["zz"]}},
        "an unknown field": {"foo": 1},
        "an unknown format": {"event_format": "foo"},
        "a format": {"event_format": "federation"},
        "fields": {"event_fields": ["a.b", "c"]},
        "text as fields": {"event_fields": "x"},
        "lazy": {"room": {"state": {"lazy_load_members": True}}},
        "lazy as text": {"room": {"state": {"lazy_load_members": "x"}}},
        **{f"timeline: {label}": {"room": {"timeline": one}} for label, one in timeline.items()},
    }
    for label, body in bodies.items():
        answer = caller.ask("POST", path, body, "ada")
        caller.compare(f"{label}: status", answer.status)
        if answer.status == 200:
            caller.call(label, "GET", f"{path}/{answer['filter_id']}", by="ada")
            caller.call(f"{label}: bob", "GET", f"{path}/{answer['filter_id']}", by="bob")
    caller.call("nobody", "POST", path, {})
    caller.call("of others", "POST", path, {}, "bob")
    caller.call("unknown", "GET", f"{path}/99999", by="ada")


def the_server(caller: Caller) -> None:
    """Tokens for others, protocols, and paths that are none."""
    caller.register("ada", "bob")
    openid = "user/{ada}/openid/request_token"
    for by in (None, "bob", "ada"):
        caller.call(f"openid: {by}", "POST", openid, {}, by)
    info = "/_matrix/federation/v1/openid/userinfo"
    for label, query in {
        "nothing": "",
        "unknown": "?access_token=zz",
        "good": f"?access_token={caller.answers['openid: ada']['access_token']}",
    }.items():
        caller.call(f"whose token: {label}", "GET", f"{info}{query}")
    for path in ("voip/turnServer", "capabilities", "thirdparty/protocols", "thirdparty/protocol/irc"):
        caller.call(f"{path}: nobody", "GET", path)
    for path in ("thirdparty/protocols", "thirdparty/protocol/irc", "thirdparty/location", "thirdparty/user"):
        caller.call(path, "GET", path, by="ada")
    turn = caller.ask("GET", "voip/turnServer", by="ada")
    caller.compare("turn", {"uris": turn["uris"], "ttl": turn["ttl"]})
    told = caller.ask("GET", "capabilities", by="ada")["capabilities"]
    for name in ("m.change_password", "m.set_displayname", "m.set_avatar_url", "m.profile_fields"):
        caller.compare(name, told.get(name))
    caller.compare("m.get_login_token", told.get("m.get_login_token"))
    caller.compare("the room version", told["m.room_versions"]["default"])
    for path in ("/_matrix/client/v3/foo", "/_matrix/client/", "/_matrix/client/v9/login", "/_matrix"):
        caller.call(f"no path: {path}", "GET", path)
    caller.call("no method", "PATCH", "account/whoami", {}, "ada")
    caller.call("well known", "GET", "/.well-known/matrix/client")
    caller.call("auth_metadata", "GET", "/_matrix/client/v1/auth_metadata")
    for by in (None, "ada"):
        caller.call(f"whois: {by}", "GET", "admin/whois/{bob}", by=by)


def versions(caller: Caller) -> None:
    """All that Synapse has, for whoever asks."""
    found = caller.ask("GET", "/_matrix/client/versions")["versions"]
    caller.compare("versions", found[: found.index("v1.15") + 1])
    caller.call("with a bad token", "GET", "/_matrix/client/versions", by="bad")
    kept = caller.ask("GET", "/_matrix/client/versions").headers
    caller.compare("kept on the way", [kept["cache-control"], kept["vary"]])
    caller.call("POST", "POST", "/_matrix/client/versions", {})


SCENARIOS: Mapping[Scenario, Mapping[str, str]] = {
    profiles: {
        **{f"{name}: of others: status": "403, as specified" for name in ("displayname", "avatar_url")},
        **{f"{name}: not there: status": "404, as specified" for name in ("displayname", "avatar_url")},
    },
    account_data: {},
    tags: {},
    filters: {},
    the_server: {},
    versions: {},
}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_account_data(scenario: Scenario, synapse: Synapse, server: Server) -> None:
    """Clients find what they find on Synapse."""
    wrong = differences(scenario, synapse, server, SCENARIOS[scenario])
    assert not wrong, "\n".join(wrong)
