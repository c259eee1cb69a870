"""Who begins to ignore somebody that types hears no end of it later: so they hear of it then."""

from typing import Any

from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from tests.rest.conftest import BuildServer
from tests.rest.sliding_sync import ALL, EXTENSIONS, id_of, sync
from tests.server import OPEN, TestServer, path_part, user_path

BOB, MALLORY = "@bob:hs.test", "@mallory:hs.test"
BODY = {**ALL, **EXTENSIONS}
WITHOUT_DATA = {**ALL, "extensions": {"typing": {"enabled": True}}}
TYPES_ONLY = '{"account_data":{"types":[]},"presence":{"types":[]}}'


async def _type(server: TestServer, token: str, room: str, user: str, *, typing: bool = True) -> None:
    await server.ok("PUT", f"{room}/typing/{path_part(user)}", {"typing": typing, "timeout": 60_000}, token)


async def _ignore(server: TestServer, token: str, *users: str) -> None:
    body = {"ignored_users": {user: {} for user in users}}
    await server.ok("PUT", user_path("alice", "account_data/m.ignored_user_list"), body, token)


def _old(answer: Any) -> dict[str, list[str]]:
    """Who types, by the rooms of which that is told."""
    found = {}
    for room_id, room in answer.get("rooms", {}).get("join", {}).items():
        for event in room["ephemeral"]["events"]:
            found[room_id] = event["content"]["user_ids"]
    return found


def _new(answer: Any) -> dict[str, list[str]]:
    rooms = answer["extensions"].get("typing", {}).get("rooms", {})
    return {room_id: event["content"]["user_ids"] for room_id, event in rooms.items()}


@ensureDeferred
async def test_the_typing_of_who_is_ignored_now_is_over(build_server: BuildServer) -> None:
    """Of who types on, who stopped meanwhile, and who is ignored no more; rooms where nobody types are not told."""
    server = await build_server(**OPEN)
    token, bob, mallory = [await server.user(name) for name in ("alice", "bob", "mallory")]
    rooms = [await server.room(token) for _ in range(3)]
    both, left, _ = rooms
    for room in rooms:
        for other in (bob, mallory):
            await server.ok("POST", f"{room}/join", {}, other)
    for user_token, user in ((bob, BOB), (mallory, MALLORY)):
        await _type(server, user_token, both, user)
    await _type(server, mallory, left, MALLORY)
    first = await server.ok("GET", "sync", token=token)
    opened = await sync(server, token, BODY)
    told = {id_of(both): [BOB, MALLORY], id_of(left): [MALLORY]}
    assert _old(first) == _new(opened) == told

    await _ignore(server, token, MALLORY)
    await _type(server, mallory, left, MALLORY, typing=False)
    second = await server.ok("GET", f"sync?since={first['next_batch']}", token=token)
    gone_on = await sync(server, token, BODY, opened["pos"])
    assert _old(second) == _new(gone_on) == {id_of(both): [BOB], id_of(left): []}

    await _ignore(server, token)
    third = await server.ok("GET", f"sync?since={second['next_batch']}", token=token)
    assert _old(third) == {id_of(both): [BOB, MALLORY]}
    assert _new(await sync(server, token, BODY, gone_on["pos"])) == {id_of(both): [BOB, MALLORY]}


@ensureDeferred
async def test_a_list_that_changes_while_one_waits(build_server: BuildServer) -> None:
    """Also for those who do not look at the list, whose poll goes on."""
    server = await build_server(**OPEN)
    token, mallory = [await server.user(name) for name in ("alice", "mallory")]
    room = await server.room(token)
    await server.ok("POST", f"{room}/join", {}, mallory)
    query = f"filter={path_part(TYPES_ONLY)}"
    since = (await server.ok("GET", f"sync?{query}", token=token))["next_batch"]
    pos = (await sync(server, token, WITHOUT_DATA))["pos"]
    old = Deferred.fromCoroutine(server.ok("GET", f"sync?{query}&since={since}&timeout=30000", token=token))
    new = Deferred.fromCoroutine(sync(server, token, WITHOUT_DATA, pos, wait_ms=30_000))
    await _ignore(server, token, MALLORY)
    await _type(server, mallory, room, MALLORY)
    await server.ok("PUT", f"{room}/state/m.room.topic", {"topic": "enough"}, token)
    assert MALLORY not in str(_old(await old))
    assert MALLORY not in str(_new(await new))


@ensureDeferred
async def test_a_room_that_was_out_of_sight(build_server: BuildServer) -> None:
    """It comes back into the window after the list has changed, and was told of."""
    server = await build_server(**OPEN)
    token, mallory = [await server.user(name) for name in ("alice", "mallory")]
    room, other = await server.room(token), await server.room(token)
    await server.ok("POST", f"{room}/join", {}, mallory)
    await _type(server, mallory, room, MALLORY)
    body: dict[str, Any] = {
        **EXTENSIONS,
        "room_subscriptions": {id_of(room): {"timeline_limit": 1, "required_state": []}},
    }
    away = {**EXTENSIONS, "room_subscriptions": {id_of(other): {"timeline_limit": 1, "required_state": []}}}
    answer = await sync(server, token, body)
    assert _new(answer) == {id_of(room): [MALLORY]}
    answer = await sync(server, token, away, answer["pos"])
    await _ignore(server, token, MALLORY)
    answer = await sync(server, token, away, answer["pos"])
    await _type(server, mallory, room, MALLORY, typing=False)
    assert _new(await sync(server, token, body, answer["pos"])) == {id_of(room): []}
