"""/sync over HTTP."""

import json
from urllib.parse import quote

import pytest
from nio.responses import SyncResponse
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from synapse_lite.replication.waiters import Waiter
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import Kind
from tests.builders import SERVER
from tests.rest.conftest import BuildServer
from tests.server import TestServer, path_part

TIMELINE_LIMIT = 20


@ensureDeferred
async def test_sync(server: TestServer) -> None:
    """A first sync, then what is new; a client library understands both."""
    token, other = await server.user("alice"), await server.user("bob")
    room = await server.room(token, name="Tea")
    room_id = room.removeprefix("rooms/")
    first = await server.ok("GET", "sync", None, token)
    assert first["rooms"]["join"].keys() == {room_id}
    parsed = SyncResponse.from_dict(first)
    assert isinstance(parsed, SyncResponse), parsed
    assert parsed.rooms.join[room_id].timeline.events[0].source["type"] == "m.room.create"

    await server.ok("PUT", f"{room}/send/m.room.message/1", {"msgtype": "m.text", "body": "x"}, token)
    await server.ok("POST", f"{room}/invite", {"user_id": "@bob:hs.test"}, token)
    following = await server.ok("GET", f"sync?since={first['next_batch']}&timeout=0", None, token)
    message, invite = following["rooms"]["join"][room_id]["timeline"]["events"]
    assert (message["unsigned"]["transaction_id"], message["content"]["body"]) == ("1", "x")
    assert invite["state_key"] == "@bob:hs.test"
    assert "room_id" not in message | invite
    assert (await server.ok("GET", f"{room}/event/{message['event_id']}", None, token))["room_id"] == room_id
    assert isinstance(SyncResponse.from_dict(following), SyncResponse)
    invited = SyncResponse.from_dict(await server.ok("GET", "sync", None, other))
    assert invited.rooms.invite.keys() == {room_id}
    await server.ok("POST", f"{room}/leave", {}, other)
    wanted = quote(json.dumps({"room": {"include_leave": True}}))
    left = SyncResponse.from_dict(await server.ok("GET", f"sync?filter={wanted}", None, other))
    assert left.rooms.leave.keys() == {room_id}


@ensureDeferred
async def test_full_state(server: TestServer) -> None:
    """All state and all account data come again, also without news."""
    token = await server.user("alice")
    room_id = (await server.room(token)).removeprefix("rooms/")
    data = f"user/{path_part(f'@alice:{SERVER}')}"
    await server.ok("PUT", f"{data}/account_data/m.direct", {"@bob:hs.test": [room_id]}, token)
    await server.ok("PUT", f"{data}/rooms/{room_id}/tags/m.favourite", {}, token)
    since = (await server.ok("GET", "sync", None, token))["next_batch"]
    again = await server.ok("GET", f"sync?since={since}&full_state=true", None, token)
    assert {one["type"] for one in again["account_data"]["events"]} == {"m.push_rules", "m.direct"}
    room = again["rooms"]["join"][room_id]
    assert "m.room.create" in {event["type"] for event in room["state"]["events"]}
    assert [one["type"] for one in room["account_data"]["events"]] == ["m.tag"]


@ensureDeferred
async def test_filters(build_server: BuildServer) -> None:
    """As JSON or by id; the server's own limit on timelines holds."""
    server = await build_server(filter_timeline_limit=TIMELINE_LIMIT)
    token = await server.user("alice")
    room = await server.room(token)
    for n in range(TIMELINE_LIMIT):
        await server.ok("PUT", f"{room}/send/m.room.message/{n}", {"msgtype": "m.text", "body": "x"}, token)
    for limit, expected in ((2, 2), (1000, TIMELINE_LIMIT)):
        wanted = {"room": {"timeline": {"limit": limit}}}
        user = f"user/{path_part('@alice:hs.test')}"
        number = (await server.ok("POST", f"{user}/filter", wanted, token))["filter_id"]
        for text in (json.dumps(wanted), number):
            answer = await server.ok("GET", f"sync?filter={quote(text)}", None, token)
            (shown,) = answer["rooms"]["join"].values()
            assert len(shown["timeline"]["events"]) == expected


@ensureDeferred
async def test_refusals(server: TestServer) -> None:
    """Bad tokens, filters and parameters are the client's fault; without a token nothing is shown."""
    token = await server.user("alice")
    for query, expected in (
        ("since=1", (400, "M_INVALID_PARAM")),
        ("since=s1_2", (400, "M_INVALID_PARAM")),
        ("since=s-1", (400, "M_INVALID_PARAM")),
        (f"since=s{'9' * 19}", (400, "M_INVALID_PARAM")),
        ("timeout=-1", (400, "M_INVALID_PARAM")),
        ("timeout=soon", (400, "M_INVALID_PARAM")),
        ("full_state=maybe", (400, "M_INVALID_PARAM")),
        ("set_presence=asleep", (400, "M_INVALID_PARAM")),
        ("filter=x", (400, "M_INVALID_PARAM")),
        (f"filter={quote('{')}", (400, "M_NOT_JSON")),
        (f"filter={quote(json.dumps({'room': 1}))}", (400, "M_BAD_JSON")),
        ("filter=17", (400, "M_INVALID_PARAM")),
        (f"filter={'9' * 30}", (400, "M_INVALID_PARAM")),
        (f"filter={quote('²')}", (400, "M_INVALID_PARAM")),
    ):
        assert await server.refusal("GET", f"sync?{query}", None, token) == expected, query
    assert await server.refusal("GET", "sync") == (401, "M_MISSING_TOKEN")
    await server.ok("GET", "sync?since=&filter=&timeout=0&full_state=false&set_presence=offline", None, token)


@pytest.mark.parametrize(
    "since", ["s26335_17_338_67_10_54_27_26_1_37", "m56~2.58~3.59_1_m3~1.4_2_3_4_5_6_7_8"]
)
@ensureDeferred
async def test_who_comes_from_synapse(server: TestServer, since: str) -> None:
    """Their token names places in streams that are gone: they are told all, and go on from there."""
    token = await server.user("alice")
    room = await server.room(token)
    answer = await server.ok("GET", f"sync?since={since}&timeout=0", None, token)
    assert [f"rooms/{room_id}" for room_id in answer["rooms"]["join"]] == [room]
    following = await server.ok("GET", f"sync?since={answer['next_batch']}&timeout=0", None, token)
    assert "join" not in following.get("rooms", {})


@pytest.mark.parametrize("end", ["logout", "logout/all", "lock"])
@ensureDeferred
async def test_nobody_listens_beyond_their_session(server: TestServer, end: str) -> None:
    """A long poll that began before the session ended hears nothing that is said afterwards."""
    alice, bob = await server.register("alice"), await server.register("bob")
    room = await server.room(alice)
    await server.ok("POST", f"{room}/join", {}, bob)
    since = (await server.ok("GET", "sync", None, bob))["next_batch"]
    waiting: Deferred[None] = Deferred()
    wait = server.core.log.wait

    async def observed(waiter: Waiter, seconds: float) -> bool:
        reactor.callLater(0, lambda: waiting.called or waiting.callback(None))
        return await wait(waiter, seconds)

    server.core.log.wait = observed  # type: ignore[method-assign]
    poll = Deferred.fromCoroutine(server.call("GET", f"sync?since={since}&timeout=30000", None, bob))
    await waiting
    if end == "lock":
        await server.database.transact(_lock, f"@bob:{SERVER}")
    else:
        await server.ok("POST", end, {}, bob)
    answer = await poll
    await server.ok("PUT", f"{room}/send/m.room.message/1", {"msgtype": "m.text", "body": "secret"}, alice)
    assert answer.status == 401
    assert answer.json()["errcode"] == ("M_USER_LOCKED" if end == "lock" else "M_UNKNOWN_TOKEN")


def _lock(txn: Transaction, user_id: str) -> None:
    txn.execute("UPDATE users SET locked = true WHERE user_id = %s", (user_id,))
    txn.publish(Kind.SESSION, user_id=user_id)
