"""Sliding sync of rooms that are entered without most of their members, beside /sync."""

from typing import Any

from pytest_twisted import ensureDeferred

from tests.federation.hall import CREATOR, ROOM
from tests.federation.network import Scripted
from tests.federation.pair import text
from tests.federation.remote_room import send
from tests.federation.resident import MANY, Resident, enter, entered, fetch_members, partial, with_banned
from tests.federation.test_partial_rooms import LAZY
from tests.rest.sliding_sync import sync, texts
from tests.server import TestServer

STATE = [["m.room.create", ""], ["m.room.join_rules", ""]]


def asking(*more: list[str]) -> dict[str, Any]:
    return {"lists": {"all": {"ranges": [[0, 9]], "required_state": [*STATE, *more], "timeline_limit": 5}}}


def told(room: dict[str, Any]) -> list[str]:
    """Whose member events are among the state."""
    return [one["state_key"] for one in room["required_state"] if one["type"] == "m.room.member"]


def everybody(server: TestServer, resident: Resident) -> set[str]:
    return {f"@bob:{server.name}", CREATOR, *(resident.name_of(number) for number in range(MANY))}


@ensureDeferred
async def test_a_client_that_loads_members_lazily(server: TestServer, other: Scripted) -> None:
    """It sees the room at once, who speaks, and who becomes known, as by /sync: it may have to encrypt for them."""
    resident, bob = await entered(server, other)
    assert await partial(server)
    body = asking(["m.room.member", "$LAZY"])
    first = await sync(server, bob, body)
    v3 = await server.ok("GET", f"sync?{LAZY}", token=bob)
    room = first["rooms"][ROOM]
    assert {"m.room.create", "m.room.join_rules"} <= {one["type"] for one in room["required_state"]}
    assert told(room) == [f"@bob:{server.name}"]
    speaker = resident.name_of(5)
    await send(server, other, resident.says(speaker, "m.room.message", text("hello")).pdu)
    second = await sync(server, bob, body, first["pos"])
    room = second["rooms"][ROOM]
    assert (texts(room), told(room)) == (["hello"], [speaker])
    await fetch_members(server)
    third = await sync(server, bob, body, second["pos"])
    room = third["rooms"][ROOM]
    assert room["joined_count"] == MANY + 2
    assert len(room["heroes"]) == 5
    members = told(room)
    assert len(members) == len({*members})
    assert {*members} == everybody(server, resident) - {f"@bob:{server.name}", speaker}
    v3 = await server.ok("GET", f"sync?{LAZY}&since={v3['next_batch']}", token=bob)
    state = v3["rooms"]["join"][ROOM]["state"]["events"]
    assert {one["state_key"] for one in state if one["type"] == "m.room.member"} == {*members, speaker}
    assert (await sync(server, bob, body, third["pos"]))["rooms"] == {}
    anew = (await sync(server, bob, {**body, "conn_id": "new"}))["rooms"][ROOM]
    assert (anew["joined_count"], {*told(anew)}) == (MANY + 2, {speaker, f"@bob:{server.name}"})


@ensureDeferred
async def test_clients_that_want_all_members(server: TestServer, other: Scripted) -> None:
    """They get those who are known, and each of the others as soon as they are, once; who comes later gets all."""
    resident, bob = await entered(server, other)
    body = asking(["m.room.member", "*"])
    first = await sync(server, bob, body)
    before = told(first["rooms"][ROOM])
    assert before == [f"@bob:{server.name}"]
    await fetch_members(server)
    second = await sync(server, bob, body, first["pos"])
    members = told(second["rooms"][ROOM])
    assert len(members) == len({*members})
    assert {*before, *members} == everybody(server, resident)
    assert (await sync(server, bob, body, second["pos"]))["rooms"] == {}
    anew = await sync(server, bob, {**body, "conn_id": "new"})
    assert {*told(anew["rooms"][ROOM])} == everybody(server, resident)


@ensureDeferred
async def test_what_is_taken_back(server: TestServer, other: Scripted) -> None:
    """Of somebody who was banned, which was left out, the client hears until it is known; then it is told the ban."""
    resident, banned = with_banned(other)
    bob = await enter(server, resident)
    body = asking(["m.room.member", "$LAZY"])
    first = await sync(server, bob, body)
    spam = resident.says(banned, "m.room.message", text("spam"))
    renamed = resident.says(banned, "m.room.member", {"membership": "join", "displayname": "x"}, banned)
    await send(server, other, spam.pdu, renamed.pdu)
    second = await sync(server, bob, body, first["pos"])
    assert texts(second["rooms"][ROOM]) == ["spam"]
    await fetch_members(server)
    third = await sync(server, bob, body, second["pos"])
    room = third["rooms"][ROOM]
    (member,) = [one for one in room["required_state"] if one.get("state_key") == banned]
    assert member["content"]["membership"] == "ban"
    assert room["joined_count"] == MANY + 1
    anew = (await sync(server, bob, {**body, "conn_id": "new"}))["rooms"][ROOM]
    assert texts(anew) == []
