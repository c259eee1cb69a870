"""Expired messages are shown to nobody, whether they are deleted already or not."""

from collections.abc import AsyncIterator

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred

from synapse_lite.errors import MatrixError
from tests.builders import ALICE, BOB
from tests.handlers.sync_server import SyncServer, ids, timeline_ids

HOUR = 3600  # seconds
AN_HOUR_WHERE_A_ROOM_SAYS_NOTHING = {
    "enabled": True,
    "default_policy": {"max_lifetime": "1h"},
    "allowed_lifetime_min": 10**12,
}


@pytest_twisted.async_yield_fixture
async def keeping(server: SyncServer) -> AsyncIterator[SyncServer]:
    """A server that keeps messages for an hour where a room says nothing, and purges them much later."""
    started = SyncServer(server.database, retention=AN_HOUR_WHERE_A_ROOM_SAYS_NOTHING)
    await started.start()
    yield started
    started.log.stop()


@ensureDeferred
async def test_no_endpoint_shows_them(keeping: SyncServer) -> None:
    """/sync, /messages, /context and /event know the younger message only; state stays."""
    room = await keeping.room(ALICE, BOB)
    old = await keeping.say(room, BOB)
    topic = await keeping.set(room, "m.room.topic", {"topic": "old"})
    keeping.clock.advance(HOUR)
    young = await keeping.say(room, BOB)
    assert old not in timeline_ids(await keeping.sync(ALICE), room)
    assert {topic, young} <= {*timeline_ids(await keeping.sync(ALICE), room)}
    shown = ids((await keeping.messages(ALICE, room))["chunk"])
    assert shown[:2] == [young, topic]
    assert old not in shown
    context = await keeping.context(ALICE, room, young)
    assert old not in ids(context["events_before"])
    assert topic in ids(context["events_before"])
    for read in (keeping.event, keeping.context):
        with pytest.raises(MatrixError) as refused:
            await read(ALICE, room, old)
        assert (refused.value.status, refused.value.errcode) == (404, "M_NOT_FOUND")
    assert (await keeping.event(ALICE, room, topic))["event_id"] == topic


@ensureDeferred
@pytest.mark.parametrize("source", ["memory", "database"])
async def test_a_client_that_comes_late(
    keeping: SyncServer, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token from before does not bring them back, neither from the stream in memory nor from the database."""
    if source == "database":
        monkeypatch.setattr(keeping.log, "since", lambda _position: None)
    room = await keeping.room(ALICE, BOB)
    since = await keeping.token()
    await keeping.say(room, BOB)
    keeping.clock.advance(HOUR)
    young = await keeping.say(room, BOB)
    assert timeline_ids(await keeping.sync(ALICE, since), room) == [young]


@ensureDeferred
async def test_a_room_decides_for_itself(keeping: SyncServer) -> None:
    """Longer or shorter, from the moment that it says so; and as before when that is redacted."""
    room, other = await keeping.room(ALICE), await keeping.room(ALICE)
    said = {one.nid: await keeping.say(one, ALICE) for one in (room, other)}
    longer = await keeping.set(room, "m.room.retention", {"max_lifetime": 3 * HOUR * 1000})
    await keeping.set(other, "m.room.retention", {"max_lifetime": HOUR * 500})
    keeping.clock.advance(HOUR * 0.6)
    assert said[other.nid] not in ids((await keeping.messages(ALICE, other))["chunk"])
    keeping.clock.advance(HOUR)
    assert said[room.nid] in ids((await keeping.messages(ALICE, room))["chunk"])
    await keeping.redact(room, longer)
    assert said[room.nid] not in ids((await keeping.messages(ALICE, room))["chunk"])


@ensureDeferred
async def test_switched_off(server: SyncServer) -> None:
    """Without a policy of the server what rooms say has no effect."""
    room = await server.room(ALICE)
    await server.set(room, "m.room.retention", {"max_lifetime": 1})
    said = await server.say(room, ALICE)
    server.clock.advance(HOUR)
    assert said in ids((await server.messages(ALICE, room))["chunk"])
    assert said in timeline_ids(await server.sync(ALICE), room)
