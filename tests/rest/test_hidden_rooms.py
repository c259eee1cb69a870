"""Rooms of which clients are not told (`exclude_rooms_from_sync`)."""

from collections.abc import Iterator
from typing import Any

from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from tests.rest.conftest import BuildServer
from tests.rest.sliding_sync import ALL, EXTENSIONS, id_of, say, sync
from tests.server import OPEN, TestServer, path_part

DATA = f"user/{path_part('@alice:hs.test')}"


async def house(build_server: BuildServer) -> tuple[TestServer, str, str, str]:
    """A server that hides a room, a token of who is in it and in another one, and the paths of the two."""
    before = await build_server(**OPEN)
    token = await before.user("alice")
    shown, hidden = await before.room(token), await before.room(token)
    server = await build_server(**OPEN, exclude_rooms_from_sync=[id_of(hidden)])
    return server, token, shown, hidden


def ids_in(answer: Any) -> Iterator[str]:
    """Of the rooms anywhere in an answer of /sync."""
    for rooms in answer.get("rooms", {}).values():
        yield from rooms


@ensureDeferred
async def test_sync_is_silent_about_them(build_server: BuildServer) -> None:
    """From the first answer on, whatever happens there and whatever the filter says; all else goes on as ever."""
    server, token, shown, hidden = await house(build_server)
    everything = await server.ok("GET", "sync", token=token)
    assert [*ids_in(everything)] == [id_of(shown)]
    since = everything["next_batch"]
    for room in (hidden, shown):
        await say(server, token, room, "hello")
        await server.ok("PUT", f"{DATA}/{room}/tags/u.x", {}, token)
        await server.ok("PUT", f"{room}/typing/{path_part('@alice:hs.test')}", {"typing": True}, token)
    named = f'{{"room":{{"rooms":["{id_of(hidden)}","{id_of(shown)}"]}}}}'
    for query in ("", f"&filter={path_part(named)}", "&full_state=true"):
        assert [*ids_in(await server.ok("GET", f"sync?since={since}{query}", token=token))] == [id_of(shown)]
    old = await server.ok("GET", f"events?from={since}&timeout=0", token=token)
    assert {event["room_id"] for event in old["chunk"]} == {id_of(shown)}
    assert {*(await server.ok("GET", "joined_rooms", token=token))["joined_rooms"]} == {
        id_of(hidden),
        id_of(shown),
    }


@ensureDeferred
async def test_invites_and_departures(build_server: BuildServer) -> None:
    """Who is invited there, joins, or leaves, does not learn it from /sync either."""
    server, token, _, hidden = await house(build_server)
    bob = await server.user("bob")
    since = (await server.ok("GET", "sync", token=bob))["next_batch"]
    await server.ok("POST", f"{hidden}/invite", {"user_id": "@bob:hs.test"}, token)
    assert [*ids_in(await server.ok("GET", f"sync?since={since}", token=bob))] == []
    assert (await sync(server, bob, ALL))["rooms"] == {}
    for what in ("join", "leave"):
        await server.ok("POST", f"{hidden}/{what}", {}, bob)
        assert [*ids_in(await server.ok("GET", f"sync?since={since}", token=bob))] == []


@ensureDeferred
async def test_what_happens_there_ends_no_wait(build_server: BuildServer) -> None:
    server, token, shown, hidden = await house(build_server)
    since = (await server.ok("GET", "sync", token=token))["next_batch"]
    waiting = Deferred.fromCoroutine(server.ok("GET", f"sync?since={since}&timeout=30000", token=token))
    await say(server, token, hidden, "hello")
    assert not waiting.called
    await say(server, token, shown, "hello")
    assert [*ids_in(await waiting)] == [id_of(shown)]


@ensureDeferred
async def test_sliding_sync_is_silent_about_them(build_server: BuildServer) -> None:
    """In lists, by name, in extensions, at first and later."""
    server, token, shown, hidden = await house(build_server)
    by_name = {id_of(hidden): {"required_state": [], "timeline_limit": 5}}
    body = {**ALL, "room_subscriptions": by_name, **EXTENSIONS}
    first = await sync(server, token, body)
    assert first["lists"]["all"]["count"] == 1
    for room in (hidden, shown):
        await say(server, token, room, "hello")
        await server.ok("PUT", f"{DATA}/{room}/tags/u.x", {}, token)
        await server.ok("PUT", f"{room}/typing/{path_part('@alice:hs.test')}", {"typing": True}, token)
    later = await sync(server, token, body, first["pos"])
    for answer in (first, later):
        assert id_of(shown) in str(answer)
        assert id_of(hidden) not in str(answer)
