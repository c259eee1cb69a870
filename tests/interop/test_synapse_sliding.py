"""Sliding sync, as the SDKs speak it (MSC4186, unstable): lists, subscriptions, extensions and what is refused."""

import json
from typing import Any
from urllib.parse import quote

from tests.interop.alike import Answer, Caller, differences
from tests.interop.synapse import Synapse
from tests.processes.harness import Server

PATH = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
WAIT_MS = 10_000
EXTENSIONS = {name: {"enabled": True} for name in ("to_device", "e2ee", "account_data", "receipts", "typing")}
ENCRYPTED = {
    "type": "m.room.encryption",
    "state_key": "",
    "content": {"algorithm": "m.megolm.v1.aes-sha2"},
}


def one_list(**more: Any) -> dict[str, Any]:
    return {"lists": {"a": {"ranges": [[0, 20]], "required_state": [], "timeline_limit": 1, **more}}}


def sync(caller: Caller, label: str, body: Any, by: str = "bob", query: str = "") -> Answer:
    return caller.call(label, "POST", f"{PATH}?{query}", body, by)


def furnish(caller: Caller) -> None:
    """Rooms of all kinds."""
    caller.register("alice", "bob", "carl")
    bob, carl = caller.names["bob"], caller.names["carl"]
    caller.ask("PUT", "profile/{alice}/displayname", {"displayname": "Alice"}, "alice")
    caller.room("den", "alice", name="Den", topic="Talk", invite=[bob])
    caller.room("hall", "alice", preset="public_chat", name="Hall", initial_state=[ENCRYPTED])
    caller.room("direct", "alice", is_direct=True, preset="trusted_private_chat", invite=[bob, carl])
    caller.room("space", "alice", creation_content={"type": "m.space"}, name="Space")
    caller.room("invited", "alice", invite=[bob])
    caller.ask("PUT", "user/{alice}/account_data/m.direct", {bob: [caller.names["direct"]]}, "alice")
    caller.ask("PUT", "user/{alice}/rooms/{den}/tags/m.favourite", {"order": 0.5}, "alice")
    for room in ("den", "hall", "direct"):
        caller.ask("POST", f"rooms/{{{room}}}/join", {}, "bob")
    caller.ask("POST", "rooms/{hall}/join", {}, "carl")
    say(caller, "hello", "den", "alice")
    say(caller, "hi", "hall", "bob")
    say(caller, "well", "direct", "bob")


def say(caller: Caller, name: str, room: str, by: str) -> None:
    caller.send(name, room, by, {"msgtype": "m.text", "body": name})


FILTERS: tuple[Any, ...] = (
    {"is_dm": True},
    {"is_dm": False},
    {"is_encrypted": True},
    {"is_encrypted": False},
    {"is_invite": True},
    {"is_invite": False},
    {"room_types": ["m.space"]},
    {"room_types": [None]},
    {"room_types": []},
    {"not_room_types": ["m.space"]},
    {"not_room_types": [None]},
    {"tags": ["m.favourite"]},
    {"not_tags": ["m.favourite"]},
    {},
    None,
    {"is_dm": None},
    {"is_dm": "x"},
    {"room_types": "x"},
    {"room_types": [5]},
    {"tags": [5]},
    {"tags": "x"},
    {"unknown": 1},
    5,
)


def lists(caller: Caller) -> None:
    """What lists hold, how they are filtered, and what they show of a room."""
    furnish(caller)
    for by in ("alice", "bob"):
        sync(caller, f"list of {by}", one_list(), by)
        for chosen in FILTERS:
            sync(caller, f"filter of {by} {json.dumps(chosen)}", one_list(filters=chosen), by)
    for required, limit in (
        ([["*", "*"]], 0),
        ([["m.room.member", "$ME"], ["m.room.create", ""]], 2),
        ([["m.room.member", "$LAZY"]], 1),
        ([["m.room.member", "$LAZY"]], 0),
        ([["m.room.name", "*"]], 1),
        ([], 20),
    ):
        label = f"state {json.dumps(required)} {limit}"
        sync(caller, label, one_list(required_state=required, timeline_limit=limit))
    for ranges in ([[0, 0]], [[0, 0], [2, 3]], [[5, 9]], [[0, 1], [1, 3]], []):
        sync(caller, f"ranges {ranges}", one_list(ranges=ranges))
    shown = {"required_state": [["m.room.name", ""]], "timeline_limit": 3}
    sync(caller, "subscription", {"room_subscriptions": {caller.names["den"]: shown}})
    sync(caller, "unknown room", {"room_subscriptions": {"!x:elsewhere.test": shown}})
    caller.room("club", "alice", preset="public_chat", name="Club")
    caller.ask("POST", "rooms/{club}/join", {}, "bob")
    caller.ask("POST", "rooms/{club}/ban", {"user_id": caller.names["bob"]}, "alice")
    sync(caller, "banned", one_list())
    sync(caller, "invitation", {"room_subscriptions": {caller.names["invited"]: shown}})
    caller.ask("POST", "rooms/{hall}/leave", {}, "bob")
    say(caller, "after bob", "hall", "alice")
    caller.ask("POST", "rooms/{invited}/leave", {}, "bob")
    for room in ("hall", "club", "invited"):
        body = {**one_list(), "room_subscriptions": {caller.names[room]: shown}}
        sync(caller, f"out of {room}", body)
    caller.ask("POST", "rooms/{hall}/forget", {}, "bob")
    sync(caller, "forgotten", {**one_list(), "room_subscriptions": {caller.names["hall"]: shown}})


def refusals(caller: Caller) -> None:
    """What is of another type, is missing or is no position."""
    caller.register("bob")
    for ranges in (None, [[-1, 1]], "x", [[1, 2, 3]], [["0", "1"]], [0, 1]):
        sync(caller, f"ranges {ranges!r}", one_list(ranges=ranges))
    for limit in (-1, "x", "1", True, 1.5, 100_000, None):
        sync(caller, f"limit {limit!r}", one_list(timeline_limit=limit))
    for required in (None, "x", ["m.room.name", ""], [["a", "b", "c"]], [[1, 2]]):
        sync(caller, f"state {required!r}", one_list(required_state=required))
    names = {f"l{number}": one_list()["lists"]["a"] for number in range(101)}
    for body in (
        {},
        [],
        {"lists": 5},
        {"lists": []},
        {"lists": None},
        {"lists": {"a": 5}},
        {"lists": {"a": {"ranges": [[0, 1]], "required_state": []}}},
        {"lists": {"a": {"ranges": [[0, 1]], "timeline_limit": 1}}},
        {"lists": {"a" * 65: {"ranges": [[0, 1]], "required_state": [], "timeline_limit": 1}}},
        {"room_subscriptions": 5},
        {"room_subscriptions": None},
        {"room_subscriptions": {"!x:elsewhere.test": 5}},
        {"extensions": 5},
        {"extensions": None},
        {"extensions": {"x": {"enabled": True}}},
        {"extensions": {"e2ee": 5}},
        {"extensions": {"e2ee": {"enabled": "x"}}},
        {"extensions": {"to_device": {"enabled": True, "since": "x"}}},
        {"extensions": {"to_device": {"enabled": True, "limit": "x"}}},
        {"extensions": {"receipts": {"enabled": True, "lists": 5}}},
        {"extensions": {"receipts": {"enabled": True, "rooms": [5]}}},
        {"conn_id": 5},
        {"conn_id": "c"},
        {"unknown": 1},
    ):
        sync(caller, json.dumps(body), body)
    sync(caller, "many lists", {"lists": names})
    for query in ("pos=x", "pos=5", "timeout=x", "timeout=-1", "set_presence=x", "set_presence=offline"):
        sync(caller, query, {}, query=query)
    sync(caller, "no JSON", b"x")
    caller.call("no token", "POST", PATH, {})
    caller.call("GET", "GET", PATH, by="bob")


LAZY = one_list(
    required_state=[["m.room.member", "$LAZY"], ["m.room.name", ""], ["m.room.topic", ""]], timeline_limit=2
)


def changes(caller: Caller) -> None:
    """What a client hears of one change after another."""
    furnish(caller)
    caller.ask("PUT", "user/{bob}/account_data/com.example", {"a": 1}, "bob")
    caller.ask("PUT", "user/{bob}/rooms/{den}/account_data/com.example", {"a": 1}, "bob")
    caller.ask("POST", "rooms/{den}/receipt/m.read/{hello}", {}, "bob")
    caller.ask("POST", "rooms/{den}/receipt/m.read/{hello}", {}, "alice")
    body = {**LAZY, "extensions": EXTENSIONS}
    pos = sync(caller, "first", body)["pos"]

    def news(label: str, *request: Any, wait_ms: int = WAIT_MS, **more: Any) -> None:
        nonlocal pos
        if request:
            method, path, content, by = request
            answer = caller.ask(method, path, content, by)
            assert answer.status == 200, answer
        pos = sync(caller, label, {**body, **more}, query=f"pos={pos}&timeout={wait_ms}")["pos"]

    say(caller, "one", "den", "alice")
    news("one")
    for number in range(5):
        say(caller, f"n{number}", "den", "alice")
    news("a gap")
    news("name", "PUT", "rooms/{den}/state/m.room.name", {"name": "New"}, "alice")
    news("avatar", "PUT", "rooms/{den}/state/m.room.avatar", {"url": "mxc://a/b"}, "alice")
    news("typing", "PUT", "rooms/{den}/typing/{alice}", {"typing": True, "timeout": 30_000}, "alice")
    news("typing no more", "PUT", "rooms/{den}/typing/{alice}", {"typing": False}, "alice")
    news("receipt", "POST", "rooms/{den}/receipt/m.read/{one}", {}, "alice")
    news("private receipt", "POST", "rooms/{den}/receipt/m.read.private/{one}", {}, "bob")
    news("account data", "PUT", "user/{bob}/account_data/com.example", {"a": 2}, "bob")
    news("of a room", "PUT", "user/{bob}/rooms/{hall}/account_data/com.example", {"a": 2}, "bob")
    news("tag", "PUT", "user/{bob}/rooms/{den}/tags/u.x", {}, "bob")
    messages = {"messages": {caller.names["bob"]: {"*": {"a": 1}}}}
    news("to device", "PUT", "sendToDevice/m.x/1", messages, "alice")
    news("carl leaves", "POST", "rooms/{hall}/leave", {}, "carl")
    caller.room("other", "alice", invite=[caller.names["bob"]], name="Other")
    news("invited")
    news("joined", "POST", "rooms/{other}/join", {}, "bob")
    news("declined", "POST", "rooms/{invited}/leave", {}, "bob")
    news("left", "POST", "rooms/{direct}/leave", {}, "bob")
    ban = {"user_id": caller.names["bob"], "reason": "no"}
    news("banned", "POST", "rooms/{den}/ban", ban, "alice")
    shown = {"required_state": [["m.room.create", ""], ["m.room.name", ""]], "timeline_limit": 5}
    news("subscribed", room_subscriptions={caller.names["hall"]: shown}, wait_ms=0)
    news("redacted", "PUT", "rooms/{hall}/redact/{hi}/1", {"reason": "bad"}, "alice")
    sync(caller, "no such position", body, query="pos=nothing")
    sync(caller, "position of another", body, "alice", query=f"pos={pos}")


ALLOWED = {
    "*.notification_count": "counted, which Synapse does not do here",
    "*.highlight_count": "counted, which Synapse does not do here",
}
LISTS_ALLOWED = {
    **ALLOWED,
    "out of *.required_state": "how the user left is always in it",
    "out of club: .rooms.<club>.timeline": "events from before the user joined, which they may see, are shown too",
    "out of invited: .rooms.<invited>.limited": "there is no more that the user may see",
}
REFUSALS_ALLOWED = {
    "ranges None: .lists.a.ops": "all of the list",
    "limit -1": "refused, since there is no such number of events",
    "set_presence=x": "refused, since there is no such presence",
}
CHANGES_ALLOWED = {
    **ALLOWED,
    "*.extensions.*: is not there: ": "what has no news is left out",
    "first: .extensions.account_data.global": "without an order",
    "*.required_state: ": "who speaks is shown again: it is not remembered what a client knows of them",
    "carl leaves: .rooms.<hall>.heroes": "a room with a name needs none",
    "declined: .lists.a": "it is no longer in the list",
    "left: .lists.a": "it is no longer in the list",
}


DEPARTURES_ALLOWED = {
    **ALLOWED,
    "left: .lists.a": "it is no longer in the list",
    "left again: .lists.a": "it is no longer in the list",
    "anew: .rooms.<hall>.required_state": "how the user left is always in it",
    "anew: .rooms.<hall>.timeline": "events from before the user joined, which they may see, are shown too",
    "*.redacted_because.unsigned": "the redaction itself has its time",
    "*.redacted_by": "from before the specification: `redacted_because` has it",
    "/sync: .<hall>.timeline.events*.redacted_because": "who has left is not told who redacted later, in timelines",
    "taken back: .rooms.<club>.required_state": "who was never in the room gets no members of it",
}


def test_lists(synapse: Synapse, server: Server) -> None:
    """Rooms, and how they look."""
    wrong = differences(lists, synapse, server, LISTS_ALLOWED)
    assert not wrong, "\n".join(wrong)


def test_refusals(synapse: Synapse, server: Server) -> None:
    """With the same codes."""
    wrong = differences(refusals, synapse, server, REFUSALS_ALLOWED)
    assert not wrong, "\n".join(wrong)


def test_changes(synapse: Synapse, server: Server) -> None:
    """News come with the same keys."""
    wrong = differences(changes, synapse, server, CHANGES_ALLOWED)
    assert not wrong, "\n".join(wrong)


def departures(caller: Caller) -> None:
    """Rooms that one left: redactions made since, a way back, invites that are taken back."""
    caller.register("alice", "bob")
    bob = caller.names["bob"]
    caller.room("hall", "alice", preset="public_chat", name="Hall", topic="Talk")
    caller.ask("POST", "rooms/{hall}/join", {}, "bob")
    state = caller.ask("GET", "rooms/{hall}/state", by="alice").body
    caller.names["topic"] = next(one["event_id"] for one in state if one["type"] == "m.room.topic")
    subscribed = {"required_state": [["m.room.topic", ""]], "timeline_limit": 3}
    body = {**LAZY, "room_subscriptions": {caller.names["hall"]: subscribed}}
    pos = sync(caller, "first", body)["pos"]
    caller.ask("POST", "rooms/{hall}/leave", {}, "bob")
    assert caller.ask("PUT", "rooms/{hall}/redact/{topic}/1", {"reason": "bad"}, "alice").status == 200
    pos = sync(caller, "left", body, query=f"pos={pos}")["pos"]
    sync(caller, "anew", {**body, "conn_id": "another"})
    caller.call("state", "GET", "rooms/{hall}/state", by="bob")
    leave = '{"room":{"include_leave":true,"timeline":{"limit":3}}}'
    shown = caller.ask("GET", f"sync?filter={quote(leave)}", by="bob")
    caller.answers["/sync"] = Answer(200, shown["rooms"]["leave"], {})
    caller.room("club", "alice", name="Club")
    for label, path, content in (
        ("invited", "invite", {"user_id": bob}),
        ("taken back", "kick", {"user_id": bob}),
        ("invited again", "invite", {"user_id": bob}),
    ):
        assert caller.ask("POST", f"rooms/{{club}}/{path}", content, "alice").status == 200
        pos = sync(caller, label, LAZY, query=f"pos={pos}&timeout={WAIT_MS}")["pos"]
    for label, room, path in (
        ("joined", "club", "join"), ("left again", "club", "leave"), ("forgotten", "club", "forget"),
        ("back", "hall", "join"),
    ):  # fmt: skip
        assert caller.ask("POST", f"rooms/{{{room}}}/{path}", {}, "bob").status == 200
        pos = sync(caller, label, LAZY, query=f"pos={pos}")["pos"]


def test_departures(synapse: Synapse, server: Server) -> None:
    """What one hears of rooms that one is out of."""
    wrong = differences(departures, synapse, server, DEPARTURES_ALLOWED)
    assert not wrong, "\n".join(wrong)
