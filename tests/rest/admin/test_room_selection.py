"""Rooms chosen by what they have in common, looked at, and shut down by one request."""

from typing import Any
from urllib.parse import urlencode

from pytest_twisted import ensureDeferred

from synapse_lite.tasks.actions.shutdown_room import SHUTDOWN_AND_PURGE_ROOM
from synapse_lite.tasks.actions.shutdown_rooms import SHUTDOWN_ROOMS
from tests.builders import SERVER
from tests.rest.admin_server import V1, AdminServer

PATH = f"{V1}/room_selection"
INVALID = (400, "M_INVALID_PARAM")
LONG_AGO = 1_500_000_000_000


async def selected(server: AdminServer, **wanted: Any) -> set[str]:
    answer = await server.admin("GET", f"{PATH}?{urlencode(wanted)}")
    rooms = {room["room_id"] for room in answer["rooms"]}
    assert answer["total"] == len(rooms)
    return rooms


async def make_rooms(server: AdminServer) -> dict[str, str]:
    """By name: one that is lived in, one left but not forgotten, one to which somebody is invited still."""
    alice, bob = await server.user("alice"), await server.user("bob")
    rooms = {}
    for name in ("lived in", "left", "invited", "knocked"):
        body = {"name": name, "preset": "private_chat"}
        if name == "knocked":
            rule = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
            body |= {"initial_state": [rule]}
        path = await server.room(alice, **body)
        rooms[name] = path.removeprefix("rooms/")
        if name == "invited":
            await server.ok("POST", f"{path}/invite", {"user_id": f"@bob:{SERVER}"}, alice)
        if name == "knocked":
            await server.ok("POST", f"knock/{rooms[name]}", {}, bob)
        if name != "lived in":
            await server.ok("POST", f"{path}/leave", {}, alice)
    return rooms


@ensureDeferred
async def test_abandoned_rooms_are_found(server: AdminServer) -> None:
    """Left is abandoned, whether it is forgotten or not; where somebody is invited or knocks is not."""
    rooms = await make_rooms(server)
    assert await selected(server, abandoned="true") == {rooms["left"]}
    assert await selected(server, abandoned="false") == {*rooms.values()} - {rooms["left"]}
    assert await selected(server, abandoned="true", min_members=1) == set()
    assert await selected(server, max_members=0) == {*rooms.values()} - {rooms["lived in"]}
    await server.database.transact(
        lambda txn: txn.execute(
            "UPDATE memberships SET user_id = '@far:elsewhere.test' WHERE membership = 'invite'"
        )
    )
    assert await selected(server, abandoned="true") == {rooms["left"], rooms["invited"]}


@ensureDeferred
async def test_quiet_rooms_are_found(server: AdminServer) -> None:
    """By the time of the newest event."""
    rooms = await make_rooms(server)
    await server.database.transact(
        lambda txn: txn.execute(
            "UPDATE events SET origin_server_ts = %s WHERE room_nid = (SELECT room_nid FROM rooms WHERE room_id = %s)",
            (LONG_AGO, rooms["invited"]),
        )
    )
    assert await selected(server, quiet_since=LONG_AGO + 1) == {rooms["invited"]}
    assert await selected(server, quiet_since=LONG_AGO) == set()
    answer = await server.admin("GET", f"{PATH}?quiet_since={LONG_AGO + 1}")
    assert answer["rooms"] == [
        {
            "room_id": rooms["invited"],
            "name": "invited",
            "joined_members": 0,
            "joined_local_members": 0,
            "last_event_ts": LONG_AGO,
        }
    ]


@ensureDeferred
async def test_pages_and_refusals(server: AdminServer) -> None:
    """Each room once, in the order of ids; a selection of everything is refused."""
    rooms = await make_rooms(server)
    first = await server.admin("GET", f"{PATH}?max_members=9&limit=3")
    last = await server.admin("GET", f"{PATH}?max_members=9&limit=3&from={first['next_token']}")
    assert "next_token" not in last
    found = [room["room_id"] for room in (*first["rooms"], *last["rooms"])]
    assert found == sorted(rooms.values())
    for query in ("", "abandoned=maybe", "min_members=x", "quiet_since=1700000000"):
        assert await server.refusal("GET", f"{PATH}?{query}", None, server.token) == INVALID, query


@ensureDeferred
async def test_selected_rooms_are_shut_down(server: AdminServer) -> None:
    """Those that fit when it is asked for, unless they are more than were seen; the others stay."""
    rooms = await make_rooms(server)
    path, select = f"{V1}/shutdown_rooms", {"select": {"max_members": 0}}
    for body, refused in (
        ({"select": {}}, INVALID),
        ({"select": {"abandonned": True}}, (400, "M_BAD_JSON")),
        ({"select": {"abandoned": True}, "rooms": ["!a"]}, INVALID),
        ({"select": {"min_members": 1000}}, (400, "M_UNKNOWN")),
        ({**select, "max_rooms": 2}, (400, "M_UNKNOWN")),
    ):
        assert await server.refusal("POST", path, body, server.token) == refused, body
    assert (await server.admin("GET", f"{V1}/rooms"))["total_rooms"] == len(rooms)
    task_id = (await server.admin("POST", path, {"select": {"abandoned": True}, "max_rooms": 1}))["task_id"]
    await server.steps.step(SHUTDOWN_ROOMS, await server.steps.claim(SHUTDOWN_ROOMS))
    await server.run_task(SHUTDOWN_AND_PURGE_ROOM)
    task = await server.admin("GET", f"{V1}/scheduled_tasks/{task_id}")
    assert task["params"]["room_ids"] == [rooms["left"]]
    left = {room["room_id"] for room in (await server.admin("GET", f"{V1}/rooms"))["rooms"]}
    assert left == {*rooms.values()} - {rooms["left"]}
