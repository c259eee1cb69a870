"""A process that dies takes nobody's presence along for good, and leaves its delayed events to others."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import nio
import pytest

from synapse_lite.cli.demo.connection import Connection, User
from tests.processes.conftest import BuildSite
from tests.processes.harness import START, wait_until
from tests.processes.site import Site, create_room

V3 = "/_matrix/client/v3"
DELAY_MS = 3_600_000


@pytest.fixture(scope="module")
def site(build_site: BuildSite) -> Site:
    site = build_site("worker", max_event_delay_duration="1h", presence={"sync_online_timeout": "1h"})
    site.start("main", "worker")
    return site


def through(site: Site, name: str, user: User) -> Connection:
    return Connection(site.url(name), user.access_token)


def presence_of(connection: Connection, user: User) -> str:
    state: str = connection.call("GET", f"{V3}/presence/{user.user_id}/status")["presence"]
    return state


def test_a_killed_process(site: Site) -> None:
    """Who polled it alone is offline, who polls another one too is not; what it was to send another one sends, once."""
    alice, bob = site.user("alice"), site.user("bob")
    room_id = create_room(alice, bob)
    with (
        through(site, "worker", alice) as dying,
        through(site, "worker", bob) as other,
        through(site, "main", bob) as main,
    ):
        for connection in (dying, other, main):
            connection.call("GET", f"{V3}/sync")
        assert presence_of(main, alice) == "online"
        path = f"{V3}/rooms/{room_id}/send/m.room.message/1?org.matrix.msc4140.delay={DELAY_MS}"
        dying.call("PUT", path, {"msgtype": "m.text", "body": "later"})
        process = site.value("SELECT process FROM presence_claims WHERE user_id = %s", alice.user_id)
        site.processes["worker"].kill()
        # Its lease ends now, and the delay is over: the test need not wait for either.
        site.execute("UPDATE presence_processes SET expires_at = 0 WHERE process = %s", process)
        site.execute("UPDATE delayed_events SET due_ts = 1")
        wait_until(lambda: presence_of(main, alice) == "offline", "alice is offline")
        assert presence_of(main, bob) == "online"
        assert wait_until(lambda: said(main, room_id), "the delayed event") == ["later"]
        site.start("worker")
        with through(site, "worker", alice) as back:
            back.call("GET", f"{V3}/sync")
        assert presence_of(main, alice) == "online"
        assert said(main, room_id) == ["later"]


def said(connection: Connection, room_id: str) -> list[str]:
    page: dict[str, Any] = connection.call("GET", f"{V3}/rooms/{room_id}/messages?dir=b&limit=20")
    return [event["content"]["body"] for event in page["chunk"] if event["type"] == "m.room.message"]


def test_a_client_sees_who_is_there(site: Site) -> None:
    """matrix-nio on two processes: what one says of themselves the other's poll shows, and so does a question."""
    people = [site.user("carol"), site.user("dave", through="worker")]
    create_room(*people)
    asyncio.run(meet(*people))


async def meet(carol: User, dave: User) -> None:
    async with AsyncExitStack() as stack:
        clients = []
        for user in (carol, dave):
            client = nio.AsyncClient(user.base_url, user.user_id)
            client.restore_login(user.user_id, "DEVICE", user.access_token)
            stack.push_async_callback(client.close)
            clients.append(client)
        one, other = clients
        assert isinstance(await other.sync(timeout=0), nio.SyncResponse)
        assert isinstance(await one.set_presence("unavailable", "lunch"), nio.PresenceSetResponse)
        asked = await other.get_presence(carol.user_id)
        assert (asked.presence, asked.status_msg) == ("unavailable", "lunch")
        async with asyncio.timeout(START):
            while (seen := await presence_in_sync(other, carol.user_id)) is None:
                pass
        assert (seen.presence, seen.status_msg) == ("unavailable", "lunch")


async def presence_in_sync(client: nio.AsyncClient, user_id: str) -> Any:
    """What the next answer tells of the user."""
    answer = await client.sync(timeout=5_000)
    assert isinstance(answer, nio.SyncResponse), answer
    return next((event for event in answer.presence_events if event.user_id == user_id), None)
