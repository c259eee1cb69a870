"""Sliding sync tells each change of a room and of its members once, at the cost of what changed."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, DeferredQueue

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.rooms import room_by_id
from synapse_lite.tasks.actions.purge_room import PURGE_ROOM, PurgeRoomParams
from tests.builders import World
from tests.rest.conftest import BuildServer
from tests.rest.sliding_sync import ALICE, ALL, BOB, LIST, id_of, say, sync
from tests.rest.test_sliding_sync_live import count_statements, waits  # noqa: F401
from tests.server import OPEN, TestServer
from tests.tasks.steps import Steps

LAZY = {**LIST, "required_state": [["m.room.member", "$LAZY"]], "timeline_limit": 1}


def memberships(shown: Any) -> dict[str, str]:
    events = [*shown.get("required_state", ()), *shown.get("timeline", ())]
    return {e["state_key"]: e["content"]["membership"] for e in events if e["type"] == "m.room.member"}


@ensureDeferred
async def test_a_declined_invite_goes_away_on_all_devices(build_server: BuildServer) -> None:
    """It was declined with /sync, at another process: each device hears of it once, and has it no more."""
    one = await build_server(**OPEN)
    other = await build_server(bus=one.bus, **OPEN)
    alice, bob = await one.user("alice"), await one.user("bob")
    room = await one.room(alice, preset="private_chat", invite=[BOB])
    devices = [{**ALL, "conn_id": str(number)} for number in range(2)]
    known = [await sync(one, bob, body) for body in devices]
    assert all("invite_state" in answer["rooms"][id_of(room)] for answer in known)
    await other.ok("POST", f"{room}/leave", {}, bob)
    for server, body, before in zip((one, other), devices, known, strict=True):
        told = await sync(server, bob, body, before["pos"])
        assert memberships(told["rooms"][id_of(room)]) == {BOB: "leave"}
        assert told["lists"]["all"]["count"] == 0
        assert (await sync(server, bob, body, told["pos"]))["rooms"] == {}


@ensureDeferred
async def test_a_room_that_was_left_and_purged_between_two_polls(server: TestServer) -> None:
    """Who was away hears that they are out of it, and of nothing that is not there."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room, kept = await server.room(alice, preset="public_chat"), await server.room(bob)
    await server.ok("POST", f"{room}/join", {}, bob)
    known = await sync(server, bob, ALL)
    assert known["rooms"].keys() == {id_of(room), id_of(kept)}
    await server.ok("POST", f"{room}/leave", {}, bob)
    steps = Steps(server.database)
    await steps.open()
    await steps.run(PURGE_ROOM, PurgeRoomParams(room_id=id_of(room), force=True))
    for _ in range(2):  # the first answer is lost
        told = await sync(server, bob, ALL, known["pos"])
        assert told["rooms"].keys() == {id_of(room)}
        assert memberships(told["rooms"][id_of(room)]) == {BOB: "leave"}
        assert told["lists"]["all"]["count"] == 1
    assert (await sync(server, bob, ALL, told["pos"]))["rooms"] == {}
    assert (await sync(server, bob, {**ALL, "conn_id": "new"}))["rooms"].keys() == {id_of(kept)}


@ensureDeferred
async def test_who_types_no_more_when_one_looks_again(server: TestServer) -> None:
    """A client that turned the extension off, and heard of nobody who stopped, is told when it turns it on again."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice, preset="public_chat")
    await server.ok("POST", f"{room}/join", {}, bob)
    on = {**ALL, "extensions": {"typing": {"enabled": True}}}
    typing = f"{room}/typing/{ALICE}"
    await server.ok("PUT", typing, {"typing": True, "timeout": 30_000}, alice)
    pos, heard = None, []
    for body in (on, ALL, on, on):
        answer = await sync(server, bob, body, pos)
        pos, shown = answer["pos"], answer["extensions"].get("typing", {}).get("rooms", {})
        heard.append([event["content"]["user_ids"] for event in shown.values()])
        if body is ALL:
            await server.ok("PUT", typing, {"typing": False}, alice)
    assert heard == [[[ALICE]], [], [[]], []]


@ensureDeferred
async def test_members_who_do_not_speak_change_too(server: TestServer) -> None:
    """Who is invited, kicked, banned or knocks, is told also where the timeline is too short to show it."""
    alice = await server.user("alice")
    names = ("bob", "carol", "dave", "erin")
    tokens = {name: await server.user(name) for name in names}
    ids = {name: f"@{name}:hs.test" for name in names}
    room = await server.room(alice, preset="public_chat")
    for name in ("bob", "carol"):
        await server.ok("POST", f"{room}/join", {}, tokens[name])
    body = {"lists": {"all": LAZY}}
    known = await sync(server, alice, body)
    await server.ok("POST", f"{room}/kick", {"user_id": ids["bob"]}, alice)
    await server.ok("POST", f"{room}/ban", {"user_id": ids["carol"]}, alice)
    await server.ok("POST", f"{room}/invite", {"user_id": ids["dave"]}, alice)
    await server.ok("PUT", f"{room}/state/m.room.join_rules", {"join_rule": "knock"}, alice)
    await server.ok("POST", f"knock/{id_of(room)}", {}, tokens["erin"])
    for number in range(3):
        await say(server, alice, room, str(number))
    told = (await sync(server, alice, body, known["pos"]))["rooms"][id_of(room)]
    assert told["limited"] is True
    assert memberships(told).items() >= {
        (ids["bob"], "leave"),
        (ids["carol"], "ban"),
        (ids["dave"], "invite"),
        (ids["erin"], "knock"),
    }


@ensureDeferred
async def test_a_member_whom_a_resolution_puts_out(server: TestServer) -> None:
    """No timeline shows that a join does not hold any more: who only asks for members of the timeline hears of it."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice, preset="public_chat")
    for path in ("join", "leave"):
        await server.ok("POST", f"{room}/{path}", {}, bob)
    member = f"{room}/state/m.room.member/{BOB}?format=event"
    left = await server.ok("GET", member, None, alice)
    await server.ok("POST", f"{room}/join", {}, bob)
    body = {"lists": {"all": LAZY}}
    known = await sync(server, alice, body)
    await server.database.transact(_put_out, World.of(server.core), id_of(room), left["event_id"])
    told = await sync(server, alice, body, known["pos"])
    assert memberships(told["rooms"][id_of(room)]) == {BOB: "leave"}
    assert told["rooms"][id_of(room)]["joined_count"] == 1
    assert (await sync(server, alice, body, told["pos"]))["rooms"] == {}


def _put_out(txn: Transaction, world: World, room_id: str, event_id: str) -> None:
    room = room_by_id(txn, room_id)
    assert room is not None
    world.revert(txn, room, ("m.room.member", BOB), event_id)


async def _cost(server: TestServer, name: str, rooms: int, messages: int) -> int:
    """Statements of an answer to who has been away, in so many rooms, while so much was said in two of them."""
    token, other = await server.user(name), await server.user(f"{name}-friend")
    made = [await server.room(token, preset="public_chat") for _ in range(rooms)]
    for room in made[:2]:
        await server.ok("POST", f"{room}/join", {}, other)
    body = {"lists": {"all": {**LIST, "ranges": [[0, 99]]}}}
    known = await sync(server, token, body)
    known = await sync(server, token, body, known["pos"])
    for number in range(messages):
        await say(server, other, made[number % 2], str(number))
    sent: list[str] = []
    with count_statements(sent):
        told = await sync(server, token, body, known["pos"])
    assert told["rooms"].keys() == {id_of(room) for room in made[:2]}
    return len(sent)


@ensureDeferred
async def test_the_work_follows_what_changed(
    build_server: BuildServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the number of rooms nor that of missed events takes more statements."""
    monkeypatch.setattr("synapse_lite.handlers.sliding_sync.live.LiveSlidingReader.since", _nothing)
    few = await _cost(await build_server(**OPEN), "alice", 3, 4)
    many = await _cost(await build_server(**OPEN), "bob", 30, 40)
    assert many <= few


async def _nothing(*_arguments: Any) -> None:
    """Memory cannot tell."""


@ensureDeferred
async def test_who_has_everything_waits_once(
    server: TestServer,
    waits: "DeferredQueue[None]",  # noqa: F811
) -> None:
    """What happens elsewhere, and what is about to happen, ends no wait, and does not come twice."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room, elsewhere = await server.room(alice), await server.room(bob)
    known = await sync(server, alice, ALL)
    waiting = Deferred.fromCoroutine(sync(server, alice, ALL, known["pos"], wait_ms=600_000))
    await waits.get()
    await say(server, bob, elsewhere, "far")
    sent = await say(server, alice, room, "near")
    told = await waiting
    assert [event["event_id"] for event in told["rooms"][id_of(room)]["timeline"]] == [sent]
    assert not waits.pending, "somebody was woken for nothing"
    again = Deferred.fromCoroutine(sync(server, alice, ALL, told["pos"], wait_ms=600_000))
    await waits.get()
    assert not again.called
    last = await say(server, alice, room, "last")
    assert [event["event_id"] for event in (await again)["rooms"][id_of(room)]["timeline"]] == [last]
