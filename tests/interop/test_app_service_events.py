"""What application services are told of rooms and of who is in them, as by Synapse: key by key, and in the same order."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.interop.alike import Caller, differences
from tests.interop.app_services import Json, Service, Sides, both_sides, ghosts, in_order
from tests.processes.harness import wait_until

AS_PUPPET = "user_id={puppet}"


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    with both_sides(tmp_path_factory.mktemp("sides")) as sides:
        yield sides


class Room:
    """One by one: the next thing is said when the service knows of the one before, on both servers."""

    def __init__(self, caller: Caller, service: Service) -> None:
        self._caller = caller
        self._service = service

    def state(self, kind: str, content: Json, by: str = "ada", key: str = "", query: str = "") -> str:
        path = f"rooms/{{den}}/state/{kind}/{quote(key)}?{query}"
        return self._event(path, content, by)

    def say(self, text: str, by: str = "ada", query: str = "", *, heard: bool = True) -> str:
        path = f"rooms/{{den}}/send/m.room.message/{quote(text)}?{query}"
        return self._event(path, {"msgtype": "m.text", "body": text}, by, heard=heard)

    def redact(self, event_id: str) -> str:
        return self._event(f"rooms/{{den}}/redact/{quote(event_id)}/now", {"reason": "bad"}, "ada")

    def member(self, action: str, body: Json, by: str, query: str = "", *, heard: bool = True) -> None:
        answer = self._caller.ask("POST", f"rooms/{{den}}/{action}?{query}", body, by)
        assert answer.status == 200, answer
        if heard:
            shown = self._caller.ask("GET", "rooms/{den}/messages?dir=b&limit=1", by="ada")
            self._service.wait_for(shown["chunk"][0]["event_id"])

    def _event(self, path: str, content: Json, by: str, *, heard: bool = True) -> str:
        answer = self._caller.ask("PUT", path, content, by)
        assert answer.status == 200, answer
        if heard:
            self._service.wait_for(answer["event_id"])
        return str(answer["event_id"])


def events(sides: Sides, caller: Caller) -> None:
    """A ghost is invited, comes, speaks, is named and is put out."""
    caller.register("ada")
    ghosts(caller, "puppet")
    service = sides.of(caller)["irc"]
    caller.room("den", "ada", name="Den", topic="Talk")
    room, puppet = Room(caller, service), {"user_id": caller.names["puppet"]}
    room.member("invite", puppet, "ada")
    room.say("only invited", heard=False)
    room.member("join", {}, "as_irc", AS_PUPPET)
    bad = room.say("with it")
    room.say("its own", "as_irc", AS_PUPPET)
    room.say("of old", "as_irc", f"{AS_PUPPET}&ts=1000")
    room.state("m.room.topic", {"topic": "one"})
    room.state("m.room.topic", {"topic": "two"})
    room.state("org.example", {"first": True}, key="some key")
    named = {"displayname": "Puppet", "membership": "join"}
    room.state("m.room.member", named, "as_irc", caller.names["puppet"], AS_PUPPET)
    room.redact(bad)
    room.member("kick", {**puppet, "reason": "bye"}, "ada")
    room.say("without it", heard=False)
    room.member("invite", puppet, "ada")
    room.member("leave", {}, "as_irc", AS_PUPPET)
    told = service.events(caller.names["den"])
    caller.compare("what it was told", [event["content"].get("body", event["type"]) for event in told])
    caller.compare("events", in_order(told))
    invites = [event for event in told if event["content"].get("membership") == "invite"]
    for number, invite in enumerate(invites):
        for where, state in (
            ("", invite["invite_room_state"]),
            ("u", invite["unsigned"]["invite_room_state"]),
        ):
            # The order of stripped events says nothing.
            shown = sorted(state, key=lambda one: (one["type"], one["state_key"]))
            caller.compare(
                f"state of invite {number}{where}", [{**one, "keys": sorted(one)} for one in shown]
            )
    first = service.transactions[-1]
    headers = {name: first.headers[name] for name in ("authorization", "content-type")}
    caller.compare("a request", [first.method, first.query, headers, first.txn_id != ""])


EVENTS_DIFFER: dict[str, str] = {
    "events: *.event.invite_room_state": "compared apart from this, in an order of ours",
    "events: *.event.unsigned.invite_room_state": "compared apart from this, in an order of ours",
}


def test_events(sides: Sides) -> None:
    """From the join of a ghost to its leave, also what it says itself; of a room where it is only invited, the invite."""
    wrong = differences(lambda caller: events(sides, caller), sides.synapse, sides.server, EVENTS_DIFFER)
    assert not wrong, "\n".join(wrong)


def concerns(sides: Sides, caller: Caller) -> None:
    """A room concerns a service by an alias, by its own user, and by users whose names anybody may have."""
    caller.register("ada")
    ghosts(caller, "puppet")
    ghosts(caller, "guest", service="plain", prefix="shared_")
    irc, plain = sides.of(caller)["irc"], sides.of(caller)["plain"]

    def told(label: str) -> None:
        """A message of everybody's, after which nothing of before can still be missing."""
        body = {"msgtype": "m.text", "body": label}
        answer = caller.ask("PUT", f"rooms/{{den}}/send/m.room.message/{quote(label)}", body, "ada")
        mark = caller.ask("PUT", f"rooms/{{all}}/send/m.room.message/{quote(label)}", body, "ada")
        for service in (irc, plain):
            service.wait_for(mark["event_id"])
        caller.compare(
            label,
            [
                service.id
                for service in (irc, plain)
                if answer["event_id"] in [event["event_id"] for event in service.events(caller.names["den"])]
            ],
        )

    def act(method: str, path: str, body: Any, by: str) -> None:
        answer = caller.ask(method, path, body, by)
        assert answer.status == 200, answer

    caller.room("all", "ada", preset="public_chat")
    for user, by in (("puppet", "as_irc"), ("guest", "as_plain")):
        act("POST", f"join/{{all}}?user_id={{{user}}}", {}, by)
    caller.room("den", "ada", preset="public_chat")
    told("nobody is there")
    alias = caller.unique("#shared_place") + f":{caller.server_name}"
    act("PUT", f"directory/room/{quote(alias)}", {"room_id": caller.names["den"]}, "ada")
    told("it has an alias")
    act("DELETE", f"directory/room/{quote(alias)}", None, "as_plain")
    told("the alias is gone")
    act("POST", "register", {"type": "m.login.application_service", "username": "ircbot"}, "as_irc")
    act("POST", "join/{den}", {}, "as_irc")
    told("its own user is there")
    act("POST", "rooms/{den}/leave", {}, "as_irc")
    told("its own user is gone")
    act("POST", "join/{den}?user_id={guest}", {}, "as_plain")
    told("a user of a shared name is there")
    keys = {key for one in plain.transactions for key in one.body}
    caller.compare("keys without ephemeral data", sorted(keys))


def test_which_rooms_concern_a_service(sides: Sides) -> None:
    wrong = differences(lambda caller: concerns(sides, caller), sides.synapse, sides.server, {})
    assert not wrong, "\n".join(wrong)


def beside(sides: Sides, caller: Caller) -> None:
    """Who types, who has read what, and who is there."""
    caller.register("ada")
    ghosts(caller, "puppet")
    service, den = sides.of(caller)["irc"], caller.room("den", "ada", preset="public_chat")
    Room(caller, service).member("join", {}, "as_irc", AS_PUPPET)
    said = Room(caller, service).say("read me")

    def of_room(kind: str) -> list[Json]:
        return [one for one in service.beside(kind) if one.get("room_id") == den]

    def do(label: str, kind: str, expected: str, method: str, path: str, body: Any, by: str) -> None:
        """Until what is said of that kind has the text."""
        answer = caller.ask(method, path, body, by)
        assert answer.status == 200, answer
        wait_until(lambda: [one for one in of_room(kind) if expected in str(one)], label, 60)
        caller.compare(label, [{**one, "keys": sorted(one)} for one in of_room(kind)[-1:]])

    typing, receipt = "rooms/{den}/typing", "rooms/{den}/receipt"
    ada, puppet = caller.names["ada"], caller.names["puppet"]
    on, off = {"typing": True, "timeout": 60_000}, {"typing": False}
    do("ada types", "m.typing", ada, "PUT", f"{typing}/{{ada}}", on, "ada")
    do("nobody types", "m.typing", "[]", "PUT", f"{typing}/{{ada}}", off, "ada")
    do("its user types", "m.typing", puppet, "PUT", f"{typing}/{{puppet}}?{AS_PUPPET}", on, "as_irc")
    kept = caller.ask("POST", f"{receipt}/m.read.private/{quote(said)}", {}, "ada")
    assert kept.status == 200, kept
    do("ada reads", "m.receipt", ada, "POST", f"{receipt}/m.read/{quote(said)}", {}, "ada")
    path = f"{receipt}/m.read/{quote(said)}?{AS_PUPPET}"
    do("its user reads", "m.receipt", puppet, "POST", path, {}, "as_irc")
    path = f"{receipt}/m.read.private/{quote(said)}?{AS_PUPPET}"
    do("its user reads in private", "m.receipt", "m.read.private", "POST", path, {}, "as_irc")
    private = [one for one in of_room("m.receipt") if ada in str(one) and "private" in str(one)]
    caller.compare("what ada read in private", private)

    for name, by, query in (("ada", "ada", ""), ("puppet", "as_irc", AS_PUPPET)):
        status = caller.unique(f"status of {name}")
        body = {"presence": "online", "status_msg": status}
        caller.ask("PUT", f"presence/{{{name}}}/status?{query}", body, by)

        def shown(status: str = status) -> list[Json]:
            return [one for one in service.beside("m.presence") if one["content"].get("status_msg") == status]

        wait_until(shown, status, 60)
        caller.compare(f"presence of {name}", [{**one, "keys": sorted(one)} for one in shown()[:1]])
    doubled = [one.body for one in service.transactions if one.body["ephemeral"]]
    caller.compare(
        "under both names",
        all(one["ephemeral"] == one["de.sorunome.msc2409.ephemeral"] for one in doubled),
    )


def test_ephemeral_data(sides: Sides) -> None:
    """What somebody reads in private is told to nobody but the service whose user that is."""
    wrong = differences(lambda caller: beside(sides, caller), sides.synapse, sides.server, {})
    assert not wrong, "\n".join(wrong)
