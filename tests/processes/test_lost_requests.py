"""What clients ask of a process that dies with it counts once, when they ask again, on all processes."""

import asyncio
import signal
from typing import Any
from urllib.parse import quote

import nio
import pytest

from synapse_lite.cli.demo.connection import User
from tests.processes.conftest import BuildSite
from tests.processes.gate import locked, wait_at
from tests.processes.harness import wait_until
from tests.processes.nio_clients import ask, clients_of, through_a_kill
from tests.processes.site import Site, create_room, say

V3 = "/_matrix/client/v3"
DELAYED = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events"
FLAG = "org.matrix.msc4293.redact_events"
KNOCK = [{"type": "m.room.join_rules", "content": {"join_rule": "knock"}}]
MSC3391 = "unstable/org.matrix.msc3391"
REPORTS = ("event_reports", "room_reports", "user_reports")


@pytest.fixture(scope="module")
def site(build_site: BuildSite) -> Site:
    site = build_site(
        "main",
        "second",
        max_event_delay_duration="1h",
        auto_accept_invites={"enabled": True, "only_for_direct_messages": True},
        experimental_features={"msc4306_enabled": True},
    )
    site.start("main", "second")
    return site


def test_all_that_a_process_took_along(site: Site) -> None:
    """A ban that redacts, a knock, a thread that is followed, data that is deleted, and reports of all kinds."""
    admin = site.user("admin", admin=True)
    alice, bob, mallory, carol = (site.user(name) for name in ("alice", "bob", "mallory", "carol"))
    hall, lobby = create_room(alice, bob, mallory), create_room(alice, initial_state=KNOCK)
    with mallory.connect() as connection:
        spam = [say(connection, hall, str(number)) for number in range(3)]
    with bob.connect() as connection:
        root = say(connection, hall, "root", "root")
        connection.call("PUT", _data_of(bob), {"old": True})
    asyncio.run(_ask_for_all(site, [alice, bob, carol], mallory, [hall, lobby], root))
    with alice.connect() as connection:
        for event_id in spam:
            event = connection.call("GET", f"{V3}/rooms/{quote(hall)}/event/{quote(event_id)}")
            assert event["unsigned"]["redacted_because"]["content"]["membership"] == "ban"
            assert event["content"] == {}
    with admin.connect() as connection:
        for kind in REPORTS:
            assert connection.call("GET", f"/_synapse/admin/v1/{kind}")["total"] == 1, kind


async def _ask_for_all(site: Site, users: list[User], mallory: User, rooms: list[str], root: str) -> None:
    (alice, bob, carol), (hall, lobby) = users, rooms
    thread = (
        f"/_matrix/client/unstable/io.element.msc4306/rooms/{quote(hall)}/thread/{quote(root)}/subscription"
    )
    report = {"reason": "spam"}
    async with (
        clients_of(site.url("second"), alice, bob, carol) as (owner, member, guest),
        clients_of(site.url("main"), alice, bob, carol) as (
            owner_elsewhere,
            member_elsewhere,
            guest_elsewhere,
        ),
    ):
        answers = await through_a_kill(
            site,
            "second",
            ("rooms", "account_data", "thread_subscriptions", *REPORTS),
            lambda: ask(
                owner, "POST", f"{V3}/rooms/{quote(hall)}/ban", {"user_id": mallory.user_id, FLAG: True}
            ),
            lambda: ask(member, "PUT", thread, {}),
            lambda: ask(member, "DELETE", _data_of(bob).replace("v3", MSC3391)),
            lambda: ask(member, "POST", f"{V3}/rooms/{quote(hall)}/report/{quote(root)}", report),
            lambda: ask(member, "POST", f"{V3}/rooms/{quote(lobby)}/report", report),
            lambda: ask(member, "POST", f"{V3}/users/{quote(mallory.user_id)}/report", report),
            lambda: guest.room_knock(lobby, reason="please"),
        )
        knocked = answers.pop()
        assert isinstance(knocked, nio.RoomKnockResponse), knocked
        assert answers == [{}] * 6
        assert await ask(member_elsewhere, "GET", thread) == {"automatic": False}
        assert (await ask(member_elsewhere, "GET", _data_of(bob)))["errcode"] == "M_NOT_FOUND"
        # The knock is answered at one process, and the answer to it at the other.
        assert isinstance(await owner_elsewhere.room_invite(lobby, carol.user_id), nio.RoomInviteResponse)
        assert isinstance(await guest.join(lobby), nio.JoinResponse)
        await guest_elsewhere.sync(full_state=True)
        assert set(guest_elsewhere.rooms[lobby].users) == {alice.user_id, carol.user_id}


def test_a_knock_that_is_refused(site: Site) -> None:
    """Who knocked hears it of whatever process they poll, through its death."""
    asyncio.run(_refuse(site, site.user("gina"), site.user("harry")))


async def _refuse(site: Site, gina: User, harry: User) -> None:
    lobby = create_room(gina, initial_state=KNOCK)
    async with (
        clients_of(site.url("second"), harry) as (guest,),
        clients_of(site.url("main"), gina) as (owner,),
    ):
        for dies in (True, False):
            assert isinstance(await guest.room_knock(lobby), nio.RoomKnockResponse)
            answer = await ask(guest, "GET", f"{V3}/sync")
            assert [*answer["rooms"]["knock"]] == [lobby]
            waiting = asyncio.ensure_future(_until_out(guest, lobby, answer["next_batch"]))
            await asyncio.sleep(0)
            if dies:
                site.processes["second"].kill()
            assert isinstance(await owner.room_kick(lobby, harry.user_id), nio.RoomKickResponse)
            if dies:
                await asyncio.to_thread(site.start, "second")
            assert (await waiting)["sender"] == gina.user_id


async def _until_out(client: nio.AsyncClient, room_id: str, since: str) -> Any:
    """The event by which the user is out of the room."""
    while True:
        answer = await ask(client, "GET", f"{V3}/sync?timeout=600000&since={since}")
        since = answer["next_batch"]
        left = answer.get("rooms", {}).get("leave", {})
        if room_id in left:
            return left[room_id]["timeline"]["events"][-1]


def _data_of(user: User) -> str:
    return f"{V3}/user/{quote(user.user_id)}/account_data/org.test"


def test_a_process_dies_as_it_sends_what_was_delayed(site: Site) -> None:
    """Another one sends it, once; who asks for it again, as the answer was lost, finds what they asked for."""
    asyncio.run(_delay(site, site.user("dora")))


async def _delay(site: Site, dora: User) -> None:
    room_id = create_room(dora)
    path = f"{V3}/rooms/{quote(room_id)}/send/m.room.message/1?org.matrix.msc4140.delay=3600000"
    content = {"msgtype": "m.text", "body": "hung up"}
    async with (
        clients_of(site.url("second"), dora) as (there,),
        clients_of(site.url("main"), dora) as (here,),
    ):
        asked = await ask(there, "PUT", path, content)
        site.signal("main", signal.SIGSTOP)
        with locked(site, "rooms"):
            site.execute("UPDATE delayed_events SET due_ts = now_ms()")
            await asyncio.to_thread(wait_at, site, "rooms")
            site.processes["second"].kill()
        site.signal("main", signal.SIGCONT)
        sent = "SELECT count(*) FROM delayed_events WHERE outcome = 'sent'"
        await asyncio.to_thread(wait_until, lambda: site.value(sent), "the message")
        await asyncio.to_thread(site.start, "second")
        again = await ask(there, "PUT", path, content)
        assert again == asked
        page = await here.room_messages(room_id, limit=50)
        assert [event.body for event in page.chunk if isinstance(event, nio.RoomMessageText)] == ["hung up"]
        assert await ask(here, "GET", DELAYED) == {"delayed_events": []}


def test_a_process_dies_as_it_accepts_an_invite(site: Site) -> None:
    """Another one does, and notes that the chat is a direct one."""
    asyncio.run(_accept(site, site.user("erin"), site.user("frank")))


async def _accept(site: Site, erin: User, frank: User) -> None:
    with locked(site, "account_data"):
        async with clients_of(site.url("second"), erin) as (host,):
            chat = await host.room_create(is_direct=True, invite=[frank.user_id])
        await asyncio.to_thread(wait_at, site, "account_data")
        owner = site.value("SELECT owner FROM followers WHERE name = 'auto_accept_invites'").partition("#")[0]
        site.processes[owner].kill()
    site.expire(owner)
    async with clients_of(site.url("second" if owner == "main" else "main"), frank) as (guest,):
        while chat.room_id not in guest.rooms:
            assert isinstance(await guest.sync(timeout=1000), nio.SyncResponse)
        known = await ask(guest, "GET", f"{V3}/user/{quote(frank.user_id)}/account_data/m.direct")
        assert known == {erin.user_id: [chat.room_id]}
    await asyncio.to_thread(site.start, owner)
