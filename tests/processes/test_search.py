"""/search and the user directory through real processes: their followers run beside the server."""

import asyncio
from typing import Any

import pytest

from synapse_lite.cli.demo.connection import User
from tests.processes.conftest import BuildSite
from tests.processes.harness import wait_until
from tests.processes.nio_clients import ask, clients_of
from tests.processes.site import Site, create_room, say

SEARCH = "/_matrix/client/v3/search"


@pytest.fixture
def site(build_site: BuildSite) -> Site:
    site = build_site("able")
    site.start("main", "able")
    return site


def found(user: User, term: str) -> int:
    criteria = {"search_term": term, "order_by": "recent"}
    with user.connect() as connection:
        body = {"search_categories": {"room_events": criteria}}
        answer = connection.call("POST", SEARCH, body)
    return len(answer["search_categories"]["room_events"]["results"])


def names(user: User, term: str) -> list[str]:
    with user.connect() as connection:
        answer = connection.call("POST", "/_matrix/client/v3/user_directory/search", {"search_term": term})
    return [one["user_id"] for one in answer["results"]]


def test_what_is_said_is_found(site: Site) -> None:
    """Soon after it is said; not once it is redacted. So are the people in the room."""
    alice, bob = site.user("alice"), site.user("bob")
    room_id = create_room(alice, bob)
    with alice.connect() as connection:
        content = {"msgtype": "m.text", "body": "我们今天讨论数据库"}
        path = f"/_matrix/client/v3/rooms/{room_id}"
        event_id = connection.call("PUT", f"{path}/send/m.room.message/1", content)["event_id"]
    wait_until(lambda: found(bob, "数据库") == 1, "the message is found")
    wait_until(lambda: names(alice, "bo") == [bob.user_id], "the user is found")
    with alice.connect() as connection:
        connection.call("PUT", f"{path}/redact/{event_id}/2", {})
    assert found(bob, "数据库") == 0


@pytest.mark.parametrize("order", ["recent", "rank"])
def test_pages_through_kills(build_site: BuildSite, order: str) -> None:
    """matrix-nio reads all pages, in turn from two processes, one of which dies again and again: every hit once, though more is said."""
    site = build_site("main")
    site.start("main", "second")
    alice = site.user("alice")
    room_id = create_room(alice)
    with alice.connect() as connection:
        said = [say(connection, room_id, str(number), f"tide {'and foam ' * number}") for number in range(12)]
    wait_until(lambda: found(alice, "tide") == min(len(said), 10), "the messages are found")
    wait_until(lambda: site.value("SELECT count(*) FROM event_search") == len(said), "all of them")
    pages = asyncio.run(read_all(site, alice, room_id, order))
    assert [event_id for page in pages for event_id in page] == (said[::-1] if order == "recent" else said)


async def read_all(site: Site, user: User, room_id: str, order: str) -> list[list[str]]:
    criteria = {"search_term": "tide", "order_by": order, "filter": {"limit": 2}}
    pages: list[list[str]] = []
    start: str | None = ""
    async with clients_of(site.url("second"), user) as (there,), clients_of(site.url(), user) as (here,):
        while start is not None:
            path = f"{SEARCH}?next_batch={start}" if start else SEARCH
            body = {"search_categories": {"room_events": criteria}}
            dies = len(pages) % 2 == 0
            asked = asyncio.ensure_future(ask(there if dies else here, "POST", path, body))
            if dies:
                await asyncio.sleep(0)  # it is on its way
                site.processes["second"].kill()
                await asyncio.to_thread(later, user, room_id, len(pages))
                await asyncio.to_thread(site.start, "second")
            answer: Any = (await asked)["search_categories"]["room_events"]
            pages.append([one["result"]["event_id"] for one in answer["results"]])
            start = answer.get("next_batch")
    return pages


def later(user: User, room_id: str, number: int) -> None:
    """What no page shows that was asked for before."""
    with user.connect() as connection:
        say(connection, room_id, f"later{number}", "tide" if number else "ebb")
