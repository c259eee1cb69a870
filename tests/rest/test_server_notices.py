"""Notices of the server: one room for each user, in which only the server writes."""

from typing import Any

from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from tests.builders import SERVER
from tests.rest.conftest import BuildServer
from tests.server import TestServer

PATH = "/_synapse/admin/v1/send_server_notice"
ALICE = f"@alice:{SERVER}"
NOTIFIER = f"@notices:{SERVER}"
CONTENT = {"msgtype": "m.text", "body": "Maintenance tonight"}
BODY = {"user_id": ALICE, "content": CONTENT}
OPTIONS = {
    "system_mxid_localpart": "notices",
    "room_topic": "Read this",
    "room_avatar_url": "mxc://hs.test/a",
}


async def start(build_server: BuildServer, **more: Any) -> tuple[TestServer, str, str]:
    server = await build_server(server_notices={**OPTIONS, **more})
    return server, await server.user("admin", is_admin=True), await server.user("alice")


async def rooms(server: TestServer, token: str) -> Any:
    return (await server.ok("GET", "sync", token=token))["rooms"]


@ensureDeferred
async def test_a_user_gets_one_room(build_server: BuildServer) -> None:
    """They are invited, find the notices there, tagged, and cannot write; who has left is invited again."""
    server, admin, alice = await start(build_server)
    first = (await server.ok("POST", PATH, BODY, admin))["event_id"]
    assert (await server.ok("POST", PATH, BODY, admin))["event_id"] != first
    (room_id,) = (await rooms(server, alice))["invite"]
    await server.ok("POST", f"rooms/{room_id}/join", {}, alice)
    joined = (await rooms(server, alice))["join"][room_id]
    page = await server.ok("GET", f"rooms/{room_id}/messages?dir=f&limit=50", token=alice)
    notices = [event for event in page["chunk"] if event["type"] == "m.room.message"]
    assert [(event["sender"], event["content"]) for event in notices] == [(NOTIFIER, CONTENT)] * 2
    assert notices[0]["event_id"] == first
    tags = [event["content"] for event in joined["account_data"]["events"] if event["type"] == "m.tag"]
    assert tags == [{"tags": {"m.server_notice": {}}}]
    assert await server.ok("GET", f"rooms/{room_id}/state/m.room.name", token=alice) == {
        "name": "Server Notices"
    }
    assert await server.ok("GET", f"rooms/{room_id}/state/m.room.avatar", token=alice) == {
        "url": "mxc://hs.test/a"
    }
    assert await server.ok("GET", f"profile/{NOTIFIER}", token=alice) == {"displayname": "Notices"}
    said = await server.refusal("PUT", f"rooms/{room_id}/send/m.room.message/1", CONTENT, alice)
    assert said == (403, "M_FORBIDDEN")
    await server.ok("POST", f"rooms/{room_id}/leave", {}, alice)
    await server.ok("POST", PATH, BODY, admin)
    assert list((await rooms(server, alice))["invite"]) == [room_id]


@ensureDeferred
async def test_a_room_that_the_server_was_put_out_of(build_server: BuildServer) -> None:
    """As by an administrator who shuts it down: notices go on in a new one, which the user may leave and enter again."""
    server, admin, alice = await start(build_server)
    await server.ok("POST", PATH, BODY, admin)
    (old,) = (await rooms(server, alice))["invite"]
    await server.ok("POST", f"rooms/{old}/join", {}, alice)
    notifier = (await server.core.accounts.access_tokens.open(NOTIFIER)).token
    await server.ok("POST", f"rooms/{old}/leave", {}, notifier)
    for _ in range(2):
        await server.ok("POST", PATH, BODY, admin)
    (new,) = (await rooms(server, alice))["invite"]
    assert new != old
    await server.ok("POST", f"rooms/{new}/leave", {}, alice)
    await server.ok("POST", PATH, BODY, admin)
    assert list((await rooms(server, alice))["invite"]) == [new]


@ensureDeferred
async def test_a_room_from_which_the_user_is_banned(build_server: BuildServer) -> None:
    """As by a notice that says so: the next one comes in a new room, instead of being refused for ever."""
    server, admin, alice = await start(build_server)
    ban = {"user_id": ALICE, "type": "m.room.member", "state_key": ALICE, "content": {"membership": "ban"}}
    await server.ok("POST", PATH, ban, admin)
    for _ in range(2):
        await server.ok("POST", PATH, BODY, admin)
    assert len((await rooms(server, alice))["invite"]) == 1


@ensureDeferred
async def test_once_for_each_transaction_id(build_server: BuildServer) -> None:
    """The same answer, and one event; many users at once each get a room; with `auto_join` they are in it."""
    server, admin, alice = await start(build_server, auto_join=True)
    sent = [await server.ok("PUT", f"{PATH}/1", BODY, admin) for _ in range(2)]
    assert sent[0] == sent[1]
    assert await server.ok("PUT", f"{PATH}/2", BODY, admin) != sent[0]
    (room_id,) = (await rooms(server, alice))["join"]
    named = {"user_id": ALICE, "type": "m.room.topic", "state_key": "", "content": {"topic": "New"}}
    await server.ok("POST", PATH, named, admin)
    assert await server.ok("GET", f"rooms/{room_id}/state/m.room.topic", token=alice) == {"topic": "New"}
    for name in ("bob", "carol"):
        token = await server.user(name)
        await server.ok("POST", PATH, {**BODY, "user_id": f"@{name}:{SERVER}"}, admin)
        assert list((await rooms(server, token))["join"]) != [room_id]


@ensureDeferred
async def test_many_at_once_for_one_user(build_server: BuildServer) -> None:
    """One room, and none is lost."""
    server, admin, alice = await start(build_server, auto_join=True)
    await server.ok("POST", PATH, {**BODY, "user_id": f"@admin:{SERVER}"}, admin)  # and it makes the notifier
    asked = [Deferred.fromCoroutine(server.ok("POST", PATH, BODY, admin)) for _ in range(5)]
    event_ids = {answer["event_id"] for answer in await gatherResults(asked)}
    (room_id,) = (await rooms(server, alice))["join"]
    page = await server.ok("GET", f"rooms/{room_id}/messages?dir=b&limit=50", token=alice)
    said = {event["event_id"] for event in page["chunk"] if event["type"] == "m.room.message"}
    assert (said, len(said)) == (event_ids, 5)


@ensureDeferred
async def test_what_is_no_notice(build_server: BuildServer) -> None:
    """Missing fields, other servers' users and unknown ones; and a server without notices."""
    server, admin, _ = await start(build_server)
    for body, refusal in (
        ({"user_id": ALICE}, (400, "M_MISSING_PARAM")),
        ({"content": CONTENT}, (400, "M_MISSING_PARAM")),
        ({**BODY, "content": []}, (400, "M_BAD_JSON")),
        ({**BODY, "user_id": "@x:elsewhere.test"}, (400, "M_UNKNOWN")),
        ({**BODY, "user_id": f"@nobody:{SERVER}"}, (404, "M_NOT_FOUND")),
        ({**BODY, "user_id": "alice"}, (400, "M_INVALID_PARAM")),
    ):
        assert await server.refusal("POST", PATH, body, admin) == refusal
        assert await server.refusal("PUT", f"{PATH}/1", body, admin) == refusal


@ensureDeferred
async def test_without_the_option_there_are_none(build_server: BuildServer) -> None:
    """400, and no room."""
    server = await build_server()
    admin = await server.user("admin", is_admin=True)
    body = {**BODY, "user_id": f"@admin:{SERVER}"}
    assert await server.refusal("POST", PATH, body, admin) == (400, "M_UNKNOWN")
