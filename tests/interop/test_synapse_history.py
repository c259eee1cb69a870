"""The same requests to Synapse and to this server: what was said in rooms, and what relates to it."""

import json
from typing import Any
from urllib.parse import quote

from tests.interop.alike import Caller, differences
from tests.interop.synapse import Synapse
from tests.processes.harness import Server

V1 = "/_matrix/client/v1/rooms/{den}"
FAR = 9_999_999_999_999
_END = "the specification has no `end` where there is no more"


def _json(value: Any) -> str:
    return quote(json.dumps(value))


def _say(caller: Caller, name: str, by: str = "ada", **more: Any) -> None:
    caller.send(name, "den", by, {"msgtype": "m.text", "body": name, **more})


def _relate(caller: Caller, name: str, kind: str, parent: str, by: str = "ada", **more: Any) -> None:
    relation = {"rel_type": kind, "event_id": caller.names[parent]}
    if kind == "m.annotation":
        content = {"m.relates_to": {**relation, "key": name}}
        caller.send(name, "den", by, content, "m.reaction")
        return
    if kind == "m.replace":
        more["m.new_content"] = {"msgtype": "m.text", "body": name}
    _say(caller, name, by, **{"m.relates_to": relation, **more})


def history(caller: Caller) -> None:
    """Pages, filters, single events and what is around them, for members, strangers and those who left."""
    caller.register("ada", "bob", "cy")
    caller.room("den", "ada", preset="public_chat", name="N")
    for number in range(4):
        _say(caller, f"a{number}")
    caller.ask("POST", "join/{den}", {}, "bob")
    _say(caller, "b0", "bob", url="mxc://a/b")
    caller.ask("PUT", "rooms/{den}/state/m.room.topic", {"topic": "t"}, "ada")
    _relate(caller, "x", "m.annotation", "a1", "bob")
    _pages(caller)
    _single(caller)
    caller.ask("POST", "rooms/{den}/leave", {}, "bob")
    _say(caller, "later")
    caller.ask("PUT", "rooms/{den}/state/m.room.topic", {"topic": "later"}, "ada")
    for name, path in {
        "messages": "messages?dir=b&limit=4",
        "state": "state",
        "topic": "state/m.room.topic",
        "joined members": "joined_members",
        "a later event": "event/{later}",
        "an earlier event": "event/{b0}",
        "context": "context/{b0}?limit=4",
        "later context": "context/{later}",
    }.items():
        caller.call(f"left: {name}", "GET", f"rooms/{{den}}/{path}", by="bob")


def _pages(caller: Caller) -> None:
    for name, query in {
        "no direction": "",
        "a wrong direction": "dir=x",
        "backwards": "dir=b&limit=5",
        "forwards": "dir=f&limit=5",
        "none": "dir=b&limit=0",
        "no number": "dir=b&limit=x",
        "no token": "dir=b&from=x",
        "to no token": "dir=b&to=x",
        "of a type": "dir=b&limit=3&filter=" + _json({"types": ["m.room.mes*"]}),
        "of other types": "dir=b&limit=2&filter=" + _json({"not_types": ["m.room.*"]}),
        "of a sender": "dir=b&limit=2&filter=" + _json({"senders": [caller.names["bob"]]}),
        "with a link": "dir=b&limit=1&filter=" + _json({"contains_url": True}),
        "with reactions": "dir=b&limit=1&filter=" + _json({"related_by_rel_types": ["m.annotation"]}),
        "with members": "dir=b&limit=2&filter=" + _json({"lazy_load_members": True}),
        "of another room": "dir=b&filter=" + _json({"rooms": ["!x:y"]}),
        "no filter": "dir=b&filter=x",
    }.items():
        caller.call(name, "GET", f"rooms/{{den}}/messages?{query}", by="ada")
    for direction in "bf":
        start = ""
        for number in range(4):
            path = f"rooms/{{den}}/messages?dir={direction}&limit=3{start}"
            answer = caller.call(f"page {direction}{number}", "GET", path, by="ada")
            start = f"&from={answer['end']}"
    caller.call("stranger", "GET", "rooms/{den}/messages?dir=b", by="cy")
    caller.call("no room", "GET", "rooms/!no:synapse.test/messages?dir=b", by="ada")


def _single(caller: Caller) -> None:
    for by in ("ada", "cy"):
        caller.call(f"event to {by}", "GET", "rooms/{den}/event/{a1}", by=by)
        caller.call(f"context to {by}", "GET", "rooms/{den}/context/{a1}?limit=4", by=by)
        caller.call(f"members to {by}", "GET", "rooms/{den}/members?not_membership=leave", by=by)
        caller.call(f"joined members to {by}", "GET", "rooms/{den}/joined_members", by=by)
        caller.call(f"moment to {by}", "GET", f"{V1}/timestamp_to_event?dir=b&ts={FAR}", by=by)
    caller.call("no event", "GET", "rooms/{den}/event/$no", by="ada")
    caller.call("context of none", "GET", "rooms/{den}/context/$no", by="ada")
    caller.call("the event alone", "GET", "rooms/{den}/context/{a1}?limit=0", by="ada")
    query = _json({"types": ["m.room.message"], "lazy_load_members": True})
    caller.call("messages around", "GET", f"rooms/{{den}}/context/{{a1}}?limit=3&filter={query}", by="ada")
    for name, query in {
        "first": "dir=f&ts=0",
        "after all": f"dir=f&ts={FAR}",
        "before all": "dir=b&ts=0",
        "no time": "dir=b",
        "a wrong way": "dir=x&ts=0",
    }.items():
        caller.call(name, "GET", f"{V1}/timestamp_to_event?{query}", by="ada")


HISTORY_ALLOWED = {
    "of other types: .end": _END,
    "with a link: .end": _END,
    "with reactions: .end": _END,
    "left: context: .events_before": "what is shared is shown to all who have joined since, also when they have left",
    "left: later context: status": "what is hidden is as what is unknown",
}


def relations(caller: Caller) -> None:
    """What may relate to what, and how it is shown: with events, by itself, as threads."""
    caller.register("ada", "bob", "cy")
    caller.room("den", "ada", preset="public_chat")
    caller.ask("POST", "join/{den}", {}, "bob")
    for name in ("root", "plain", "other root"):
        _say(caller, name)
    _relate(caller, "like", "m.annotation", "plain", "bob")
    _relate(caller, "first edit", "m.replace", "plain")
    _relate(caller, "edit of another", "m.replace", "plain", "bob")
    _relate(caller, "second edit", "m.replace", "plain")
    _relate(caller, "reference", "m.reference", "plain", "bob")
    for number, by in enumerate(("bob", "ada", "bob")):
        _relate(caller, f"reply {number}", "m.thread", "root", by)
    _relate(caller, "edited reply", "m.replace", "reply 1")
    _relate(caller, "like a reply", "m.annotation", "reply 2", "bob")
    _relate(caller, "other reply", "m.thread", "other root", "bob")
    _refused(caller)
    _related(caller)
    for number, name in enumerate(("reply 2", "like", "second edit")):
        caller.ask("PUT", f"rooms/{{den}}/redact/{{{name}}}/{number}", {}, "ada")
    for name in ("plain", "root"):
        caller.call(f"{name} after redactions", "GET", f"rooms/{{den}}/event/{{{name}}}", by="bob")
    caller.call("relations after redactions", "GET", f"{V1}/relations/{{plain}}", by="bob")
    caller.call("thread after redactions", "GET", f"{V1}/relations/{{root}}/m.thread", by="bob")


def _refused(caller: Caller) -> None:
    path = "rooms/{den}/send"
    for name, kind, parent, key in (
        ("the same again", "m.annotation", "plain", "like"),
        ("too long a key", "m.annotation", "plain", "k" * 300),
        ("no key", "m.annotation", "plain", None),
        ("a thread of a reply", "m.thread", "reply 0", None),
        ("a thread of a reaction", "m.thread", "like", None),
    ):
        relation = {"rel_type": kind, "event_id": caller.names[parent], **({"key": key} if key else {})}
        body = {"msgtype": "m.text", "body": "x", "m.relates_to": relation}
        sort = "m.reaction" if kind == "m.annotation" else "m.room.message"
        caller.call(name, "PUT", f"{path}/{sort}/{quote(name)}", body, "bob")


def _related(caller: Caller) -> None:
    for name in ("plain", "root", "reply 1"):
        for by in ("ada", "bob"):
            caller.call(f"{name} to {by}", "GET", f"rooms/{{den}}/event/{{{name}}}", by=by)
    for name, rest in {
        "all": "{plain}",
        "oldest first": "{plain}?dir=f",
        "reactions": "{plain}/m.annotation/m.reaction",
        "edits": "{plain}/m.replace",
        "thread": "{root}/m.thread",
        "whole tree": "{root}?recurse=true",
        "wrong way": "{plain}?dir=x",
        "wrong start": "{plain}?from=x",
        "none": "{like}",
        "of no event": "$no",
    }.items():
        caller.call(f"relations: {name}", "GET", f"{V1}/relations/{rest}", by="bob")
    start = ""
    for number in range(3):
        path = f"{V1}/relations/{{plain}}?limit=2{start}"
        answer = caller.call(f"relations: page {number}", "GET", path, by="bob")
        start = f"&from={answer.body.get('next_batch', '')}"
    for query in ("", "?include=participated", "?include=x", "?limit=1"):
        caller.call(f"threads {query}", "GET", f"{V1}/threads{query}", by="bob")
    caller.call("threads to a stranger", "GET", f"{V1}/threads", by="cy")


def invitations(caller: Caller) -> None:
    """What the invited read of a room whose history the invited may read."""
    caller.register("ada", "bob")
    visibility = {"type": "m.room.history_visibility", "content": {"history_visibility": "invited"}}
    caller.room("den", "ada", preset="private_chat", initial_state=[visibility])
    caller.send("before", "den", "ada", {"body": "before", "msgtype": "m.text"})
    caller.ask("POST", "rooms/{den}/invite", {"user_id": caller.names["bob"]}, "ada")
    caller.send("after", "den", "ada", {"body": "after", "msgtype": "m.text"})
    for path in (
        "event/{before}",
        "event/{after}",
        "context/{after}?limit=2",
        "state",
        "members",
        "messages?dir=b",
    ):
        caller.call(f"invited: {path}", "GET", f"rooms/{{den}}/{path}", by="bob")
    caller.ask("POST", "rooms/{den}/join", {}, "bob")
    for path in ("event/{before}", "event/{after}"):
        caller.call(f"joined: {path}", "GET", f"rooms/{{den}}/{path}", by="bob")


def test_invitations(synapse: Synapse, server: Server) -> None:
    """Events one by one, from the invitation on."""
    allowed = {"invited: messages?dir=b: status: 200": "pages show what can be read one by one"}
    wrong = differences(invitations, synapse, server, allowed)
    assert not wrong, "\n".join(wrong)


def test_history(synapse: Synapse, server: Server) -> None:
    """The same events, by the same filters, for the same readers."""
    wrong = differences(history, synapse, server, HISTORY_ALLOWED)
    assert not wrong, "\n".join(wrong)


def test_relations(synapse: Synapse, server: Server) -> None:
    """The same children, in the same order, and the same summaries."""
    wrong = differences(relations, synapse, server, {})
    assert not wrong, "\n".join(wrong)
