"""A Synapse that federates becomes this server, under its name, with its key and its port: the other Synapse goes on with it."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest
from attrs import evolve, frozen
from click.testing import CliRunner

from synapse_lite.cli import main
from tests.interop.synapse import Synapse
from tests.interop.test_federation import Client
from tests.ports import free_port
from tests.processes.conftest import BuildSite, build_site
from tests.processes.harness import wait_until
from tests.processes.neighbours import Neighbours
from tests.processes.site import Site

__all__ = ["build_site"]

quoted = partial(quote, safe="")
BEFORE = [f"before {number}" for number in range(30)]


@frozen
class Moved:
    """`alice`, `dora` moved with their server; `bob` is a user of the other Synapse. The rooms are `bob`'s, but `home`."""

    site: Site
    alice: Client
    dora: Client
    bob: Client
    joined: str
    invited: str
    left: str
    home: str


def client(synapse: Synapse, name: str) -> Client:
    user = synapse.register(name)
    return Client(synapse.base_url, user["user_id"], user["access_token"])


def federating(neighbours: Neighbours, directory: Path) -> tuple[Synapse, int]:
    port = free_port()
    options = {**neighbours.options(port), "federation_domain_whitelist": None}
    name = options["server_name"]
    return Synapse(directory, server_name=name, options=options, listeners=[neighbours.listener(port)]), port


def new_room(owner: Client, name: str, preset: str = "public_chat") -> str:
    return str(owner.ask("POST", "createRoom", {"name": name, "preset": preset})["room_id"])


def joins(user: Client, room: str, through: Client) -> None:
    server = through.user_id.partition(":")[2]
    user.ask("POST", f"join/{quoted(room)}?server_name={quoted(server)}", {})


@pytest.fixture(scope="module")
def moved(build_site: BuildSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moved]:
    neighbours = Neighbours.in_directory(tmp_path_factory.mktemp("neighbours"))
    directory = tmp_path_factory.mktemp("moving")
    other, _ = federating(neighbours, tmp_path_factory.mktemp("other"))
    moving, port = federating(neighbours, directory)
    with other:
        with moving:
            alice, dora, bob = client(moving, "alice"), client(moving, "dora"), client(other, "bob")
            joined = new_room(bob, "joined")
            bob.say(joined, *BEFORE)
            joins(alice, joined, bob)
            alice.say(joined, "alice is here")
            alice.waits_to_read(joined, *BEFORE, "alice is here")
            bob.waits_to_read(joined, *BEFORE, "alice is here")
            invited = new_room(bob, "invited", "private_chat")
            bob.ask("POST", f"rooms/{quoted(invited)}/invite", {"user_id": alice.user_id})
            alice.waits_for(
                "the invitation", lambda answer: invited in answer.get("rooms", {}).get("invite", {})
            )
            left = new_room(bob, "left")
            joins(alice, left, bob)
            alice.ask("POST", f"rooms/{quoted(left)}/leave", {})
            home = new_room(alice, "home")
            dora.ask("POST", f"join/{quoted(home)}", {})
            joins(bob, home, alice)
            bob.say(home, "bob is here")
            alice.waits_to_read(home, "bob is here")
            moving.wait_for_updates()
        options = {**neighbours.options(port), "signing_key_path": str(directory / "synapse.signing.key")}
        site = build_site("main", listeners=[neighbours.listener(port)], **options)
        site.start("main")
        site.stop("main")
        command = ["import-synapse", *site.config_words("main"), "--database", moving.database]
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 0, result.output
        assert "not valid" not in result.output
        site.start("main")
        here = partial(evolve, base_url=site.url())
        yield Moved(site, here(alice), here(dora), bob, joined, invited, left, home)


def test_messages_both_ways(moved: Moved) -> None:
    """In a room of the other server, and in one of ours; nobody is told anew what is old."""
    for room, earlier in ((moved.joined, [*BEFORE, "alice is here"]), (moved.home, ["bob is here"])):
        moved.alice.say(room, "from the new server")
        moved.bob.waits_to_read(room, *earlier, "from the new server")
        moved.bob.say(room, "from the old friend")
        moved.alice.waits_to_read(room, *earlier, "from the new server", "from the old friend")


def test_an_invitation_is_accepted(moved: Moved) -> None:
    """It came before the move, with what may be seen of the room."""
    shown = moved.alice.ask("GET", "sync?timeout=0")["rooms"]["invite"][moved.invited]
    assert any(one["type"] == "m.room.name" for one in shown["invite_state"]["events"]), shown
    joins(moved.alice, moved.invited, moved.bob)
    moved.alice.say(moved.invited, "thank you")
    moved.bob.waits_to_read(moved.invited, "thank you")


def test_a_room_that_was_left(moved: Moved) -> None:
    """It is one that was left, and can be entered again."""
    including = quoted('{"room": {"include_leave": true}}')
    sync = moved.alice.ask("GET", f"sync?timeout=0&filter={including}")
    assert moved.left in sync["rooms"]["leave"]
    joins(moved.alice, moved.left, moved.bob)
    moved.alice.say(moved.left, "again")
    moved.bob.waits_to_read(moved.left, "again")


def test_who_is_there(moved: Moved) -> None:
    """Both servers say the same of the state of a room."""

    def state(user: Client) -> set[str]:
        return {one["event_id"] for one in user.ask("GET", f"rooms/{quoted(moved.home)}/state")}

    moved.dora.ask("POST", f"rooms/{quoted(moved.home)}/leave", {})
    wait_until(lambda: state(moved.bob) == state(moved.alice), "the same state at both servers")
