"""Two of our servers that federate over TLS, as processes."""

import asyncio
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nio
import pytest

from synapse_lite.cli.api import ApiError
from synapse_lite.cli.demo.connection import Connection, User
from tests.processes.conftest import BuildSite, sites
from tests.processes.gate import build_gate, closed_gate, locked, wait_at, wait_at_gate
from tests.processes.harness import START, wait_until
from tests.processes.neighbours import Neighbours
from tests.processes.nio_clients import ask, clients_of, through_a_kill
from tests.processes.site import Site, create_room, say

SLOW_RESYNC = "tests.processes.slow_resync"
MEMBERS = 12
PUBLIC = nio.RoomPreset.public_chat
_TAKEN = "SELECT count(*) FROM staged_rooms WHERE owner IS NOT NULL"
_OF_A_ROOM = ("events", "memberships", "current_state", "state_snapshots", "room_gaps", "partial_rooms")


@pytest.fixture
def build_site(postgres: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[BuildSite]:
    """Sites that end with the test: those of all tests together have more connections than PostgreSQL takes."""
    with sites(postgres, tmp_path_factory) as build:
        yield build


def test_servers_read_each_others_keys(build_site: BuildSite, tmp_path: Path) -> None:
    """Both listen with TLS, find each other, and believe the authority of their configuration."""
    neighbours = Neighbours.in_directory(tmp_path)
    sites = [neighbours.site(build_site, "main") for _ in range(2)]
    for site, _ in sites:
        site.start("main")
    names = [name for _, name in sites]
    for asked, of in (names, reversed(names)):
        assert neighbours.keys_seen_by(asked, of) == neighbours.keys_of(of)


def test_a_sender_that_is_killed_is_replaced(build_site: BuildSite, tmp_path: Path) -> None:
    """What is said goes on to the other server, all of it in order, when the process that sends is killed meanwhile."""
    neighbours = Neighbours.in_directory(tmp_path)
    ours, our_name = neighbours.site(build_site, "main", "second")
    theirs, _ = neighbours.site(build_site, "main")
    ours.start("main", "second")
    theirs.start("main")
    alice, bob = ours.user("alice", through="second"), theirs.user("bob")
    room_id = create_room(alice)
    with bob.connect() as connection:
        connection.call("POST", f"/_matrix/client/v3/join/{quote(room_id)}?server_name={quote(our_name)}", {})
        with alice.connect() as sending:
            said = [say(sending, room_id, str(number), str(number)) for number in range(30)]
            ours.processes["main"].kill()
            ours.expire("main")
            said += [say(sending, room_id, str(number), str(number)) for number in range(30, 60)]

        def heard() -> list[str]:
            path = f"/_matrix/client/v3/rooms/{quote(room_id)}/messages?dir=b&limit=100"
            page = connection.call("GET", path)["chunk"]
            return [one["event_id"] for one in reversed(page) if one["type"] == "m.room.message"]

        wait_until(lambda: heard() == said, "all that was said")


def test_a_process_that_is_killed_before_it_stores_a_join(build_site: BuildSite, tmp_path: Path) -> None:
    """The other server has taken the join, and this one knows nothing of it: no row of the room; the next join gets in, and all goes on."""
    ours, theirs, their_name = _neighbours(build_site, tmp_path)
    alice, bob = theirs.user("alice"), ours.user("bob")
    room_id = create_room(alice)
    _kill_before_it_stores(ours, partial(_join, bob, room_id, their_name))
    assert _members(alice, room_id)[bob.user_id] == "join"
    ours.expire("main")
    ours.start("main")
    assert {table: ours.value(f"SELECT count(*) FROM {table}") for table in _OF_A_ROOM} == dict.fromkeys(
        _OF_A_ROOM, 0
    )
    with alice.connect() as there, bob.connect() as here:
        say(there, room_id, "1", "is anybody there")
        assert here.call("GET", "/_matrix/client/v3/joined_rooms") == {"joined_rooms": []}
        _join(bob, room_id, their_name)
        assert _members(bob, room_id) == {alice.user_id: "join", bob.user_id: "join"}
        said = [say(there, room_id, "2", "welcome"), say(here, room_id, "3", "thanks")]
        for user in (alice, bob):
            wait_until(lambda: set(said) <= _heard(user, room_id), "what was said after the join")  # noqa: B023


@pytest.mark.parametrize("is_kicked", [False, True])
def test_a_join_that_nobody_repeats(build_site: BuildSite, tmp_path: Path, is_kicked: bool) -> None:
    """The process that has it is killed, while the room goes on: another one brings the user in, unless they were put out."""
    neighbours = Neighbours.in_directory(tmp_path)
    ours, _ = neighbours.site(build_site, "main", "second")
    theirs, their_name = neighbours.site(build_site, "main")
    ours.start("main", "second")
    theirs.start("main")
    asyncio.run(_lose_join(ours, theirs, their_name, is_kicked))


async def _lose_join(ours: Site, theirs: Site, their_name: str, is_kicked: bool) -> None:
    alice, bob = theirs.user("alice"), ours.user("bob")
    async with (
        clients_of(theirs.url(), alice) as (host,),
        clients_of(ours.url("second"), bob) as (lost,),
        clients_of(ours.url(), bob) as (guest,),
    ):
        room_id = (await host.room_create(visibility=nio.RoomVisibility.public, preset=PUBLIC)).room_id
        with locked(ours, "events"):
            path = f"/_matrix/client/v3/join/{quote(room_id)}?server_name={quote(their_name)}"
            joining = asyncio.ensure_future(ask(lost, "POST", path, {}))
            await asyncio.to_thread(wait_at, ours, "events")
            await host.room_send(room_id, "m.room.message", {"msgtype": "m.text", "body": "welcome"})
            if is_kicked:
                assert isinstance(await host.room_kick(room_id, bob.user_id), nio.RoomKickResponse)
            ours.signal("second", signal.SIGKILL)
            await asyncio.to_thread(ours.processes["second"].running.wait)
            joining.cancel()
        membership = "leave" if is_kicked else "join"
        assert _members(alice, room_id)[bob.user_id] == membership
        assert not (await guest.joined_rooms()).rooms
        (task_id,) = await asyncio.to_thread(_hasten, ours)
        assert (await asyncio.to_thread(ours.wait_for_end, task_id)).status == "complete"
        assert (await guest.joined_rooms()).rooms == ([] if is_kicked else [room_id])
        assert _members(alice, room_id)[bob.user_id] == membership
        if not is_kicked:
            await _talk(host, guest, room_id)


def _hasten(site: Site) -> list[str]:
    """What is going to finish joins, and begins now."""
    waiting = "UPDATE scheduled_tasks SET run_at = now_ms() WHERE action = 'finish_join' RETURNING id"
    ids = [task_id for (task_id,) in site.rows(waiting)]
    site.expire("second")
    return ids


async def _talk(host: nio.AsyncClient, guest: nio.AsyncClient, room_id: str) -> None:
    """Each hears the other."""
    for sender, reader in ((host, guest), (guest, host)):
        content = {"msgtype": "m.text", "body": f"from {sender.user_id}"}
        event_id = (await sender.room_send(room_id, "m.room.message", content)).event_id
        deadline = time.monotonic() + START
        while isinstance(await reader.room_get_event(room_id, event_id), nio.RoomGetEventError):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("is_invited", [False, True])
def test_a_process_that_is_killed_before_it_stores_what_a_user_is(
    build_site: BuildSite, tmp_path: Path, is_invited: bool
) -> None:
    """The other server has taken a knock, or the rejection of an invite, and this one does not know: the user asks once more, and both agree."""
    ours, theirs, their_name = _neighbours(build_site, tmp_path)
    alice, bob = theirs.user("alice"), ours.user("bob")
    room_id = create_room(alice)
    room, invite = f"rooms/{quote(room_id)}", {"user_id": bob.user_id}
    _ask(alice, "PUT", f"{room}/state/m.room.join_rules", {"join_rule": "knock"})
    asked = f"{room}/leave" if is_invited else f"knock/{quote(room_id)}?via={quote(their_name)}"
    before, after = ("invite", "leave") if is_invited else (None, "knock")
    if is_invited:
        _ask(alice, "POST", f"{room}/invite", invite)
    at = "rooms" if is_invited else "events"  # before a knock, as before a join, the room is made known
    _kill_before_it_stores(ours, partial(_ask, bob, "POST", asked), at)
    assert _members(alice, room_id)[bob.user_id] == after
    ours.expire("main")
    ours.start("main")
    assert _standing(bob, room_id) == before
    _ask(bob, "POST", asked)
    assert _standing(bob, room_id) == (None if is_invited else after)
    _ask(alice, "POST", f"{room}/invite", invite)
    assert _standing(bob, room_id) == "invite"
    _join(bob, room_id, their_name)
    assert (
        _members(bob, room_id)
        == _members(alice, room_id)
        == dict.fromkeys([alice.user_id, bob.user_id], "join")
    )


@pytest.mark.parametrize(("dies", "at"), [("inviting", "events"), ("invited", "rooms")])
def test_a_process_that_is_killed_before_it_stores_an_invite(
    build_site: BuildSite, tmp_path: Path, dies: str, at: str
) -> None:
    """Of the server that invites, when it has the signature of the other one, or of the other one: who asks again invites, and both agree."""
    ours, theirs, their_name = _neighbours(build_site, tmp_path)
    alice, bob = theirs.user("alice"), ours.user("bob")
    room_id = create_room(alice, preset="private_chat")
    asyncio.run(_invite(theirs if dies == "inviting" else ours, at, alice, room_id, bob))
    # What PostgreSQL has in hand when the process is killed may be committed: who asks again is invited already.
    signed = {1, 2} if dies == "inviting" else {1}
    wait_until(lambda: _signatures(ours) in signed, "the line of the signature, which follows its answer")
    assert _standing(bob, room_id) == "invite"
    _join(bob, room_id, their_name)
    assert (
        _members(bob, room_id)
        == _members(alice, room_id)
        == dict.fromkeys([alice.user_id, bob.user_id], "join")
    )


def _signatures(site: Site) -> int:
    """How many invites of others it has signed."""
    return len(re.findall(r"PUT /_matrix/federation/v2/invite/\S+ 200", site.processes["main"].log()))


async def _invite(dying: Site, at: str, alice: User, room_id: str, bob: User) -> None:
    """matrix-nio repeats what has no answer at all; another failure the user."""
    async with clients_of(alice.base_url, alice) as (host,):
        asked = partial(host.room_invite, room_id, bob.user_id)
        (answer,) = await through_a_kill(dying, "main", [at], asked)
        deadline = time.monotonic() + START
        while isinstance(answer, nio.RoomInviteError) and time.monotonic() < deadline:
            await asyncio.sleep(0.5)  # the other server may not know the one that starts again yet
            answer = await asked()
        assert isinstance(answer, nio.RoomInviteResponse), answer


def test_a_process_that_is_killed_while_members_are_loaded(build_site: BuildSite, tmp_path: Path) -> None:
    """The room was entered without its members: whoever goes on with the task fills in each of them."""
    ours, theirs, their_name = _neighbours(build_site, tmp_path, module=SLOW_RESYNC)
    build_gate(ours)
    alice, bob = theirs.user("alice"), ours.user("bob")
    others = [theirs.user(f"member{number}") for number in range(MEMBERS)]
    room_id = create_room(alice, *others)
    with closed_gate(ours):
        _join(bob, room_id, their_name)
        wait_at_gate(ours)
        ours.signal("main", signal.SIGKILL)
        assert ours.processes["main"].running.wait() == -signal.SIGKILL
    assert ours.value("SELECT count(*) FROM partial_rooms") == 1
    ours.start("main", module=SLOW_RESYNC)
    ours.expire("main")
    wait_until(lambda: not ours.value("SELECT count(*) FROM partial_rooms"), "all members")
    there = {user.user_id for user in (alice, bob, *others)}
    assert _members(bob, room_id) == dict.fromkeys(there, "join")
    with bob.connect() as connection:
        said = say(connection, room_id, "1", "hello")
    wait_until(lambda: said in _heard(alice, room_id), "what was said after it")


def test_a_process_that_is_killed_while_events_wait(build_site: BuildSite, tmp_path: Path) -> None:
    """What it had taken comes into the room when it is back, however long its lease would last."""
    ours, theirs, their_name = _neighbours(build_site, tmp_path)
    alice, bob = theirs.user("alice"), ours.user("bob")
    room_id = create_room(alice)
    _join(bob, room_id, their_name)
    with alice.connect() as there, locked(ours, "rooms"):
        said = wait_until(lambda: _said(there, room_id, "hello"), "the message at the other server")
        wait_until(lambda: ours.value(_TAKEN), "the event at a process")
        wait_at(ours, "rooms")
        ours.signal("main", signal.SIGKILL)
        assert ours.processes["main"].running.wait() == -signal.SIGKILL
    ours.execute("UPDATE staged_rooms SET leased_until = clock_timestamp() + interval '1 day'")
    ours.start("main")
    wait_until(lambda: said in _heard(bob, room_id), "what was said before")


def _neighbours(build_site: BuildSite, directory: Path, **options: Any) -> tuple[Site, Site, str]:
    """Our server, which is started with the options, another one, and its name."""
    neighbours = Neighbours.in_directory(directory)
    ours, _ = neighbours.site(build_site, "main")
    theirs, their_name = neighbours.site(build_site, "main")
    ours.start("main", **options)
    theirs.start("main")
    return ours, theirs, their_name


def _kill_before_it_stores(site: Site, ask: Callable[[], object], at: str = "events") -> None:
    """The process is killed once the other server has answered, at the first row of that table which it would store."""
    asking = threading.Thread(target=ask)
    with locked(site, at):
        asking.start()
        wait_at(site, at)
        site.signal("main", signal.SIGKILL)
        asking.join()
        assert site.processes["main"].running.wait() == -signal.SIGKILL


def _said(connection: Connection, room_id: str, text: str) -> str | None:
    """The id of the message; None: the server was too busy, and takes it again."""
    with suppress(ApiError):
        return say(connection, room_id, text, text)
    return None


def _ask(user: User, method: str, path: str, body: dict[str, Any] | None = None) -> None:
    """Also where the own server is killed meanwhile."""
    with user.connect() as connection, suppress(ApiError):
        connection.call(method, f"/_matrix/client/v3/{path}", body or {})


def _standing(user: User, room_id: str) -> str | None:
    """In which part of a first /sync the room is."""
    with user.connect() as connection:
        rooms = connection.call("GET", "/_matrix/client/v3/sync").get("rooms", {})
    return next((part for part, found in rooms.items() if room_id in found), None)


def _join(user: User, room_id: str, server: str) -> None:
    """Through the server; also where the own one is killed meanwhile."""
    _ask(user, "POST", f"join/{quote(room_id)}?server_name={quote(server)}")


def _members(user: User, room_id: str) -> dict[str, str]:
    with user.connect() as connection:
        found = connection.call("GET", f"/_matrix/client/v3/rooms/{quote(room_id)}/members")["chunk"]
    return {one["state_key"]: one["content"]["membership"] for one in found}


def _heard(user: User, room_id: str) -> set[str]:
    with user.connect() as connection:
        page = connection.call("GET", f"/_matrix/client/v3/rooms/{quote(room_id)}/messages?dir=b&limit=100")
    return {one["event_id"] for one in page["chunk"]}
