"""What sliding sync tells of rooms that one is out of, or was out of, whatever the client looks at meanwhile."""

import threading
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from synapse_lite.handlers.sliding_sync.listings import Listing, Listings
from synapse_lite.handlers.sliding_sync.recent import Recent
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import read_position
from tests.rest.sliding_sync import ALL, BOB, LIST, id_of, say, sync, texts
from tests.server import TestServer

HELD_SECONDS = 60.0


@ensureDeferred
async def test_a_device_that_is_read_for_before_one_that_is_ahead(
    server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read for the one is not taken for what the other sees: nothing of the room is missing for either."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice, preset="public_chat")
    await server.ok("POST", f"{room}/join", {}, bob)
    devices = [{**ALL, "conn_id": name} for name in ("behind", "ahead")]
    known = [(await sync(server, bob, body))["pos"] for body in devices]
    await say(server, alice, room, "one")
    at_listing, go_on = threading.Event(), threading.Event()
    read = Listings.read

    def held(*arguments: Any) -> Any:
        monkeypatch.setattr(Listings, "read", read)
        at_listing.set()
        assert go_on.wait(HELD_SECONDS)
        return read(*arguments)

    monkeypatch.setattr(Listings, "read", held)
    more = {**devices[0], "extensions": {"typing": {"enabled": True}}}  # that memory does not answer
    behind = Deferred.fromCoroutine(sync(server, bob, more, known[0]))
    while not at_listing.is_set():
        await deferLater(reactor, 0.001)  # type: ignore[arg-type]
    await say(server, alice, room, "two")
    await server.ok("POST", f"{room}/leave", {}, bob)
    ahead = await sync(server, bob, devices[1], known[1])
    go_on.set()
    answers = [await behind]
    answers.append(await sync(server, bob, more, answers[0]["pos"]))
    shown = [answer["rooms"][id_of(room)] for answer in answers]
    assert [text for one in shown for text in texts(one)] == ["one", "two"]
    assert texts(ahead["rooms"][id_of(room)]) == ["one", "two"]
    assert shown[-1]["timeline"][-1]["content"]["membership"] == "leave"


@pytest.mark.parametrize("way", ["leave", "kick"])
@ensureDeferred
async def test_more_of_a_room_that_one_is_out_of(server: TestServer, way: str) -> None:
    """Who opens it gets what it does not have, at once, and once; nothing of what came after."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice, name="Tea", topic="Hot", preset="public_chat")
    await server.ok("POST", f"{room}/join", {}, bob)
    for n in range(3):
        await say(server, alice, room, str(n))
    out = (f"{room}/leave", {}, bob) if way == "leave" else (f"{room}/kick", {"user_id": BOB}, alice)
    await server.ok("POST", *out)
    await say(server, alice, room, "after")
    little = {"required_state": [], "timeline_limit": 1}
    first = await sync(server, bob, {"room_subscriptions": {id_of(room): little}})
    assert texts(first["rooms"][id_of(room)]) == []
    pos, body = first["pos"], {}
    for wish, news in (
        ({**little, "timeline_limit": 3}, {"texts": ["1", "2"], "topic": False}),
        (
            {"required_state": [["m.room.topic", ""]], "timeline_limit": 3},
            {"texts": ["1", "2"], "topic": True},
        ),
        (little, None),
    ):
        body = {"room_subscriptions": {id_of(room): wish}}
        answer = await sync(server, bob, body, pos)
        pos, found = answer["pos"], answer["rooms"].get(id_of(room))
        assert (found and {"texts": texts(found), "topic": "Hot" in str(found)}) == news
    assert (await sync(server, bob, body, pos))["rooms"] == {}


@ensureDeferred
async def test_invited_again_out_of_sight(server: TestServer) -> None:
    """Who was put out of a room and is asked in again is no member any more, also where no list shows invites."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice, preset="private_chat", invite=[BOB])
    await server.ok("POST", f"{room}/join", {}, bob)
    joined_only = {"lists": {"all": {**LIST, "filters": {"is_invite": False}}}}
    known = await sync(server, bob, joined_only)
    assert known["rooms"].keys() == {id_of(room)}
    await server.ok("POST", f"{room}/kick", {"user_id": BOB}, alice)
    await server.ok("POST", f"{room}/invite", {"user_id": BOB}, alice)
    told = await sync(server, bob, joined_only, known["pos"])
    assert told["rooms"][id_of(room)]["timeline"][-1]["content"]["membership"] == "leave"
    assert (await sync(server, bob, joined_only, told["pos"]))["rooms"] == {}
    invited = await sync(server, bob, ALL, told["pos"])
    assert "invite_state" in invited["rooms"][id_of(room)]
    await server.ok("POST", f"{room}/join", {}, bob)
    back = await sync(server, bob, joined_only, invited["pos"])
    assert back["rooms"][id_of(room)]["initial"]


@ensureDeferred
async def test_filters_of_rooms_that_one_was_put_out_of(server: TestServer) -> None:
    """They are what they were then: a space is no room, and what was encrypted later does not show. Strangers learn nothing."""
    alice, bob = await server.user("alice"), await server.user("bob")
    secret = {
        "initial_state": [{"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}]
    }
    space = {"creation_content": {"type": "m.space"}}
    encrypted, plain, banned, strange = [
        await server.room(alice, preset="public_chat", name="Tea", **body)
        for body in (secret, {}, space, {**space, **secret})
    ]
    asked = await server.room(alice, preset="private_chat", invite=[BOB], **space)
    for room in (encrypted, plain, banned):
        await server.ok("POST", f"{room}/join", {}, bob)
    for room in (encrypted, plain, asked):
        await server.ok("POST", f"{room}/kick", {"user_id": BOB}, alice)
    for room in (banned, strange):
        await server.ok("POST", f"{room}/ban", {"user_id": BOB}, alice)
    await server.ok("PUT", f"{plain}/state/m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"}, alice)
    for wanted, rooms in (
        ({"is_encrypted": True}, {encrypted}),
        ({"is_encrypted": False}, {plain, banned, asked}),
        ({"room_types": ["m.space"]}, {banned, asked}),
        ({"not_room_types": ["m.space"]}, {encrypted, plain, strange}),
        ({"room_name_like": "tea"}, set()),
    ):
        answer = await sync(server, bob, {"lists": {"all": {**LIST, "filters": wanted}}})
        ((op,),) = (answer["lists"]["all"]["ops"],)
        assert set(op["room_ids"]) == {id_of(room) for room in rooms}, wanted


@ensureDeferred
async def test_which_rooms_one_is_in_is_not_asked_again_of_each(server: TestServer) -> None:
    """While rooms but move up: of 5,000 it takes a third of a millisecond. Who leaves one is out of it."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice, preset="public_chat")
    await server.ok("POST", f"{room}/join", {}, bob)
    listings = Listings(server.core.events)

    def read(txn: Transaction) -> Listing:
        position, known = read_position(txn), listings.position(BOB)
        recent = Recent.of(server.core.log, [position if known is None else known])
        return listings.read(txn, BOB, recent.until(txn, position), position)

    first = await server.database.snapshot(read)
    await server.ok("PUT", f"rooms/{id_of(room)}/typing/{BOB}", {"typing": True}, bob)
    typed = await server.database.snapshot(read)
    await say(server, alice, room, "one")
    moved = listings.live(BOB, server.core.log)
    assert moved is not None
    assert moved.position > typed.position > first.position
    assert typed.standing is first.standing
    assert moved.standing is first.standing
    await server.ok("POST", f"{room}/leave", {}, bob)
    left = (await server.database.snapshot(read)).standing
    assert (len(first.standing.joined), len(first.standing.gone)) == (1, 0)
    assert (len(left.joined), len(left.gone)) == (0, 1)
