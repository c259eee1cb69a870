"""The same requests to Synapse and to this server: who gets into rooms and out of them."""

from typing import Any

from tests.interop.alike import Answer, Caller, differences
from tests.interop.synapse import Synapse
from tests.processes.harness import Server


def _events(caller: Caller, label: str, room: str) -> None:
    """Compare the newest event."""
    caller.call(f"{label}: event", "GET", f"rooms/{{{room}}}/messages?dir=b&limit=1", by="ada")


def _act(
    caller: Caller, label: str, action: str, body: Any = None, by: str = "ada", room: str = "den"
) -> Answer:
    """Compare the answer, and the event if there is one."""
    answer = caller.call(label, "POST", f"rooms/{{{room}}}/{action}", {} if body is None else body, by)
    if answer.status == 200:
        _events(caller, label, room)
    return answer


def membership(caller: Caller) -> None:
    """Invite, join, leave, kick, ban, unban and forget, in states where they may be and where not."""
    caller.register("ada", "bob", "cy", "dan")
    caller.room("den", "ada")
    caller.room("club", "ada", preset="public_chat")
    _come(caller)
    _go(caller)
    _change(caller)
    caller.call("joined rooms of bob", "GET", "joined_rooms", by="bob")


def _come(caller: Caller) -> None:
    ada, bob, cy = (caller.names[name] for name in ("ada", "bob", "cy"))
    _act(caller, "invite", "invite", {"user_id": bob, "reason": "hi"})
    _act(caller, "invite again", "invite", {"user_id": bob})
    _act(caller, "invite oneself", "invite", {"user_id": ada})
    _act(caller, "invite no user", "invite", {"user_id": "bob"})
    _act(caller, "invite nobody", "invite", {})
    _act(caller, "invite as a stranger", "invite", {"user_id": cy}, "dan")
    _act(caller, "invite while invited", "invite", {"user_id": cy}, "bob")
    caller.call("invite to no room", "POST", "rooms/!no:synapse.test/invite", {"user_id": cy}, "ada")
    _act(caller, "join", "join", {"reason": "why not"}, "bob")
    _act(caller, "join for another reason", "join", {"reason": "other"}, "bob")
    _act(caller, "join uninvited", "join", {}, "cy")
    _act(caller, "invite who is joined", "invite", {"user_id": bob})
    for label, place in {
        "no room": "!no:synapse.test",
        "no alias": "%23no:synapse.test",
        "no id": "no",
    }.items():
        caller.call(f"join {label}", "POST", f"join/{place}", {}, "cy")
    caller.call("join with more", "POST", "join/{club}", {"x": "y", "displayname": "Me"}, "cy")
    _events(caller, "join with more", "club")
    caller.call("join without a body", "POST", "join/{club}", b"", "dan")
    _act(caller, "another invite", "invite", {"user_id": cy}, "bob")
    _act(caller, "reject", "leave", {"reason": "no"}, "cy")
    _act(caller, "forget while joined", "forget", {}, "ada")
    _act(caller, "forget", "forget", {}, "cy")
    _act(caller, "forget again", "forget", {}, "cy")
    caller.call("read what is forgotten", "GET", "rooms/{den}/messages?dir=b", by="cy")


def _go(caller: Caller) -> None:
    ada, cy, dan = (caller.names[name] for name in ("ada", "cy", "dan"))
    _act(caller, "kick", "kick", {"user_id": cy, "reason": "out"}, room="club")
    _act(caller, "kick again", "kick", {"user_id": cy}, room="club")
    _act(caller, "kick nobody", "kick", {}, room="club")
    _act(caller, "kick no user", "kick", {"user_id": "bob"}, room="club")
    _act(caller, "kick without power", "kick", {"user_id": ada}, "dan", "club")
    _act(caller, "kick as a stranger", "kick", {"user_id": ada}, "bob", "club")
    _act(caller, "ban without power", "ban", {"user_id": ada}, "bob")
    _act(caller, "ban", "ban", {"user_id": cy, "reason": "bad"}, room="club")
    _act(caller, "ban again", "ban", {"user_id": cy, "reason": "other"}, room="club")
    _act(caller, "kick who is banned", "kick", {"user_id": cy}, room="club")
    _act(caller, "invite who is banned", "invite", {"user_id": cy}, room="club")
    _act(caller, "join when banned", "join", {}, "cy", "club")
    caller.call("knock when banned", "POST", "knock/{club}", {}, "cy")
    _act(caller, "leave when banned", "leave", {}, "cy", "club")
    _act(caller, "unban without power", "unban", {"user_id": cy}, "dan", "club")
    _act(caller, "unban", "unban", {"user_id": cy, "reason": "good"}, room="club")
    _act(caller, "unban again", "unban", {"user_id": cy}, room="club")
    _act(caller, "unban who is joined", "unban", {"user_id": dan}, room="club")
    _act(caller, "ban a stranger", "ban", {"user_id": "@no:synapse.test"}, room="club")
    _act(caller, "kick oneself", "kick", {"user_id": dan}, "dan", "club")


def _change(caller: Caller) -> None:
    path = f"rooms/{{club}}/state/m.room.member/{caller.names['bob']}"
    for label, body, by in (
        ("invite by state", {"membership": "invite"}, "ada"),
        ("join by state", {"membership": "join", "displayname": "B"}, "bob"),
        ("another name", {"membership": "join", "displayname": "BB"}, "bob"),
        ("the same name", {"membership": "join", "displayname": "BB"}, "bob"),
        ("another's name", {"membership": "join", "displayname": "C"}, "ada"),
        ("ban by state", {"membership": "ban", "reason": "r"}, "ada"),
        ("unban by state", {"membership": "leave"}, "ada"),
        ("no membership", {}, "bob"),
    ):
        caller.call(label, "PUT", path, body, by)
        _events(caller, label, "club")


def rules(caller: Caller) -> None:
    """Knocking, and rooms that members of another room may join."""
    caller.register("ada", "bob", "cy", "dan")
    bob, dan = caller.names["bob"], caller.names["dan"]

    def room(name: str, version: str, **content: Any) -> None:
        state = [{"type": "m.room.join_rules", "content": content}]
        caller.room(name, "ada", room_version=version, initial_state=state)

    def enter(label: str, action: str, by: str, name: str, body: Any = None) -> None:
        answer = caller.call(label, "POST", f"{action}/{{{name}}}", body or {}, by)
        if answer.status == 200:
            _events(caller, label, name)

    room("knock", "10", join_rule="knock")
    enter("knock", "knock", "bob", "knock", {"reason": "please"})
    enter("knock again", "knock", "bob", "knock", {"reason": "again"})
    enter("join after a knock", "join", "bob", "knock")
    _act(caller, "withdraw a knock", "leave", {}, "bob", "knock")
    enter("a third knock", "knock", "bob", "knock")
    _act(caller, "refuse a knock", "kick", {"user_id": bob, "reason": "no"}, room="knock")
    enter("a fourth knock", "knock", "bob", "knock")
    _act(caller, "answer a knock", "invite", {"user_id": bob}, room="knock")
    enter("knock when invited", "knock", "bob", "knock")
    enter("join after an answer", "join", "bob", "knock")
    enter("knock when joined", "knock", "bob", "knock")
    room("closed", "10", join_rule="invite")
    enter("knock where it is not allowed", "knock", "bob", "closed")
    caller.room("space", "ada", preset="public_chat", creation_content={"type": "m.space"})
    allow = [{"type": "m.room_membership", "room_id": caller.names["space"]}]
    for version in ("8", "10", "12"):
        room(f"restricted {version}", version, join_rule="restricted", allow=allow)
        enter(f"join as a stranger {version}", "join", "cy", f"restricted {version}")
    room("both", "10", join_rule="knock_restricted", allow=allow)
    enter("knock as a stranger", "knock", "cy", "both")
    caller.ask("POST", "join/{space}", {}, "cy")
    for version in ("8", "10", "12"):
        name = f"restricted {version}"
        enter(f"join as a member {version}", "join", "cy", name, {"reason": "r"})
        _act(caller, f"invite {version}", "invite", {"user_id": dan}, room=name)
        enter(f"join when invited {version}", "join", "dan", name)
        _act(caller, f"leave {version}", "leave", {}, "cy", name)
    enter("join as a member", "join", "cy", "both")
    caller.ask("POST", "rooms/{space}/leave", {}, "cy")
    enter("join after the space was left", "join", "cy", "restricted 10")
    room("nothing allowed", "10", join_rule="restricted")
    enter("join where nothing is allowed", "join", "bob", "nothing allowed")


def invite_permission(caller: Caller) -> None:
    """Who wants no invites, by words that say it and by others."""
    caller.register("ada", "bob")
    caller.room("den", "ada", preset="private_chat")
    invited = {"user_id": caller.names["bob"]}
    for wish in ({"default_action": "block"}, {"default_action": "allow"}, {"default_action": 5}, {}):
        caller.ask("PUT", "user/{bob}/account_data/m.invite_permission_config", wish, "bob")
        caller.call(f"{wish}", "POST", "rooms/{den}/invite", invited, "ada")
        member = {"membership": "invite"}
        caller.call(f"{wish} as state", "PUT", "rooms/{den}/state/m.room.member/{bob}", member, "ada")
        made = caller.ask("POST", "createRoom", {"invite": [caller.names["bob"]]}, "ada")
        caller.compare(f"{wish} to a new room", made.status)
        caller.ask("POST", "rooms/{den}/kick", invited, "ada")


def test_invite_permission(synapse: Synapse, server: Server) -> None:
    """The same invites are refused."""
    wrong = differences(invite_permission, synapse, server, {})
    assert not wrong, "\n".join(wrong)


def test_memberships(synapse: Synapse, server: Server) -> None:
    """The same events, and the same refusals."""
    wrong = differences(membership, synapse, server, {})
    assert not wrong, "\n".join(wrong)


def test_join_rules(synapse: Synapse, server: Server) -> None:
    """The same are let in, by the same events."""
    wrong = differences(rules, synapse, server, {})
    assert not wrong, "\n".join(wrong)
