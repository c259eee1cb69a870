"""/sync over HTTP."""

import json
from urllib.parse import quote

from nio.responses import SyncResponse
from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import Database
from tests.rest.reading_home import TIMELINE_LIMIT, ReadingHome
from tests.rest.rooms_home import path_part


async def _home(database: Database) -> ReadingHome:
    home = ReadingHome(database)
    await home.start()
    return home


@ensureDeferred
async def test_sync(database: Database) -> None:
    """A first sync, then what is new; a client library understands both."""
    home = await _home(database)
    token, other = await home.user("alice"), await home.user("bob")
    room = await home.room(token, name="Tea")
    room_id = room.removeprefix("rooms/")
    first = await home.ok("GET", "sync", None, token)
    assert first["rooms"]["join"].keys() == {room_id}
    parsed = SyncResponse.from_dict(first)
    assert isinstance(parsed, SyncResponse), parsed
    assert parsed.rooms.join[room_id].timeline.events[0].source["type"] == "m.room.create"

    await home.ok("PUT", f"{room}/send/m.room.message/1", {"msgtype": "m.text", "body": "x"}, token)
    await home.ok("POST", f"{room}/invite", {"user_id": "@bob:hs.test"}, token)
    following = await home.ok("GET", f"sync?since={first['next_batch']}&timeout=0", None, token)
    message, invite = following["rooms"]["join"][room_id]["timeline"]["events"]
    assert (message["unsigned"]["transaction_id"], message["content"]["body"]) == ("1", "x")
    assert invite["state_key"] == "@bob:hs.test"
    assert isinstance(SyncResponse.from_dict(following), SyncResponse)
    invited = SyncResponse.from_dict(await home.ok("GET", "sync", None, other))
    assert invited.rooms.invite.keys() == {room_id}
    await home.ok("POST", f"{room}/leave", {}, other)
    wanted = quote(json.dumps({"room": {"include_leave": True}}))
    left = SyncResponse.from_dict(await home.ok("GET", f"sync?filter={wanted}", None, other))
    assert left.rooms.leave.keys() == {room_id}


@ensureDeferred
async def test_filters(database: Database) -> None:
    """As JSON or by id; the server's own limit on timelines holds."""
    home = await _home(database)
    token = await home.user("alice")
    room = await home.room(token)
    for n in range(TIMELINE_LIMIT):
        await home.ok("PUT", f"{room}/send/m.room.message/{n}", {"msgtype": "m.text", "body": "x"}, token)
    for limit, expected in ((2, 2), (1000, TIMELINE_LIMIT)):
        wanted = {"room": {"timeline": {"limit": limit}}}
        user = f"user/{path_part('@alice:hs.test')}"
        number = (await home.ok("POST", f"{user}/filter", wanted, token))["filter_id"]
        for text in (json.dumps(wanted), number):
            answer = await home.ok("GET", f"sync?filter={quote(text)}", None, token)
            (shown,) = answer["rooms"]["join"].values()
            assert len(shown["timeline"]["events"]) == expected


@ensureDeferred
async def test_refusals(database: Database) -> None:
    """Bad tokens, filters and parameters are the client's fault; without a token nothing is shown."""
    home = await _home(database)
    token = await home.user("alice")
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
        ("filter=17", (404, "M_NOT_FOUND")),
        (f"filter={'9' * 30}", (404, "M_NOT_FOUND")),
        (f"filter={quote('²')}", (400, "M_INVALID_PARAM")),
    ):
        assert await home.refusal("GET", f"sync?{query}", None, token) == expected, query
    assert await home.refusal("GET", "sync") == (401, "M_MISSING_TOKEN")
    await home.ok("GET", "sync?since=&filter=&timeout=0&full_state=false&set_presence=offline", None, token)
