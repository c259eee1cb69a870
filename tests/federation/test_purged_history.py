"""What was purged stays away when others refer to it (synapse#5245)."""

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.tasks.actions.purge_history import PURGE_HISTORY, PurgeHistory, PurgeHistoryParams
from synapse_lite.tasks.outcome import Done
from tests.federation.history import History
from tests.federation.network import Scripted
from tests.federation.remote_room import RemoteRoom, remote_room, send, texts
from tests.federation.tasks import run_pending
from tests.server import TestServer


async def purge(room: RemoteRoom, depth: int) -> None:
    server = room.server
    await server.make_admin("@alice:hs.test")
    params = PurgeHistoryParams(room_id=room.room_id, depth=depth)
    await server.core.queue.enqueue(PURGE_HISTORY, params, requester="@alice:hs.test", endpoint="a test")
    assert isinstance(await run_pending(server, PURGE_HISTORY, PurgeHistory(server.name)), Done)


@pytest.mark.parametrize("is_told", [True, False])
@ensureDeferred
async def test_an_event_that_follows_what_was_purged(
    server: TestServer, other: Scripted, is_told: bool
) -> None:
    """It comes into the room; what lies before it is no news, whether others tell it unasked or not."""
    room, token = await remote_room(server, other)
    history = History(room)
    said = await history.chain(6)
    await send(server, other, *(one.pdu for one in said))
    late = history.add(await room.say("late", previous=[said[2]]))
    room.tips = [said[-1]]
    edge = history.add(await room.say("edge"))
    await send(server, other, edge.pdu)
    await purge(room, edge.depth)
    assert await texts(server, room, token) == ["edge"]
    since = (await server.ok("GET", "sync", token=token))["next_batch"]
    if not is_told:
        other.scripts["/_matrix/federation/v1/get_missing_events"] = lambda *_: {"events": []}
    assert await send(server, other, late.pdu) == {late.event_id: {}}
    synced = (await server.ok("GET", f"sync?since={since}", token=token))["rooms"]["join"][room.room_id]
    assert [one["content"].get("body") for one in synced["timeline"]["events"]] == ["late"]
