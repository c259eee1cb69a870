"""Limits of use, and rooms that are hidden, hold on all processes, whichever of them dies at whatever moment."""

import asyncio
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nio
import pytest
import yaml

from synapse_lite.cli.demo.connection import User
from tests.processes.conftest import BuildSite, sites
from tests.processes.gate import locked, wait_at
from tests.processes.harness import wait_until
from tests.processes.neighbours import Neighbours
from tests.processes.nio_clients import clients_of, through_a_kill
from tests.processes.site import Site, create_room, say

MOST = 2
TOO_MANY = "M_RESOURCE_LIMIT_EXCEEDED"
SMALL = {"limit_remote_rooms": {"enabled": True, "complexity": 0.005}}
PATIENT_MS = 600_000


@pytest.fixture
def build_site(postgres: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[BuildSite]:
    """Sites that end with the test."""
    with sites(postgres, tmp_path_factory) as build:
        yield build


def test_processes_together_let_in_no_more(build_site: BuildSite) -> None:
    """Of users who come to both at once, while one is killed, as many are served as may be, the same by all."""
    site = build_site("main", limit_usage_by_mau=True, max_mau_value=MOST)
    site.start("main", "second")
    asyncio.run(_come(site, [site.user(f"user{number}") for number in range(6)]))
    assert site.value("SELECT count(*) FROM active_users") == MOST


async def _come(site: Site, users: Sequence[User]) -> None:
    async with (
        clients_of(site.url("main"), *users) as here,
        clients_of(site.url("second"), *users) as there,
    ):
        with locked(site, "active_users"):
            coming = (*here[:3], *there[3:])
            asked = [asyncio.ensure_future(client.sync(timeout=0)) for client in coming]
            await asyncio.to_thread(wait_at, site, "active_users")
            site.signal("second", signal.SIGKILL)
            await asyncio.to_thread(site.processes["second"].running.wait)
        await asyncio.to_thread(site.start, "second")
        served = _served(await asyncio.gather(*asked))
        assert len(served) == MOST
        for clients in (here, there):
            assert _served([await client.sync(timeout=0) for client in clients]) == served
        refused = await next(one for at, one in enumerate(there) if at not in served).room_create()
        assert isinstance(refused, nio.RoomCreateError)
        assert refused.status_code == TOO_MANY


def _served(answers: Sequence[Any]) -> list[int]:
    """Whose turn it was; all others read why not."""
    for answer in answers:
        assert isinstance(answer, nio.SyncResponse) or answer.status_code == TOO_MANY, answer
    return [number for number, answer in enumerate(answers) if isinstance(answer, nio.SyncResponse)]


def test_a_hidden_room_stays_hidden(build_site: BuildSite) -> None:
    """`exclude_rooms_from_sync`: a poll that goes on through a kill hears nothing of it, and of the other room what is said."""
    site = build_site("main", presence={"enabled": False})  # it would end the poll, too
    site.start("main", "second")
    alice, bob = site.user("alice"), site.user("bob")
    hidden, shown = create_room(bob, alice), create_room(bob, alice)
    site.stop("main", "second")
    options = {**yaml.safe_load(site.homeserver_file.read_text()), "exclude_rooms_from_sync": [hidden]}
    site.homeserver_file.write_text(yaml.safe_dump(options))
    site.start("main", "second")
    asyncio.run(_listen(site, alice, bob, hidden, shown))


async def _listen(site: Site, alice: User, bob: User, hidden: str, shown: str) -> None:
    async with clients_of(site.url("second"), alice) as (reader,):
        first = await reader.sync(full_state=True)
        assert isinstance(first, nio.SyncResponse)
        waiting = asyncio.ensure_future(reader.sync(timeout=PATIENT_MS))
        with bob.connect() as connection:
            say(connection, hidden, "1", "nobody hears")
            site.processes["second"].kill()
            say(connection, hidden, "2", "nobody hears")
            await asyncio.to_thread(site.start, "second")
            say(connection, hidden, "3", "nobody hears")
            said = say(connection, shown, "4", "hello")
        answer = await waiting
        assert [*answer.rooms.join] == [shown]
        assert [event.event_id for event in answer.rooms.join[shown].timeline.events] == [said]
        whole = await reader.sync(full_state=True)
        assert [*reader.rooms] == [*whole.rooms.join] == [shown]
        assert {*(await reader.joined_rooms()).rooms} == {hidden, shown}


def test_a_room_that_is_too_large(build_site: BuildSite, tmp_path: Path) -> None:
    """Of a private one the size is known once it is entered. Where the process is killed at that moment, the other server has
    the join: who asks again is refused, and soon out for both.
    """
    neighbours = Neighbours.in_directory(tmp_path)
    ours, _ = neighbours.site(build_site, "main", **SMALL)
    theirs, _ = neighbours.site(build_site, "main")
    ours.start("main", "second")
    theirs.start("main")
    alice, bob = theirs.user("alice"), ours.user("bob")
    room_id = create_room(alice, preset="private_chat", invite=[bob.user_id])
    asyncio.run(_be_refused(ours, bob, room_id))
    wait_until(lambda: _joined(alice, room_id) == {alice.user_id}, "the leave at the other server")


async def _be_refused(ours: Site, bob: User, room_id: str) -> None:
    async with (
        clients_of(ours.url("second"), bob) as (guest,),
        clients_of(ours.url("main"), bob) as (elsewhere,),
    ):
        (answer,) = await through_a_kill(ours, "second", ["rooms"], lambda: guest.join(room_id))
        assert isinstance(answer, nio.JoinError)
        assert answer.status_code == TOO_MANY
        for client in (guest, elsewhere):
            assert (await client.joined_rooms()).rooms == []


def _joined(user: User, room_id: str) -> set[str]:
    with user.connect() as connection:
        answer = connection.call("GET", f"/_matrix/client/v3/rooms/{quote(room_id)}/joined_members")
    return {*answer["joined"]}
