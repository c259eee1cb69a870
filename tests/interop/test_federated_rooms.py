"""Rooms that Synapse and this server share: entered from both sides, spoken in, left."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from attrs import frozen

from synapse_lite.cli.api import ApiError, call
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from tests.interop.test_federation import Pair, build_site, pair
from tests.processes.harness import wait_until

__all__ = ["build_site", "pair"]

CLIENT = "/_matrix/client/v3"
_TXNS = count()
_FORKS = """
SELECT count(*) FROM events JOIN rooms USING (room_nid)
WHERE room_id = %s AND json_array_length(json::json -> 'prev_events') > 1
"""


def part(text: str) -> str:
    return quote(text, safe="")


@frozen
class User:
    """Somebody of one of the two servers."""

    base_url: str
    server_name: str
    user_id: str
    token: str

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return call(method, f"{self.base_url}{CLIENT}/{path}", body, token=self.token)

    def room(self, **body: Any) -> str:
        made: str = self.ask("POST", "createRoom", {"preset": "public_chat", **body})["room_id"]
        return made

    def join(self, room: str, *via: str) -> str:
        query = urlencode([("via", one) for one in via] + [("server_name", one) for one in via])
        joined: str = self.ask("POST", f"join/{part(room)}?{query}", {})["room_id"]
        return joined

    def say(self, room_id: str, text: str) -> str:
        body = {"msgtype": "m.text", "body": text}
        path = f"rooms/{part(room_id)}/send/m.room.message/t{next(_TXNS)}"
        event_id: str = self.ask("PUT", path, body)["event_id"]
        return event_id

    def redact(self, room_id: str, event_id: str) -> None:
        self.ask("PUT", f"rooms/{part(room_id)}/redact/{part(event_id)}/t{next(_TXNS)}", {})

    def act(self, room_id: str, what: str, user_id: str | None = None) -> None:
        self.ask("POST", f"rooms/{part(room_id)}/{what}", {} if user_id is None else {"user_id": user_id})

    def content(self, room_id: str, event_id: str) -> Any:
        """None while it is not there."""
        try:
            return self.ask("GET", f"rooms/{part(room_id)}/event/{part(event_id)}")["content"]
        except ApiError:
            return None

    def members(self, room_id: str) -> dict[str, str]:
        try:
            chunk = self.ask("GET", f"rooms/{part(room_id)}/members")["chunk"]
        except ApiError:
            return {}
        return {event["state_key"]: event["content"]["membership"] for event in chunk}

    def state(self, room_id: str) -> dict[tuple[str, str], str]:
        """The ids of its events."""
        found = self.ask("GET", f"rooms/{part(room_id)}/state")
        return {(one["type"], one["state_key"]): one["event_id"] for one in found}

    def rooms(self, kind: str) -> dict[str, Any]:
        """Of a first sync; Synapse keeps the answer to the same question for a while."""
        synced = self.ask("GET", f"sync?timeout={next(_TXNS)}")
        found: dict[str, Any] = synced.get("rooms", {}).get(kind, {})
        return found

    def texts(self, room_id: str) -> list[str]:
        """The newest first, as far back as pages go."""
        found: list[str] = []
        token = ""
        for _ in range(20):
            page = self.ask("GET", f"rooms/{part(room_id)}/messages?dir=b&limit=50{token}")
            found += [one["content"]["body"] for one in page["chunk"] if "body" in one["content"]]
            if "end" not in page:
                break
            token = f"&from={page['end']}"
        return found


@frozen
class Two:
    """Whose room it is, and who comes in."""

    host: User
    guest: User


@pytest.fixture(scope="module")
def people(pair: Pair) -> tuple[User, User]:
    """Alicia of ours, and sam of Synapse's."""
    alicia = pair.ours.user("alicia")
    sam = pair.synapse.register("sam")
    return (
        User(pair.ours.url(), pair.our_name, alicia.user_id, alicia.access_token),
        User(pair.synapse.base_url, pair.synapse.server_name, sam["user_id"], sam["access_token"]),
    )


@pytest.fixture(params=["ours", "theirs"])
def two(people: tuple[User, User], request: pytest.FixtureRequest) -> Two:
    ours, theirs = people
    return Two(ours, theirs) if request.param == "ours" else Two(theirs, ours)


def heard(user: User, room_id: str, event_id: str) -> None:
    wait_until(lambda: user.content(room_id, event_id), f"{event_id} at {user.user_id}")


@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
def test_life_in_a_room(two: Two, version: str) -> None:
    """The guest joins, both speak and redact, and the guest is banned; in every version, whoever is the host."""
    host, guest = two.host, two.guest
    room_id = host.room(room_version=version, name=f"Room {version}")
    guest.join(room_id, host.server_name)
    both = {host.user_id: "join", guest.user_id: "join"}
    wait_until(lambda: guest.members(room_id) == host.members(room_id) == both, "both are in")
    said, answered = host.say(room_id, "hello"), guest.say(room_id, "hello yourself")
    heard(guest, room_id, said)
    heard(host, room_id, answered)
    host.redact(room_id, answered)
    wait_until(lambda: guest.content(room_id, answered) == {}, "the redaction of the host")
    own = guest.say(room_id, "oops")
    heard(host, room_id, own)
    guest.redact(room_id, own)
    wait_until(lambda: host.content(room_id, own) == {}, "the guest's own redaction")
    host.act(room_id, "ban", guest.user_id)
    wait_until(lambda: room_id in guest.rooms("leave") or room_id not in guest.rooms("join"), "the ban")


@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
def test_forks(pair: Pair, people: tuple[User, User], version: str) -> None:
    """Both speak and set the topic at once, until an event follows both sides of a fork; both show the same then."""
    ours, theirs = people
    room_id = ours.room(room_version=version, power_level_content_override={"state_default": 0})
    theirs.join(room_id, ours.server_name)
    wait_until(lambda: theirs.user_id in ours.members(room_id), "both are in")
    said: list[str] = []

    def speak(user: User) -> None:
        said.append(user.say(room_id, "at once"))
        user.ask("PUT", f"rooms/{part(room_id)}/state/m.room.topic", {"topic": said[-1]})

    with ThreadPoolExecutor(2) as pool:
        while not pair.ours.value(_FORKS, room_id):
            list(pool.map(speak, people))
    said += [user.say(room_id, "in the end") for user in people]
    for user in people:
        for event_id in said:
            heard(user, room_id, event_id)
    wait_until(lambda: ours.state(room_id) == theirs.state(room_id), "the same state")


@pytest.mark.parametrize("version", ["6", "10", "12"])
def test_invites(two: Two, version: str) -> None:
    """Made, seen, rejected, made again, withdrawn, made again and accepted."""
    host, guest = two.host, two.guest
    room_id = host.room(room_version=version, preset="private_chat", name="Den")

    def invite() -> None:
        host.act(room_id, "invite", guest.user_id)
        wait_until(lambda: room_id in guest.rooms("invite"), "the invite")

    invite()
    shown = guest.rooms("invite")[room_id]["invite_state"]["events"]
    assert "Den" in [event["content"].get("name") for event in shown]
    guest.act(room_id, "leave")
    wait_until(lambda: host.members(room_id).get(guest.user_id) == "leave", "the rejection")
    invite()
    host.act(room_id, "kick", guest.user_id)
    wait_until(lambda: room_id not in guest.rooms("invite"), "the withdrawal")
    invite()
    guest.join(room_id)
    wait_until(lambda: host.members(room_id).get(guest.user_id) == "join", "the join")
    guest.act(room_id, "leave")
    wait_until(lambda: host.members(room_id).get(guest.user_id) == "leave", "the leave")
    host.act(room_id, "invite", guest.user_id)
    guest.join(room_id)
    assert host.user_id in guest.members(room_id)


def test_knocks_and_restricted_rooms(two: Two) -> None:
    """A knock is let in; members of one room enter the other."""
    host, guest = two.host, two.guest
    rule = {"type": "m.room.join_rules", "content": {"join_rule": "knock"}}
    room_id = host.room(preset="private_chat", initial_state=[rule], room_version="10")
    query = urlencode({"via": host.server_name, "server_name": host.server_name})
    guest.ask("POST", f"knock/{part(room_id)}?{query}", {})
    assert room_id in guest.rooms("knock")
    wait_until(lambda: host.members(room_id).get(guest.user_id) == "knock", "the knock")
    host.act(room_id, "invite", guest.user_id)
    wait_until(lambda: room_id in guest.rooms("invite"), "the invite")
    guest.join(room_id)
    allow = [{"type": "m.room_membership", "room_id": room_id}]
    rule = {"type": "m.room.join_rules", "content": {"join_rule": "restricted", "allow": allow}}
    inner = host.room(preset="private_chat", initial_state=[rule], room_version="10")
    guest.join(inner, host.server_name)
    wait_until(lambda: host.members(inner).get(guest.user_id) == "join", "the member")


def test_an_upgrade(two: Two) -> None:
    """The guest is told where the room goes on, and both speak there."""
    host, guest = two.host, two.guest
    room_id = host.room(room_version="10", name="Old")
    guest.join(room_id, host.server_name)
    wait_until(lambda: guest.user_id in host.members(room_id), "both are in")
    body = {"new_version": "11"}
    replacement = host.ask("POST", f"rooms/{part(room_id)}/upgrade", body)["replacement_room"]
    wait_until(lambda: ("m.room.tombstone", "") in guest.state(room_id), "the end of the room")
    tombstone = guest.ask("GET", f"rooms/{part(room_id)}/state/m.room.tombstone")
    assert tombstone["replacement_room"] == replacement
    guest.join(replacement, host.server_name)
    for sender, reader in ((host, guest), (guest, host)):
        heard(reader, replacement, sender.say(replacement, "here we are"))
    assert guest.ask("GET", f"rooms/{part(replacement)}/state/m.room.name") == {"name": "Old"}
