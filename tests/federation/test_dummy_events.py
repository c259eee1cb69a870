"""What another server sends only to join the branches of a room (`org.matrix.dummy_event`) is in the graph, and shown to no client."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from synapse_lite.federation.backfill import EVENTS
from synapse_lite.matrix.types import DUMMY
from tests.federation.conftest import JoinNetwork
from tests.federation.history import V1, History, joined_by_third
from tests.federation.network import Network, Scripted
from tests.federation.pair import HOME, home, join_path
from tests.federation.remote_room import RemoteRoom, remote_room, send
from tests.federation.test_backfill import bodies, say, scroll
from tests.rest.sliding_sync import ALL, sync
from tests.server import TestServer, path_part


async def _shown(server: TestServer, room: RemoteRoom, token: str, since: str, pos: str) -> list[str]:
    """What clients get of the room, whatever they ask."""
    path = f"rooms/{room.room_id}"
    answers: list[Any] = [
        await server.ok("GET", f"sync?since={since}", token=token),
        await server.ok("GET", "sync", token=token),
        await sync(server, token, ALL, pos),
        await sync(server, token, {**ALL, "conn_id": "anew"}),
        await server.ok("GET", f"{path}/messages?dir=b&limit=50", token=token),
        await server.ok("GET", f"{path}/messages?dir=f&limit=50", token=token),
    ]
    return [str(answer) for answer in answers]


@ensureDeferred
async def test_branches_that_are_joined(server: TestServer, other: Scripted) -> None:
    """It wakes nobody and moves no room up; what follows it is shown, and other servers get all of it."""
    room, token = await remote_room(server, other)
    later = await server.room(token)
    one, two = await room.say("one"), await room.say("two")
    await send(server, other, one.pdu, two.pdu)
    await server.ok("PUT", f"{later}/state/m.room.topic", {"topic": "x"}, token)
    since = (await server.ok("GET", "sync", token=token))["next_batch"]
    opened = await sync(server, token, ALL)
    waiting = Deferred.fromCoroutine(server.ok("GET", f"sync?since={since}&timeout=30000", token=token))
    joint = await room.build(DUMMY, {}, previous=[one, two])
    assert await send(server, other, joint.pdu) == {joint.event_id: {}}
    await room.look()
    assert [tip.event_id for tip in room.tips] == [joint.event_id]
    assert not any(joint.event_id in one for one in await _shown(server, room, token, since, opened["pos"]))
    gone_on = await sync(server, token, ALL, opened["pos"])
    assert gone_on["rooms"] == {}
    assert not waiting.called
    said = await room.say("three")
    await send(server, other, said.pdu)
    (event,) = (await waiting)["rooms"]["join"][room.room_id]["timeline"]["events"]
    assert event["event_id"] == said.event_id
    status, answer = await other.ask(
        server, "GET", f"/_matrix/federation/v1/backfill/{room.room_id}?v={path_part(said.event_id)}&limit=2"
    )
    assert status == 200
    assert [pdu["type"] for pdu in answer["pdus"]] == ["m.room.message", DUMMY]


@ensureDeferred
async def test_one_after_a_gap(server: TestServer, other: Scripted, network: Network) -> None:
    """Where something is missing has to be on record: this one is told."""
    room, token = await remote_room(server, other)
    third = await joined_by_third(room, network)
    history = History(room)
    said = await history.chain(3)
    await server.ok("POST", f"rooms/{room.room_id}/kick", {"user_id": room.user}, token)
    await room.look()
    history.events.pop(said[0].event_id)
    del other.scripts[f"{V1}/event/"]
    other.scripts[f"{V1}/get_missing_events"] = lambda *_: {"events": [said[1].pdu]}
    third.other.scripts.update(other.scripts)
    joint = await third.build(DUMMY, {}, previous=[said[2], *room.tips], state=room.state)
    await send(server, other, said[2].pdu)
    await send(server, third.other, joint.pdu)
    rows = await server.database.read(lambda txn: txn.rows("SELECT missing_event_id FROM room_gaps"))
    assert rows == [(said[0].event_id,)]
    assert joint.event_id in str(await server.ok("GET", "sync", token=token))


@pytest.mark.parametrize("number", [1, 250])
@ensureDeferred
async def test_in_history(server: TestServer, join_network: JoinNetwork, number: int) -> None:
    """Neither is one shown that is fetched later, but for one at which a fetched piece ends: it has a place, as what is below it would not be looked for."""
    there, alice, room_id = await home(join_network)
    await say(there, room_id, alice, "before")
    for one in range(number):
        await there.ok("PUT", f"rooms/{path_part(room_id)}/send/{DUMMY}/{one}", {}, alice)
    await say(there, room_id, alice, "after")
    bob = await server.user("bob")
    await server.ok("POST", join_path(room_id, HOME), {}, bob)
    found = await scroll(server, room_id, bob)
    assert bodies(found) == ["after", "before"]
    assert found[-1]["type"] == "m.room.create"
    assert [event["type"] for event in found].count(DUMMY) <= number // EVENTS
