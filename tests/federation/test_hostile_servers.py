"""Servers that mean harm: nothing is accepted that must not be, and nothing grows without bound."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from synapse_lite.federation.inbound import InboundEvents
from synapse_lite.federation.peers import PeerError
from synapse_lite.federation.staging import MAX_SLOW_ROOMS
from synapse_lite.federation.trust import MOST, SECONDS
from synapse_lite.matrix.event import Event, content_hash, essence
from synapse_lite.storage import staged_events
from synapse_lite.storage.events import Standing, StoredEvent
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.staged_events import Arrival, StagedEvent
from tests.builders import ALICE
from tests.federation.network import Network, Scripted
from tests.federation.remote_room import RemoteRoom, remote_room, send, settle, texts
from tests.server import TestServer, path_part

DEEP = 1500  # more than the interpreter lets functions call each other


def signed(other: Scripted, event: Event, **changes: Any) -> dict[str, Any]:
    """The event with other fields, hashed and signed as if it were meant so."""
    pdu = {**event.pdu, **changes}
    pdu["hashes"] = {"sha256": content_hash(pdu, event.version)}
    pdu["signatures"] = {other.name: {other.key.key_id: other.key.sign_bytes(essence(pdu, event.version))}}
    return pdu


@ensureDeferred
async def test_well_signed_nonsense(server: TestServer, other: Scripted) -> None:
    """10,000 predecessors, an endless text, a depth beyond all, a sender of ours, ids that are none: each is refused by name
    or dropped, and the good event beside them arrives.
    """
    room, token = await remote_room(server, other)
    good = await room.say("good")
    wrong = [
        signed(other, good, prev_events=[f"${number}" for number in range(10_000)]),
        signed(other, good, auth_events=[f"${number}" for number in range(11)]),
        signed(other, good, content={"body": "x" * 65_536}),
        signed(other, good, type="x" * 256),
        signed(other, good, depth=2**53 - 1 + 1),
        signed(other, good, sender=ALICE),
        signed(other, good, sender="carol"),
        signed(other, good, state_key=7),
        signed(other, good, origin_server_ts=-(2**53)),
        {**good.pdu, "signatures": {}},
        {**good.pdu, "signatures": {other.name: {f"ed25519:{number}": "x" for number in range(1000)}}},
        {**good.pdu, "hashes": {}},
    ]
    results = await send(server, other, *wrong[:-1], good.pdu)
    assert results[good.event_id] == {}
    assert all("error" in result for event_id, result in results.items() if event_id != good.event_id)
    assert await texts(server, room, token) == ["good"]


@ensureDeferred
async def test_events_that_follow_each_other_in_a_circle(
    server: TestServer, other: Scripted, network: Network
) -> None:
    """In room versions 1 and 2 servers choose the ids of their events, so they can: nobody walks for ever."""
    room, token = await remote_room(server, other, room_version="2")
    first = await room.say("first")
    second = await room.say("second", previous=[first])
    loop = Event.from_pdu(
        signed(other, first, prev_events=[[second.event_id, {"sha256": "x"}]]), first.version
    )
    answer = {"events": [loop.pdu, second.pdu], "pdus": [loop.pdu], "pdu_ids": [], "auth_chain_ids": []}
    other.scripts["/_matrix/federation"] = lambda *_: answer
    network.asked.clear()
    await send(server, other, second.pdu)
    assert await room.stored(second) is None
    assert len(network.asked) < 20
    good = await room.say("good")
    await send(server, other, good.pdu)
    assert await texts(server, room, token) == ["good"]


@ensureDeferred
async def test_a_very_deep_auth_chain(server: TestServer, other: Scripted, network: Network) -> None:
    """Each name that somebody had leans on the one before: all of it is asked for at once, and walked without a stack."""
    room, token = await remote_room(server, other)
    state, chain = dict(room.state), []
    for number in range(DEEP):
        content = {"membership": "join", "displayname": str(number)}
        chain.append(await room.build("m.room.member", content, room.user, state=state))
        state[chain[-1].key] = chain[-1]
    said = await room.say("from the depth", state=state)
    other.scripts["/_matrix/federation/v1/event_auth/"] = lambda *_: {
        "auth_chain": [one.pdu for one in reversed(chain)]
    }
    network.asked.clear()
    await send(server, other, said.pdu)
    assert len(network.asked) < 5
    assert await texts(server, room, token) == ["from the depth"]
    lowest = await room.stored(chain[0])
    assert lowest is not None
    assert lowest.standing is Standing.OUTLIER


@ensureDeferred
async def test_a_flood_for_one_room_is_bounded(server: TestServer, other: Scripted, monkeypatch: Any) -> None:
    """What waits for a slow room has a limit; what is beyond it comes back with what refers to it."""
    room, _ = await remote_room(server, other)
    monkeypatch.setattr(staged_events, "MAX_STAGED", 3)
    said = [await room.say(str(number)) for number in range(6)]
    arrivals = [Arrival(room.room_id, one.event_id, one.pdu) for one in said]
    await server.database.transact(staged_events.stage, other.name, arrivals, 1)
    claimed = await server.database.transact(staged_events.claim_rooms, "me", server.name, 60, 1)
    waiting = await server.database.read(staged_events.oldest, claimed, "me", 100)
    assert [one.event_id for one in waiting[room.room_id]] == [one.event_id for one in said[:3]]


@ensureDeferred
async def test_a_flood_of_events_that_lead_nowhere(
    server: TestServer, other: Scripted, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is asked without end for what nobody has. What needs no asking arrives, and what was let go comes back later."""
    room, token = await remote_room(server, other)
    hidden = [await room.say(f"hidden {number}") for number in range(40)]
    groundless = [await room.say("groundless", previous=[one]) for one in hidden]
    network.asked.clear()
    for one in groundless[:MOST]:
        await send(server, other, one.pdu)
    assert len(network.asked) >= MOST
    network.asked.clear()
    good = await room.say("good")
    received: list[str] = []
    receive = InboundEvents.receive

    async def counted(self: InboundEvents, room: Room, event: Event, origin: str) -> StoredEvent:
        received.append(event.event_id)
        return await receive(self, room, event, origin)

    monkeypatch.setattr(InboundEvents, "receive", counted)
    await send(server, other, *(one.pdu for one in groundless[MOST:]), good.pdu)
    assert network.asked == received == []
    assert await texts(server, room, token) == ["good"]
    server.clock.advance(2 * SECONDS)
    await room.look()
    before = await room.say("before")
    after = await room.say("after", previous=[before])
    other.scripts["/_matrix/federation/v1/get_missing_events/"] = lambda *_: {"events": [before.pdu]}
    await send(server, other, after.pdu)
    assert await texts(server, room, token) == ["good", "before", "after"]


@ensureDeferred
async def test_what_leads_nowhere_is_read_once(
    server: TestServer, other: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much waits for a room, an event that is let go costs no reading of all that is behind it."""
    room, token = await remote_room(server, other)
    groundless = [await room.say("x", previous=[await room.say(f"hidden {number}")]) for number in range(40)]
    good = await room.say("good")
    read: list[int] = []
    oldest = staged_events.oldest

    def counted(*arguments: Any) -> dict[str, list[StagedEvent]]:
        found = oldest(*arguments)
        read.extend(len(some) for some in found.values())
        return found

    monkeypatch.setattr(staged_events, "oldest", counted)
    await send(server, other, *(one.pdu for one in groundless), good.pdu)
    assert await texts(server, room, token) == ["good"]
    assert sum(read) < 6 * len(groundless)


@ensureDeferred
async def test_nobody_is_believed_about_other_servers_events(
    server: TestServer, other: Scripted, network: Network
) -> None:
    """A server that is in the room hands on an event of a third one: only that one's own signature counts."""
    room, token = await remote_room(server, other)
    third = network.scripted("third.test")
    join = RemoteRoom(server, third, room.room_id)
    await join.join()
    await room.look()
    forged = await room.say("forged", sender=join.user)
    real = await room.say("real", sender=join.user, key=third.key)
    results = await send(server, other, forged.pdu, real.pdu)
    assert "error" in results[forged.event_id]
    assert results[real.event_id] == {}
    assert await texts(server, room, token) == ["real"]


@ensureDeferred
async def test_a_banned_user_still_takes_back_their_own(server: TestServer, other: Scripted) -> None:
    """The redaction is soft-failed, so nobody sees it; its target is emptied all the same, and clients are told."""
    room, token = await remote_room(server, other)
    said = await room.say("regretted")
    await send(server, other, said.pdu)
    await room.look()
    late = await room.build("m.room.redaction", {"redacts": said.event_id}, redacts=said.event_id)
    since = (await server.ok("GET", "sync", None, token))["next_batch"]
    await server.ok("POST", f"rooms/{room.room_id}/ban", {"user_id": room.user}, token)
    await send(server, other, late.pdu)
    stored = await room.stored(late)
    assert stored is not None
    assert stored.standing is Standing.SOFT_FAILED
    assert await texts(server, room, token) == ["?"]
    news = await server.ok("GET", f"sync?since={since}", None, token)
    timeline = news["rooms"]["join"][room.room_id]["timeline"]["events"]
    assert any(event.get("redacts") == said.event_id for event in timeline)


@ensureDeferred
async def test_other_rooms_are_served_meanwhile(
    server: TestServer, other: Scripted, network: Network
) -> None:
    """Events whose predecessors never come, in more rooms than are worked on: each room asks once, and another room goes on."""
    rooms = []
    for number in range(MAX_SLOW_ROOMS + 2):
        token = await server.user(f"owner{number}")
        room = RemoteRoom(server, other, (await server.room(token)).removeprefix("rooms/"))
        await room.join()
        rooms.append(room)
    good, *slow = rooms
    waiting: list[Deferred[Any]] = []

    async def never(*_: Any) -> Any:
        waiting.append(Deferred())
        return await waiting[-1]

    other.scripts["/_matrix/federation"] = never
    for room in slow:
        hidden = await room.say("hidden")
        await hand_over(server, other, await room.say("x", previous=[hidden]))
    token = await server.user("reader")
    await server.ok("POST", f"join/{good.room_id}", {}, token)
    since = (await server.ok("GET", "sync", None, token))["next_batch"]
    await good.look()
    await hand_over(server, other, await good.say("good"))
    news = await server.ok("GET", f"sync?timeout=30000&since={since}", None, token)
    timeline = news["rooms"]["join"][good.room_id]["timeline"]["events"]
    assert [event["content"]["body"] for event in timeline] == ["good"]
    assert len(waiting) <= MAX_SLOW_ROOMS
    del other.scripts["/_matrix/federation"]
    for one in waiting:
        one.errback(PeerError("no answer"))
    await settle(server)


async def hand_over(server: TestServer, other: Scripted, event: Event) -> None:
    """A transaction that is taken; its events may take longer."""
    body = {"origin": other.name, "origin_server_ts": 1, "pdus": [event.pdu]}
    status, answer = await other.ask(
        server, "PUT", f"/_matrix/federation/v1/send/{event.event_id[1:9]}", body
    )
    assert (status, answer) == (200, {"pdus": {event.event_id: {}}})


@ensureDeferred
async def test_rooms_that_no_database_can_know(server: TestServer, other: Scripted) -> None:
    """A tombstone and rules for joining that name them are in the room, and keep nobody from the space that it is in."""
    room, token = await remote_room(
        server, other, power_level_content_override={"users_default": 100}, room_version="10"
    )
    odd = "!x\0:other.test"
    rules = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": odd}]}
    for kind, content in (
        ("m.room.tombstone", {"body": "", "replacement_room": odd}),
        ("m.room.join_rules", rules),
    ):
        pdu = signed(other, await room.build(kind, {}, ""), content=content)
        await send(server, other, pdu)
        await room.look()
        assert room.state[kind, ""].content == content
    bob = await server.user("bob")
    assert await server.refusal("POST", f"rooms/{room.room_id}/join", {}, bob) == (403, "M_FORBIDDEN")
    space = await server.room(token, creation_content={"type": "m.space"})
    link = f"{space}/state/m.space.child/{path_part(room.room_id)}"
    await server.ok("PUT", link, {"via": [server.name]}, token)
    tree = await server.ok("GET", f"/_matrix/client/v1/{space}/hierarchy", token=token)
    assert [one["room_id"] for one in tree["rooms"]] == [space.removeprefix("rooms/"), room.room_id]
    summary = await server.ok("GET", f"/_matrix/client/v1/room_summary/{room.room_id}", token=token)
    assert "allowed_room_ids" not in summary
