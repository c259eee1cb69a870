"""/sync for users of rooms of which something stored cannot be read."""

from typing import Any

from pytest_twisted import ensureDeferred

from tests.builders import SERVER
from tests.rest.conftest import BuildServer
from tests.server import OPEN, TestServer

BOB = f"@bob:{SERVER}"
HELLO = {"msgtype": "m.text", "body": "hello"}
DAMAGE = "UPDATE events SET json = 'x' || json WHERE type = %s AND room_nid = (SELECT room_nid FROM rooms WHERE room_id = %s)"
DAMAGE_MEMBER = (
    "UPDATE events SET json = 'x' || json WHERE event_nid = (SELECT event_nid FROM memberships"
    " WHERE user_id = %s AND room_nid = (SELECT room_nid FROM rooms WHERE room_id = %s))"
)
REPAIR = "UPDATE events SET json = substr(json, 2) WHERE json LIKE 'x%%'"


def id_of(room: str) -> str:
    return room.removeprefix("rooms/")


async def sync(server: TestServer, token: str, since: str = "") -> tuple[str, dict[str, Any]]:
    """The token of the answer, and the joined rooms by id."""
    answer = await server.ok("GET", f"sync?timeout=0{since and '&since='}{since}", token=token)
    return answer["next_batch"], answer.get("rooms", {}).get("join", {})


def bodies(room: dict[str, Any]) -> list[str]:
    return [e["content"]["body"] for e in room["timeline"]["events"] if e["type"] == "m.room.message"]


def broken(server: TestServer) -> float | None:
    return server.core.metrics.get_sample_value("synapse_lite_broken_rooms")


@ensureDeferred
async def test_a_first_sync(build_server: BuildServer) -> None:
    """The other rooms come, and go on; the broken one comes as a whole when it can be read again."""
    one = await build_server(**OPEN)
    token = await one.user("alice")
    whole, damaged, last = [await one.room(token, topic="x", name=name) for name in ("a", "b", "c")]
    await one.database.transact(lambda txn: txn.execute(DAMAGE, ("m.room.topic", id_of(damaged))))
    other = await build_server(bus=one.bus, **OPEN)  # which remembers nothing
    since, rooms = await sync(other, token)
    assert rooms.keys() == {id_of(whole), id_of(last)}
    assert broken(other) == 1
    for room in (whole, damaged):
        await one.ok("PUT", f"{room}/send/m.room.message/1", HELLO, token)
    since, rooms = await sync(other, token, since)
    assert {room: bodies(found) for room, found in rooms.items()} == {id_of(whole): ["hello"]}
    assert (await sync(other, token))[1].keys() == {id_of(whole), id_of(last)}
    await one.database.transact(lambda txn: txn.execute(REPAIR))
    since, rooms = await sync(other, token, since)
    assert rooms.keys() == {id_of(damaged)}
    found = rooms[id_of(damaged)]
    assert bodies(found) == ["hello"]
    shown = [event["type"] for event in (*found["state"]["events"], *found["timeline"]["events"])]
    assert "m.room.topic" in shown
    assert broken(other) == 0
    assert (await sync(other, token, since))[1] == {}
    assert (await sync(other, token))[1].keys() == {id_of(room) for room in (whole, damaged, last)}


@ensureDeferred
async def test_a_following_sync(build_server: BuildServer) -> None:
    """News that cannot be read keep no others back, and come when they can be read."""
    one = await build_server(**OPEN)
    token = await one.user("alice")
    whole, damaged = [await one.room(token, name=name) for name in ("a", "b")]
    other = await build_server(bus=one.bus, **OPEN)
    since, rooms = await sync(other, token)
    assert rooms.keys() == {id_of(whole), id_of(damaged)}
    await one.ok("PUT", f"{damaged}/send/m.room.message/1", HELLO, token)
    await one.database.transact(lambda txn: txn.execute(DAMAGE, ("m.room.message", id_of(damaged))))
    await one.ok("PUT", f"{whole}/send/m.room.message/1", HELLO, token)
    for _ in range(2):
        since, rooms = await sync(other, token, since)
        assert id_of(damaged) not in rooms
    assert broken(other) == 1
    await one.database.transact(lambda txn: txn.execute(REPAIR))
    since, rooms = await sync(other, token, since)
    assert bodies(rooms[id_of(damaged)]) == ["hello"]
    assert rooms[id_of(damaged)]["timeline"]["limited"] is True
    assert broken(other) == 0
    assert (await sync(other, token, since))[1] == {}


@ensureDeferred
async def test_broken_members(build_server: BuildServer) -> None:
    """An invite, and a room that one was put out of, of which what says so cannot be read."""
    one = await build_server(**OPEN)
    alice, bob = await one.user("alice"), await one.user("bob")
    whole, left = await one.room(bob), await one.room(alice, preset="public_chat")
    await one.ok("POST", f"{left}/join", {}, bob)
    since, _ = await sync(one, bob)
    invited = await one.room(alice, invite=[BOB])
    await one.ok("PUT", f"{left}/send/m.room.message/1", {**HELLO, "body": "missed"}, alice)
    await one.ok("POST", f"{left}/kick", {"user_id": BOB}, alice)
    for room in (invited, left):
        await one.database.transact(lambda txn, room=room: txn.execute(DAMAGE_MEMBER, (BOB, id_of(room))))
    await one.ok("PUT", f"{whole}/send/m.room.message/1", HELLO, bob)
    other = await build_server(bus=one.bus, **OPEN)
    since, rooms = await sync(other, bob, since)
    assert {room: bodies(found) for room, found in rooms.items()} == {id_of(whole): ["hello"]}
    assert broken(other) == 2
    assert (await sync(other, bob, since))[1] == {}
    await one.database.transact(lambda txn: txn.execute(REPAIR))
    answer = await other.ok("GET", "sync", token=bob)
    assert answer["rooms"]["invite"].keys() == {id_of(invited)}
    for _ in range(2):  # the first answer may be lost
        answer = await other.ok("GET", f"sync?timeout=0&since={since}", token=bob)
        assert answer["rooms"]["invite"].keys() == {id_of(invited)}
        timeline = answer["rooms"]["leave"][id_of(left)]["timeline"]["events"]
        shown = [event["content"].get("body") or event["content"]["membership"] for event in timeline]
        assert shown == ["missed", "leave"]
        if answer["next_batch"] == since:
            break
    assert broken(other) == 0
    assert "rooms" not in await other.ok("GET", f"sync?timeout=0&since={answer['next_batch']}", token=bob)
