"""Registrations, log-ins and what users want of others outlast the process that heard of them."""

import asyncio
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import nio
import pytest

from synapse_lite.cli.demo.connection import Connection, User
from tests.processes.conftest import BuildSite
from tests.processes.nio_clients import clients
from tests.processes.site import SERVER, Site, create_room

V3 = "/_matrix/client/v3"
HALL = f"#hall:{SERVER}"
TOKEN = "once-each"
NEWCOMERS = [f"newcomer{number}" for number in range(6)]


@pytest.fixture(scope="module")
def site(build_site: BuildSite) -> Site:
    site = build_site(
        "main",
        enable_registration=True,
        registration_requires_token=True,
        auto_join_rooms=[HALL],
        ui_auth={"session_timeout": "1h"},
    )
    site.start("main", "second")
    return site


def test_registrations_through_a_killed_process(site: Site) -> None:
    """matrix-nio repeats those whose answers are lost: each counts once for the token, and is in the hall once."""
    allowed = len(NEWCOMERS)
    site.execute("INSERT INTO registration_tokens (token, uses_allowed) VALUES (%s, %s)", TOKEN, allowed)
    asyncio.run(register_all(site))
    assert site.value("SELECT completed FROM registration_tokens WHERE token = %s", TOKEN) == allowed
    joins = site.rows(
        "SELECT e.state_key, count(*) FROM events e JOIN room_aliases a ON a.room_nid = e.room_nid AND a.alias = %s"
        " WHERE e.type = 'm.room.member' AND e.state_key LIKE '@newcomer%%' GROUP BY e.state_key",
        HALL,
    )
    assert dict(joins) == {f"@{name}:{SERVER}": 1 for name in NEWCOMERS}


async def register_all(site: Site) -> None:
    async with clients(site.url("second"), NEWCOMERS) as newcomers:
        registrations = [
            asyncio.create_task(client.register_with_token(name, "secret", TOKEN))
            for client, name in zip(newcomers, NEWCOMERS, strict=True)
        ]
        await asyncio.wait(registrations, return_when=asyncio.FIRST_COMPLETED)
        assert not all(task.done() for task in registrations)
        site.processes["second"].kill()
        await asyncio.to_thread(site.start, "second")
        answers = await asyncio.gather(*registrations)
        for client, name, answer in zip(newcomers, NEWCOMERS, answers, strict=True):
            assert isinstance(answer, nio.RegisterResponse), answer
            assert (await client.whoami()).user_id == f"@{name}:{SERVER}"


def test_one_device_at_many_places(site: Site) -> None:
    """Of log-ins as one device at the same time, through a kill, one session is left, and all processes know which."""
    site.user("dora")
    asyncio.run(log_in_as_one(site))
    assert site.value("SELECT count(*) FROM access_tokens WHERE device_id = 'ONE'") == 1


async def log_in_as_one(site: Site) -> None:
    async with (
        clients(site.url("main"), ["dora"] * 3) as here,
        clients(site.url("second"), ["dora"] * 3) as there,
    ):
        for client in (*here, *there):
            client.device_id = "ONE"
        logins = [asyncio.create_task(client.login("secret")) for client in (*here, *there)]
        await asyncio.wait(logins, return_when=asyncio.FIRST_COMPLETED)
        assert not all(task.done() for task in logins)
        site.processes["second"].kill()
        await asyncio.to_thread(site.start, "second")
        answers = await asyncio.gather(*logins)
        assert all(isinstance(answer, nio.LoginResponse) for answer in answers), answers
        for url in (site.url("main"), site.url("second")):
            known = []
            for client in (*here, *there):
                client.homeserver = url
                known.append(isinstance(await client.whoami(), nio.WhoamiResponse))
            assert known.count(True) == 1


def test_what_a_killed_process_was_told(site: Site) -> None:
    """Who logged in there by telephone is known elsewhere, with their proof; who wants no invites gets none."""
    admin, alice, bob = site.user("admin", admin=True), site.user("alice"), site.user("bob")
    threepids = [{"medium": "msisdn", "address": "447700900123"}]
    with admin.connect() as connection:
        path = f"/_synapse/admin/v2/users/{quote(alice.user_id)}"
        connection.call("PUT", path, {"threepids": threepids})
    asyncio.run(go_on_elsewhere(site, bob, create_room(alice)))


async def go_on_elsewhere(site: Site, bob: User, room_id: str) -> None:
    number = {"type": "m.id.phone", "country": "GB", "phone": "07700 900123"}
    login = {"type": "m.login.password", "identifier": number, "password": "secret"}
    async with (
        clients(site.url("second"), ["alice", "alice"]) as (phone, old),
        clients(site.url("main"), ["alice"]) as (elsewhere,),
    ):
        for client in (old, phone):
            assert isinstance(await client.login_raw(login), nio.LoginResponse)
        wish_invites(site, "second", bob, "block")
        site.processes["second"].kill()
        elsewhere.restore_login(phone.user_id, phone.device_id, phone.access_token)
        assert isinstance(await elsewhere.delete_devices([old.device_id]), nio.DeleteDevicesResponse)
        refused = await elsewhere.room_invite(room_id, bob.user_id)
        assert refused.status_code == "M_INVITE_BLOCKED"
        await asyncio.to_thread(site.start, "second")
        assert (await old.whoami()).status_code == "M_UNKNOWN_TOKEN"
        wish_invites(site, "main", bob, "allow")
        assert isinstance(await phone.room_invite(room_id, bob.user_id), nio.RoomInviteResponse)


def wish_invites(site: Site, name: str, user: User, action: str) -> None:
    """Through the process of that name."""
    path = f"{V3}/user/{quote(user.user_id)}/account_data/m.invite_permission_config"
    with Connection(site.url(name), user.access_token) as connection:
        connection.call("PUT", path, {"default_action": action})


def test_who_may_invite(build_site: BuildSite) -> None:
    """`block_non_admin_invites`: administrators only, by either process, after the other is killed as well."""
    site = build_site("main", block_non_admin_invites=True)
    site.start("main", "second")
    admin, alice, bob = site.user("admin", admin=True), site.user("alice"), site.user("bob")
    rooms = [(user, create_room(user)) for user in (admin, alice)]
    for name in ("second", "main"):
        answers = asyncio.run(invite_each(site.url(name), rooms, bob.user_id))
        assert isinstance(answers[0], nio.RoomInviteResponse), answers[0]
        assert answers[1].status_code == "M_FORBIDDEN"
        site.processes["second"].kill()


async def invite_each(url: str, rooms: Sequence[tuple[User, str]], invited: str) -> list[Any]:
    answers = []
    async with clients(url, ["somebody"]) as (client,):
        for user, room_id in rooms:
            client.access_token = user.access_token
            answers.append(await client.room_invite(room_id, invited))
    return answers
