"""/sync: what clients hear of rooms, of themselves and of others, and what filters leave of it, as on Synapse."""

import json
from typing import Any
from urllib.parse import quote

from tests.interop.alike import Answer, Caller, differences
from tests.interop.synapse import Synapse
from tests.processes.harness import Server

WAIT_MS = 10_000
QUIET = {"presence": {"not_types": ["*"]}}


def sync(
    caller: Caller,
    label: str,
    by: str,
    since: str | None = None,
    query: str = "",
    wait_ms: int = 0,
    **wanted: Any,
) -> Answer:
    """Synapse answers the same request for two minutes with the same: so none waits as long as another."""
    wait_ms += len(caller.answers)
    path = f"sync?timeout={wait_ms}{query}&filter={quote(json.dumps({**QUIET, **wanted}))}"
    return caller.call(label, "GET", f"{path}&since={since}" if since else path, by=by)


def say(caller: Caller, name: str, room: str, by: str = "alice") -> None:
    caller.send(name, room, by, {"msgtype": "m.text", "body": name})


def furnish(caller: Caller) -> None:
    caller.register("alice", "bob", "carl")
    caller.room("den", "alice", name="Den", topic="Talk", invite=[caller.names["bob"]])
    caller.room("hall", "alice", preset="public_chat", name="Hall")
    for room, by in (("den", "bob"), ("hall", "bob"), ("hall", "carl")):
        caller.ask("POST", f"rooms/{{{room}}}/join", {}, by)
    say(caller, "hello", "den")


def act(caller: Caller, method: str, path: str, body: Any, by: str) -> None:
    answer = caller.ask(method, path, body, by)
    assert answer.status == 200, f"{method} {path}: {answer}"


def memberships(caller: Caller) -> None:
    """Invited, joined, left, back, kicked, banned, forgotten; invitations and knocks that come to nothing."""
    furnish(caller)
    bob = {"user_id": caller.names["bob"], "reason": "why"}
    for name, kind in (("direct", "trusted_private_chat"), ("second", "private_chat")):
        caller.room(name, "alice", is_direct=True, preset=kind, invite=[bob["user_id"]])
    left = {"room": {"include_leave": True}}
    since = sync(caller, "first", "bob")["next_batch"]
    for label, path, body, by in (
        ("joined", "{direct}/join", {}, "bob"),
        ("declined", "{second}/leave", {}, "bob"),
        ("left", "{den}/leave", {"reason": "why"}, "bob"),
        ("invited", "{den}/invite", bob, "alice"),
        ("back", "{den}/join", {}, "bob"),
        ("kicked", "{den}/kick", bob, "alice"),
        ("banned", "{den}/ban", bob, "alice"),
        ("unbanned", "{den}/unban", bob, "alice"),
    ):
        act(caller, "POST", f"rooms/{path}", body, by)
        sync(caller, f"{label} and before", "bob", since)
        following = sync(caller, label, "bob", since, **left)["next_batch"]
        sync(caller, f"{label}, first", "bob", None, **left)
        since = following
    act(caller, "POST", "rooms/{den}/forget", {}, "bob")
    sync(caller, "forgotten, first", "bob", None, **left)
    before = sync(caller, "carl", "carl")["next_batch"]
    carl = {"user_id": caller.names["carl"]}
    act(caller, "POST", "rooms/{den}/invite", carl, "alice")
    since = sync(caller, "carl is invited", "carl", before)["next_batch"]
    act(caller, "POST", "rooms/{den}/kick", carl, "alice")
    sync(caller, "no longer", "carl", since)
    sync(caller, "was not seen", "carl", before)
    rule = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
    caller.room("knocking", "alice", name="Kay", initial_state=[rule])
    since = sync(caller, "before the knock", "carl")["next_batch"]
    caller.call("knock", "POST", "knock/{knocking}", {"reason": "please"}, "carl")
    since = sync(caller, "knocked", "carl", since)["next_batch"]
    sync(caller, "knocked, first", "carl")
    act(caller, "POST", "rooms/{knocking}/kick", carl, "alice")
    sync(caller, "refused", "carl", since)


def timelines(caller: Caller) -> None:
    """Gaps and the state in them, counts, `full_state`, `state_after` (MSC4222)."""
    furnish(caller)
    since = sync(caller, "first", "bob")["next_batch"]
    sync(caller, "nothing", "bob", since)
    sync(caller, "full", "bob", since, "&full_state=true")
    say(caller, "one", "den")
    act(caller, "PUT", "rooms/{den}/state/m.room.topic", {"topic": "Other"}, "alice")
    say(caller, "two", "den")
    sync(caller, "news", "bob", since)
    for number in range(12):
        say(caller, f"n{number}", "den")
    sync(caller, "a gap", "bob", since)
    two = {"room": {"timeline": {"limit": 2}}}
    sync(caller, "two events", "bob", since, **two)
    unstable = "&org.matrix.msc4222.use_state_after=true"
    sync(caller, "state after", "bob", since, unstable, **two)
    sync(caller, "state after, first", "bob", None, unstable, **two)
    sync(caller, "by alice", "alice", None, **two)


def little_things(caller: Caller) -> None:
    """Typing, receipts, account data, ignored users, to-device messages, relations, redactions."""
    furnish(caller)
    since = sync(caller, "first", "bob")["next_batch"]

    def news(label: str, *asked: Any) -> None:
        nonlocal since
        caller.call(f"{label} is done", *asked)
        since = sync(caller, label, "bob", since, wait_ms=WAIT_MS)["next_batch"]

    typing, receipts, data = "rooms/{den}/typing/{alice}", "rooms/{den}/receipt", "user/{bob}"
    news("typing", "PUT", typing, {"typing": True, "timeout": 30_000}, "alice")
    news("typing no more", "PUT", typing, {"typing": False}, "alice")
    news("read", "POST", f"{receipts}/m.read/{{hello}}", {}, "bob")
    news("read for oneself", "POST", f"{receipts}/m.read.private/{{hello}}", {}, "bob")
    news("read in a thread", "POST", f"{receipts}/m.read/{{hello}}", {"thread_id": "main"}, "alice")
    news("read to here", "POST", "rooms/{den}/read_markers", {"m.fully_read": caller.names["hello"]}, "bob")
    news("a tag", "PUT", f"{data}/rooms/{{den}}/tags/m.favourite", {"order": 0.5}, "bob")
    news("no tag", "DELETE", f"{data}/rooms/{{den}}/tags/m.favourite", None, "bob")
    news("data", "PUT", f"{data}/account_data/com.example", {"a": 1}, "bob")
    news("data of a room", "PUT", f"{data}/rooms/{{den}}/account_data/com.example", {"a": 1}, "bob")
    messages = {"messages": {caller.names["bob"]: {"*": {"a": 1}}}}
    news("a message to the device", "PUT", "sendToDevice/m.x/1", messages, "alice")
    ignored = {"ignored_users": {caller.names["alice"]: {}}}
    news("ignored", "PUT", f"{data}/account_data/m.ignored_user_list", ignored, "bob")
    say(caller, "of an ignored user", "den")
    news("their state", "PUT", "rooms/{den}/state/m.room.topic", {"topic": "B"}, "alice")
    caller.room("new", "alice", invite=[caller.names["bob"]])
    nobody = {"ignored_users": {}}
    news("ignored no more", "PUT", f"{data}/account_data/m.ignored_user_list", nobody, "bob")
    relations(caller)
    threads = {"timeline": {"unread_thread_notifications": True, "limit": 20}}
    sync(caller, "relations", "bob", since, room={"rooms": [caller.names["hall"]], **threads})
    caller.call("redacted", "PUT", "rooms/{hall}/redact/{parent}/1", {"reason": "bad"}, "alice")
    for by in ("alice", "bob"):
        sync(caller, f"redacted, {by}", by, since, room={"rooms": [caller.names["hall"]], **threads})


def relations(caller: Caller) -> None:
    say(caller, "parent", "hall")
    parent = caller.names["parent"]
    edit = {"body": "* 2", "msgtype": "m.text", "m.new_content": {"body": "2", "msgtype": "m.text"}}
    caller.send("edit", "hall", "alice", {**edit, **related("m.replace", parent)})
    caller.send("react", "hall", "bob", related("m.annotation", parent, key="+"), "m.reaction")
    caller.send("refer", "hall", "alice", related("m.reference", parent), "com.example")
    for number, by in enumerate(("alice", "bob", "alice")):
        content = {"body": "t", "msgtype": "m.text", **related("m.thread", parent)}
        caller.send(f"thread {number}", "hall", by, content)


def related(kind: str, parent: str, **more: str) -> dict[str, Any]:
    return {"m.relates_to": {"rel_type": kind, "event_id": parent, **more}}


def filters(caller: Caller) -> None:
    """Each field, on a first and on a following sync."""
    furnish(caller)
    bob, alice, hall = (caller.names[name] for name in ("bob", "alice", "hall"))
    since = sync(caller, "first", "bob")["next_batch"]
    caller.send("image", "den", "alice", {"msgtype": "m.image", "body": "x", "url": "mxc://a/b"})
    caller.send("thing", "den", "alice", {"x": "y"}, "com.example.thing")
    say(caller, "of bob", "den", "bob")
    say(caller, "of carl", "hall", "carl")
    for name, chosen in {
        "types": {"types": ["m.room.message"]},
        "wild types": {"types": ["m.room.*"]},
        "not types": {"not_types": ["m.room.message"]},
        "no types": {"types": []},
        "both": {"types": ["m.room.*"], "not_types": ["*"]},
        "senders": {"senders": [bob]},
        "not senders": {"not_senders": [alice]},
        "rooms": {"rooms": [hall]},
        "not rooms": {"not_rooms": [hall]},
        "url": {"contains_url": True},
        "no url": {"contains_url": False},
        "limit": {"limit": 1},
        "lazy": {"lazy_load_members": True},
    }.items():
        sync(caller, f"timeline, {name}", "bob", since, room={"timeline": chosen})
    for name, chosen in {
        "types": {"types": ["m.room.topic"]},
        "not types": {"not_types": ["m.room.member"]},
        "no types": {"types": []},
    }.items():
        sync(caller, f"state, {name}", "bob", None, room={"state": chosen})
    sync(caller, "no rooms", "bob", since, room={"rooms": []})
    sync(caller, "one room", "bob", since, room={"rooms": [hall]})
    sync(caller, "not one", "bob", None, room={"not_rooms": [hall]})
    fields = ["type", "content.body", "sender", "state_key"]
    sync(caller, "fields", "bob", since, event_fields=fields)
    sync(caller, "no data", "bob", None, account_data={"types": []})


BAD_QUERIES = """
since=x
since=5
since=s
since=t1
since=-1
timeout=x
timeout=-1
timeout=1.5
full_state=x
full_state=1
set_presence=x
set_presence=
set_presence=busy
filter=x
filter=5
filter=-1
filter=[]
filter={
filter=null
"""
ODD_FILTERS: tuple[Any, ...] = (
    {"room": 5},
    {"room": []},
    {"room": {"timeline": 5}},
    *({"room": {"timeline": {"limit": limit}}} for limit in ("x", -1, True)),
    *({"room": {"timeline": {"types": types}}} for types in (5, "m.room", [5])),
    {"room": {"timeline": {"senders": ["x"]}}},
    {"room": {"timeline": {"not_senders": [5]}}},
    {"room": {"timeline": {"rooms": ["x"]}}},
    {"room": {"rooms": ["x"]}},
    {"room": {"include_leave": "x"}},
    {"room": {"state": {"lazy_load_members": "x"}}},
    {"room": {"timeline": {"contains_url": "x"}}},
    {"room": {"timeline": {"unread_thread_notifications": "x"}}},
    {"room": {"ephemeral": 5}},
    {"room": {"account_data": 5}},
    {"room": {"unknown": 5}},
    {"event_format": "x"},
    {"event_fields": 5},
    {"event_fields": [5]},
    {"presence": 5},
    {"presence": {"senders": ["x"]}},
    {"account_data": 5},
    {"unknown": 5},
    {},
    [],
)


def refusals(caller: Caller) -> None:
    """Queries and filters that do not fit, given inline and stored."""
    caller.register("alice", "bob")
    since = sync(caller, "first", "alice", None, "&set_presence=offline")["next_batch"]
    again = f"sync?since={since}&set_presence=offline"
    for chosen in ODD_FILTERS:
        text = json.dumps(chosen)
        caller.call(f"inline {text}", "GET", f"{again}&filter={quote(text)}", by="alice")
        stored = caller.call(f"store {text}", "POST", "user/{alice}/filter", chosen, "alice")
        if stored.status == 200:
            filter_id = stored["filter_id"]
            caller.call(f"stored {text}", "GET", f"user/{{alice}}/filter/{filter_id}", by="alice")
            caller.call(f"used {text}", "GET", f"{again}&filter={filter_id}", by="alice")
    for query in BAD_QUERIES.split():
        caller.call(query, "GET", f"sync?{query}", by="alice")
    caller.call("no body", "POST", "user/{alice}/filter", None, "alice")
    caller.call("no JSON", "POST", "user/{alice}/filter", b"x", "alice")
    caller.call("of another", "POST", "user/{bob}/filter", {}, "alice")
    caller.call("of another server", "POST", "user/@x:elsewhere.test/filter", {}, "alice")
    caller.call("another's", "GET", "user/{bob}/filter/0", by="alice")
    caller.call("unknown", "GET", "user/{alice}/filter/9999", by="alice")
    caller.call("no token", "GET", "sync")
    caller.call("wrong token", "GET", "sync", by="nonsense")
    caller.call("wrong method", "POST", "sync", {}, by="alice")


ALLOWED = {
    "*.account_data.events[*].content.global": "the predefined rules of the present specification only",
    "*.summary: is not there": "it changes nothing when it is empty, or what it was",
}
DEVICES = {"*: .device_lists: is not there": "whoever shared a room before is no news"}
COUNTS = {"*_notifications*notification_count": "who writes has read what was before"}
MEMBERSHIPS_ALLOWED = {
    **ALLOWED,
    **DEVICES,
    "*, first: .rooms.leave.<second>.timeline.events": "who declines sees nothing of the room",
    "unbanned, first: .rooms.leave.<den>.": "of what was while one was out, the last word only",
    "before the knock: .rooms.leave.<den>.": "who was only invited sees nothing of the room",
    "knocked, first: .rooms.leave.<den>.": "who was only invited sees nothing of the room",
    "was not seen: .rooms.leave.<den>.timeline.events": "the end of the invitation only",
}
TIMELINES_ALLOWED = {**ALLOWED, **DEVICES}
LITTLE_THINGS_ALLOWED = {
    **ALLOWED,
    **COUNTS,
    "*.unread_notifications: is not there": "they are what they were",
    "*.redacted_by: is not there": "from before the specification: `redacted_because` has it",
    "*.redacted_because.unsigned: is not there": "the redaction comes itself, with all of it",
}
FILTERS_ALLOWED = {**ALLOWED, **COUNTS}
REFUSALS_ALLOWED = {
    "*.account_data.events[*].content.global": "the predefined rules of the present specification only",
    "*.filter_id: ": "numbers of each server's own",
}


def test_memberships(synapse: Synapse, server: Server) -> None:
    """Rooms go from one section to another."""
    wrong = differences(memberships, synapse, server, MEMBERSHIPS_ALLOWED)
    assert not wrong, "\n".join(wrong)


def test_timelines(synapse: Synapse, server: Server) -> None:
    """What is between two syncs."""
    wrong = differences(timelines, synapse, server, TIMELINES_ALLOWED)
    assert not wrong, "\n".join(wrong)


def test_little_things(synapse: Synapse, server: Server) -> None:
    """One at a time."""
    wrong = differences(little_things, synapse, server, LITTLE_THINGS_ALLOWED)
    assert not wrong, "\n".join(wrong)


def test_filters(synapse: Synapse, server: Server) -> None:
    """What they let through."""
    wrong = differences(filters, synapse, server, FILTERS_ALLOWED)
    assert not wrong, "\n".join(wrong)


def test_refusals(synapse: Synapse, server: Server) -> None:
    """With the same codes."""
    wrong = differences(refusals, synapse, server, REFUSALS_ALLOWED)
    assert not wrong, "\n".join(wrong)
