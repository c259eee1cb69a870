"""Sliding sync: how rooms look in lists (names, heroes, counts, bump stamps), and how much of their timelines comes."""

from typing import Any

from tests.interop.alike import Caller, differences
from tests.interop.synapse import Synapse
from tests.interop.test_synapse_sliding import EXTENSIONS, say, sync
from tests.processes.harness import Server

LONG = "x" * 255
PLAIN: dict[str, Any] = {"ranges": [[0, 30]], "required_state": [], "timeline_limit": 1}
NAMED = [["m.room.name", ""]]
WISHES: tuple[tuple[str, Any], ...] = (
    ("the same", {}),
    ("more of the timeline", {"timeline_limit": 4}),
    ("less of it", {"timeline_limit": 1}),
    ("more of it again", {"timeline_limit": 3}),
    ("the name", {"required_state": NAMED}),
    ("nothing", {"required_state": []}),
    ("the name again", {"required_state": NAMED}),
    ("all names", {"required_state": [["m.room.name", "*"]]}),
    ("me", {"required_state": [["m.room.member", "$ME"]]}),
    ("lazily", {"required_state": [["m.room.member", "$LAZY"]]}),
    ("all members", {"required_state": [["m.room.member", "*"]]}),
    ("all", {"required_state": [["*", "*"]]}),
)


def furnish(caller: Caller) -> None:
    """Rooms with all kinds of names, and with more or fewer people."""
    people = ("ann", "ben", "cat", "dan", "eve", "fay", "gus")
    caller.register("alice", "bob", *people)
    ids = [caller.names[name] for name in people]
    bob = caller.names["bob"]
    state = "rooms/{%s}/state/%s"
    for name, count in (("alone", 0), ("pair", 1), ("few", 3), ("crowd", 7)):
        caller.room(name, "alice", invite=[bob, *ids[:count]])
        caller.ask("POST", f"rooms/{{{name}}}/join", {}, "bob")
    for name in ("ann", "ben"):
        caller.ask("POST", "rooms/{crowd}/join", {}, name)
    for name, by in (("pair", "ann"), ("few", "ann")):
        caller.ask("POST", f"rooms/{{{name}}}/join", {}, by)
        caller.ask("POST", f"rooms/{{{name}}}/leave", {}, by)
    for number, content in enumerate(({"name": ""}, {"name": LONG}, {"name": " "})):
        caller.room(f"named {number}", "alice", preset="public_chat")
        caller.ask("POST", f"rooms/{{named {number}}}/join", {}, "bob")
        caller.ask("PUT", state % (f"named {number}", "m.room.name"), content, "alice")
    for number, content in enumerate(({"url": "mxc://a/b"}, {"url": "http://a/b"}, {"url": ""})):
        caller.room(f"seen {number}", "alice", preset="public_chat", name=f"Seen {number}")
        caller.ask("POST", f"rooms/{{seen {number}}}/join", {}, "bob")
        caller.ask("PUT", state % (f"seen {number}", "m.room.avatar"), content, "alice")
    caller.room("old", "alice", preset="public_chat", name="Old")
    caller.ask("POST", "rooms/{old}/join", {}, "bob")
    made = caller.ask("POST", "rooms/{old}/upgrade", {"new_version": "10"}, "alice")
    caller.names["new"] = made["replacement_room"]
    caller.ask("POST", "rooms/{alone}/leave", {}, "alice")


def _stamps(caller: Caller, label: str, answer: Any) -> None:
    """In which order the rooms stand by their stamps."""
    rooms = answer["rooms"]
    ordered = sorted(rooms, key=lambda one: rooms[one].get("bump_stamp", 0))
    caller.compare(f"{label}: by stamps", ordered)


def looks(caller: Caller) -> None:
    """At first, and after one change after another."""
    furnish(caller)
    answer = sync(caller, "first", {"lists": {"a": PLAIN}})
    _stamps(caller, "first", answer)
    pos = answer["pos"]
    for label, method, path, content, by in (
        ("a member speaks", "PUT", "rooms/{crowd}/send/m.room.message/1", {"body": "x", "msgtype": "m.text"}, "ann"),
        ("a member is renamed", "PUT", "rooms/{crowd}/state/m.room.member/{ann}", {"membership": "join", "displayname": "A"}, "ann"),
        ("a member comes", "POST", "rooms/{crowd}/join", {}, "cat"),
        ("a member leaves", "POST", "rooms/{crowd}/leave", {}, "ben"),
        ("one is put out", "POST", "rooms/{crowd}/kick", {"user_id": caller.names["gus"]}, "alice"),
        ("named", "PUT", "rooms/{few}/state/m.room.name", {"name": "Few"}, "alice"),
        ("named no more", "PUT", "rooms/{few}/state/m.room.name", {"name": ""}, "alice"),
        ("shown", "PUT", "rooms/{few}/state/m.room.avatar", {"url": "mxc://a/b"}, "alice"),
        ("shown no more", "PUT", "rooms/{few}/state/m.room.avatar", {}, "alice"),
        ("a reaction", "PUT", "rooms/{few}/send/m.reaction/2", {}, "alice"),
        ("a sticker", "PUT", "rooms/{few}/send/m.sticker/3", {}, "alice"),
        ("a topic", "PUT", "rooms/{pair}/state/m.room.topic", {"topic": "x"}, "alice"),
        ("a room without others", "PUT", "rooms/{alone}/state/m.room.topic", {"topic": "x"}, "bob"),
    ):  # fmt: skip
        caller.ask(method, path, content, by)
        answer = sync(caller, label, {"lists": {"a": PLAIN}}, query=f"pos={pos}&timeout=10000")
        _stamps(caller, label, answer)
        pos = answer["pos"]


def wishes(caller: Caller) -> None:
    """Of one room, in which nothing happens or something does, more and less is wanted."""
    caller.register("alice", "bob", "carl")
    caller.room("den", "alice", name="Den", preset="public_chat", topic="Talk")
    for by in ("bob", "carl"):
        caller.ask("POST", "rooms/{den}/join", {}, by)
    for number in range(6):
        say(caller, f"n{number}", "den", "alice" if number % 2 else "carl")
    for is_busy in (False, True):
        pos = sync(caller, f"first {is_busy}", {"lists": {"a": PLAIN}})["pos"]
        for label, wish in WISHES:
            if is_busy:
                say(caller, f"busy {label}", "den", "carl")
            body = {"lists": {"a": {**PLAIN, **wish}}}
            answer = sync(caller, f"{label} {is_busy}", body, query=f"pos={pos}")
            _stamps(caller, f"{label} {is_busy}", answer)
            pos = answer["pos"]


def filters(caller: Caller) -> None:
    """Lists of several kinds at once, while rooms go from one to the other."""
    caller.register("alice", "bob")
    bob = caller.names["bob"]
    body = {
        "lists": {
            name: {**PLAIN, "filters": wanted}
            for name, wanted in (
                ("direct", {"is_dm": True}), ("others", {"is_dm": False}), ("secret", {"is_encrypted": True}),
                ("plain", {"is_encrypted": False}), ("invites", {"is_invite": True}), ("spaces", {"room_types": ["m.space"]}),
                ("rooms", {"not_room_types": ["m.space"]}), ("dear", {"tags": ["m.favourite"]}),
                ("not dear", {"not_tags": ["m.favourite"]}),
                ("dear and plain", {"tags": ["m.favourite"], "is_encrypted": False}),
            )
        },
        "extensions": EXTENSIONS,
    }  # fmt: skip
    caller.room("den", "alice", name="Den", invite=[bob])
    pos = sync(caller, "invited", body)["pos"]
    space = {"creation_content": {"type": "m.space"}, "name": "Space", "invite": [bob]}
    caller.room("space", "alice", **space)
    pos = sync(caller, "invited into a space", body, query=f"pos={pos}&timeout=10000")["pos"]
    caller.room("other", "alice", **space)
    pos = sync(caller, "invited into another", body, query=f"pos={pos}&timeout=10000")["pos"]
    for label, method, path, content, by in (
        ("joined", "POST", "rooms/{den}/join", {}, "bob"),
        ("joined the space", "POST", "rooms/{space}/join", {}, "bob"),
        ("encrypted", "PUT", "rooms/{den}/state/m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"}, "alice"),
        ("direct", "PUT", "user/{bob}/account_data/m.direct", {caller.names["alice"]: [caller.names["den"]]}, "bob"),
        ("dear", "PUT", "user/{bob}/rooms/{den}/tags/m.favourite", {"order": 0.1}, "bob"),
        ("dear no more", "DELETE", "user/{bob}/rooms/{den}/tags/m.favourite", None, "bob"),
        ("direct no more", "PUT", "user/{bob}/account_data/m.direct", {}, "bob"),
        ("taken back", "POST", "rooms/{other}/kick", {"user_id": bob}, "alice"),
        ("banned", "POST", "rooms/{space}/ban", {"user_id": bob}, "alice"),
        ("ignored", "PUT", "user/{bob}/account_data/m.ignored_user_list", {"ignored_users": {caller.names["alice"]: {}}}, "bob"),
        ("invited by the ignored", "POST", "rooms/{other}/invite", {"user_id": bob}, "alice"),
    ):  # fmt: skip
        assert caller.ask(method, path, content, by).status == 200, label
        pos = sync(caller, label, body, query=f"pos={pos}&timeout=2000")["pos"]
    sync(caller, "anew", {**body, "conn_id": "anew"})


COUNTED = {
    "*.notification_count": "counted, which Synapse does not do here",
    "*.highlight_count": "counted, which Synapse does not do here",
}
LOOKS_ALLOWED = {
    **COUNTED,
    "*.<crowd>.heroes": "in the order of the stream, whether they have joined or not, as the specification has it",
    "first: .rooms.<seen 1>.avatar": "no content URI",
}
WISHES_ALLOWED = {
    "*.notification_count": COUNTED["*.notification_count"],
    "the name*: by stamps": "who wants it again gets it again",
    "more of it again*: by stamps": "who wants it again gets it again",
    "more of it again True: .rooms.<den>": "who wants it again gets it again",
    "all names*: ": "the only one is known already",
    "all *.required_state: ": "without what is known already",
    "* False: .rooms.<den>.limited": "of the timeline there is no news",
    "* False: .rooms.<den>.prev_batch": "of the timeline there is no news",
    "* False: .rooms.<den>.num_live": "of the timeline there is no news",
}
FILTERS_ALLOWED = {
    **COUNTED,
    "*.extensions.*: is not there: ": "what has no news is left out",
    "*.extensions.account_data": "without an order, and the rules are each server's",
    "joined: .extensions.e2ee.device_lists.changed": "without the user",
}


def test_looks(synapse: Synapse, server: Server) -> None:
    """Names, avatars, heroes and counts."""
    wrong = differences(looks, synapse, server, LOOKS_ALLOWED)
    assert not wrong, "\n".join(wrong)


def test_wishes(synapse: Synapse, server: Server) -> None:
    """What comes of a room of which more is wanted, or less."""
    wrong = differences(wishes, synapse, server, WISHES_ALLOWED)
    assert not wrong, "\n".join(wrong)


def test_filters(synapse: Synapse, server: Server) -> None:
    """Where rooms stand."""
    wrong = differences(filters, synapse, server, FILTERS_ALLOWED)
    assert not wrong, "\n".join(wrong)
