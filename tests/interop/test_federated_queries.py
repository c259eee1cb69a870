"""What Synapse and this server tell each other when they are asked: aliases, profiles, directories, spaces, the past."""

from collections.abc import Iterator
from itertools import count
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from attrs import frozen

from synapse_lite.cli.api import call
from tests.interop.test_federation import Client, Pair, build_site, clients, federating_synapse, shared_room
from tests.processes.conftest import BuildSite
from tests.processes.harness import wait_until
from tests.processes.neighbours import Neighbours

__all__ = ["build_site"]

OPEN_DIRECTORY: dict[str, Any] = {
    "allow_public_rooms_over_federation": True,
    "room_list_publication_rules": [{"action": "allow"}],
}
_NAMES = count()


def part(text: str) -> str:
    return quote(text, safe="")


@pytest.fixture(scope="module")
def pair(build_site: BuildSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both show their public rooms to others."""
    neighbours = Neighbours.in_directory(tmp_path_factory.mktemp("neighbours"))
    ours, our_name = neighbours.site(build_site, "main", **OPEN_DIRECTORY)
    ours.start("main")
    with federating_synapse(neighbours, tmp_path_factory.mktemp("synapse"), **OPEN_DIRECTORY) as synapse:
        yield Pair(neighbours, ours, our_name, synapse)


@frozen
class Two:
    """Who is asked about, and who asks; of the one server and the other."""

    host: Client
    guest: Client

    @property
    def host_name(self) -> str:
        return self.host.user_id.partition(":")[2]


@pytest.fixture(params=["ours", "theirs"])
def two(pair: Pair, request: pytest.FixtureRequest) -> Two:
    ours, theirs = clients(pair, f"asker{next(_NAMES)}")
    return Two(ours, theirs) if request.param == "ours" else Two(theirs, ours)


def room(host: Client, **body: Any) -> str:
    made: str = host.ask("POST", "createRoom", {"preset": "public_chat", **body})["room_id"]
    return made


def enter(two: Two, room_id: str) -> None:
    via = urlencode({"via": two.host_name, "server_name": two.host_name})
    assert two.guest.ask("POST", f"join/{part(room_id)}?{via}", {}) == {"room_id": room_id}


def test_aliases(two: Two) -> None:
    """The guest's server finds the room, a server that is in it, and enters by the alias."""
    name = f"door{next(_NAMES)}"
    room_id = room(two.host, room_alias_name=name)
    alias = f"#{name}:{two.host_name}"
    found = two.guest.ask("GET", f"directory/room/{part(alias)}")
    assert found == {"room_id": room_id, "servers": [two.host_name]}
    assert two.guest.ask("POST", f"join/{part(alias)}", {}) == {"room_id": room_id}


def test_profiles(two: Two) -> None:
    """The guest reads what the host shows of themselves."""
    shown = {"displayname": "Somebody \u2603", "avatar_url": f"mxc://{two.host_name}/picture"}
    path = f"profile/{part(two.host.user_id)}"
    for name, value in shown.items():
        two.host.ask("PUT", f"{path}/{name}", {name: value})
    assert two.guest.ask("GET", path) == shown
    assert two.guest.ask("GET", f"{path}/displayname") == {"displayname": shown["displayname"]}


def test_public_rooms(two: Two) -> None:
    """The guest reads the other directory, searches in it, and enters a room from there."""
    name = f"Hall {next(_NAMES)} of them"
    room_id = room(two.host, visibility="public", name=name, topic="Everything")
    query = urlencode({"server": two.host_name})
    listed = two.guest.ask("GET", f"publicRooms?{query}")["chunk"]
    assert room_id in [one["room_id"] for one in listed]
    body = {"filter": {"generic_search_term": name}}
    (found,) = two.guest.ask("POST", f"publicRooms?{query}", body)["chunk"]
    told = {key: found[key] for key in ("room_id", "name", "topic", "num_joined_members", "join_rule")}
    assert told == {
        "room_id": room_id, "name": name, "topic": "Everything", "num_joined_members": 1, "join_rule": "public"
    }  # fmt: skip
    enter(two, room_id)


def test_spaces(two: Two) -> None:
    """In a space that both are in the guest sees rooms that only the host's server knows, and what is below them."""
    space = {"creation_content": {"type": "m.space"}}
    root = shared_room(two.host, two.guest, **space)
    inner, leaf = room(two.host, name="inner", **space), room(two.host, name="leaf")
    hidden = room(two.host, name="hidden", preset="private_chat")
    for parent, child in ((root, inner), (inner, leaf), (root, hidden)):
        path = f"rooms/{part(parent)}/state/m.space.child/{part(child)}"
        two.host.ask("PUT", path, {"via": [two.host_name]})
    url = f"{two.guest.base_url}/_matrix/client/v1/rooms/{part(root)}/hierarchy"

    def names() -> list[str | None]:
        rooms = call("GET", url, token=two.guest.token)["rooms"]
        return [one.get("name") for one in rooms]

    wait_until(lambda: names() == [None, "inner", "leaf"], f"the tree before {two.guest.user_id}")


def test_the_past(two: Two) -> None:
    """Who comes late reads all of it, in order."""
    room_id = room(two.host)
    said = [f"long ago {number}" for number in range(60)]
    two.host.say(room_id, *said)
    enter(two, room_id)

    def read() -> list[str]:
        found: list[str] = []
        token = ""
        while True:
            page = two.guest.ask("GET", f"rooms/{part(room_id)}/messages?dir=b&limit=30{token}")
            found += [one["content"]["body"] for one in page["chunk"] if "body" in one["content"]]
            if "end" not in page:
                return found[::-1]
            token = f"&from={page['end']}"

    wait_until(lambda: read() == said, f"the past before {two.guest.user_id}")
