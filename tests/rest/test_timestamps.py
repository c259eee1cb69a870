"""The event nearest to a time."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from tests.builders import SERVER
from tests.server import TestServer

PATH = "/_matrix/client/v1"
ADMIN = "/_synapse/admin/v1"
NOT_FOUND = (404, "M_NOT_FOUND")
SENT = 1_700_000_100_000
FAR = SENT + 10_000_000


async def room_with_times(server: TestServer, token: str, **options: Any) -> tuple[str, list[str]]:
    """The path of a room, and events that say they were sent at SENT + 2000, + 1000 and + 3000, in this order."""
    room = await server.room(token, **options)
    events = []
    for number, offset in enumerate((2000, 1000, 3000)):
        sent = await server.ok(
            "PUT", f"{room}/send/m.room.message/{number}", {"msgtype": "m.text", "body": "x"}, token
        )
        events.append(sent["event_id"])
        await server.database.transact(
            lambda txn, ts=SENT + offset, event_id=sent["event_id"]: txn.execute(
                "UPDATE events SET origin_server_ts = %s,"
                " json = jsonb_set(json::jsonb, '{origin_server_ts}', to_jsonb(%s::bigint))::text"
                " WHERE event_id = %s",
                (ts, ts, event_id),
            )
        )
    return room, events


@pytest.mark.parametrize("is_admin", [False, True])
@ensureDeferred
async def test_the_nearest_event(server: TestServer, is_admin: bool) -> None:
    """By the time that it names, not by when it arrived; exactly then counts, in both directions."""
    alice = await server.user("alice")
    room, events = await room_with_times(server, alice)
    token = await server.user("admin", is_admin=True) if is_admin else alice
    base = f"{ADMIN if is_admin else PATH}/{room}/timestamp_to_event"
    for ts, direction, expected in (
        (SENT + 1500, "f", 0),
        (SENT + 2000, "f", 0),
        (SENT + 2000, "b", 0),
        (SENT + 1999, "b", 1),
        (SENT + 1, "f", 1),
        (FAR, "b", 2),
    ):
        found = await server.ok("GET", f"{base}?ts={ts}&dir={direction}", None, token)
        assert found.keys() == {"event_id", "origin_server_ts"}
        assert found["event_id"] == events[expected], (ts, direction)
        assert type(found["origin_server_ts"]) is int
    assert await server.refusal("GET", f"{base}?ts={FAR}&dir=f", None, token) == NOT_FOUND
    assert await server.refusal("GET", f"{base}?ts=0&dir=b", None, token) == NOT_FOUND


@ensureDeferred
async def test_only_what_one_may_see(server: TestServer) -> None:
    """Who joined later finds what they may see; a stranger nothing; an administrator all."""
    alice, bob = await server.user("alice"), await server.user("bob")
    visibility = {
        "type": "m.room.history_visibility",
        "state_key": "",
        "content": {"history_visibility": "joined"},
    }
    room, events = await room_with_times(server, alice, initial_state=[visibility])
    query = f"{room}/timestamp_to_event?ts={SENT}&dir=f"
    assert await server.refusal("GET", f"{PATH}/{query}", None, bob) == (403, "M_FORBIDDEN")
    await server.ok("POST", f"{room}/join", {}, bob)
    assert await server.refusal("GET", f"{PATH}/{query}", None, bob) == NOT_FOUND
    admin = await server.user("admin", is_admin=True)
    found = await server.ok("GET", f"{ADMIN}/{query}", None, admin)
    assert found["event_id"] == events[1]


@ensureDeferred
async def test_questions_that_make_no_sense(server: TestServer) -> None:
    """Both parameters are needed, an administrator's direction is forwards unless said."""
    alice, admin = await server.user("alice"), await server.user("admin", is_admin=True)
    room, events = await room_with_times(server, alice)
    path = f"{PATH}/{room}/timestamp_to_event"
    assert await server.refusal("GET", f"{path}?dir=f", None, alice) == (400, "M_MISSING_PARAM")
    assert await server.refusal("GET", f"{path}?ts=1", None, alice) == (400, "M_MISSING_PARAM")
    for query in ("ts=x&dir=f", "ts=1&dir=x", "ts=-1&dir=f"):
        assert await server.refusal("GET", f"{path}?{query}", None, alice) == (400, "M_INVALID_PARAM")
    path = f"{ADMIN}/{room}/timestamp_to_event?ts={SENT}"
    assert (await server.ok("GET", path, None, admin))["event_id"] == events[1]
    unknown = f"{ADMIN}/rooms/!none:{SERVER}/timestamp_to_event?ts=1"
    assert await server.refusal("GET", unknown, None, admin) == NOT_FOUND
