"""A gap of the history is told, also when its first event is not shown to the client."""

import json

from pytest_twisted import ensureDeferred

from tests.federation.history import History, joined_by_third
from tests.federation.network import Network, Scripted
from tests.federation.remote_room import RemoteRoom, remote_room, send
from tests.rest.sliding_sync import ALICE, ALL, sync, texts
from tests.server import TestServer, path_part


async def said_after_a_gap(server: TestServer, other: Scripted, network: Network, room: RemoteRoom) -> None:
    """Carol says something that hangs on what nobody here knows; then Carol of another server speaks."""
    third = await joined_by_third(room, network)
    history = History(room)
    said = await history.chain(120)
    await send(server, other, said[-1].pdu)
    rows = await server.database.read(lambda txn: txn.rows("SELECT missing_event_id FROM room_gaps"))
    assert len(rows) == 1
    await third.look()
    await send(server, third.other, (await third.say("after")).pdu)


async def ignoring(server: TestServer, other: Scripted) -> tuple[RemoteRoom, str]:
    """A room, and the token of somebody in it who ignores Carol."""
    room, token = await remote_room(server, other)
    ignored = {"ignored_users": {room.user: {}}}
    await server.ok("PUT", f"user/{path_part(ALICE)}/account_data/m.ignored_user_list", ignored, token)
    return room, token


@ensureDeferred
async def test_sliding_sync(server: TestServer, other: Scripted, network: Network) -> None:
    """To who goes on, and to who begins anew."""
    room, token = await ignoring(server, other)
    pos = (await sync(server, token, ALL))["pos"]
    await said_after_a_gap(server, other, network, room)
    for body, known in ((ALL, pos), ({**ALL, "conn_id": "new"}, None)):
        shown = (await sync(server, token, body, known))["rooms"][room.room_id]
        assert (texts(shown), shown["limited"]) == (["after"], True)


@ensureDeferred
async def test_sync(server: TestServer, other: Scripted, network: Network) -> None:
    """To who goes on, and to who begins anew; what a filter leaves out hides no gap either."""
    room, token = await ignoring(server, other)
    since = (await server.ok("GET", "sync", None, token))["next_batch"]
    await said_after_a_gap(server, other, network, room)
    only = {"room": {"timeline": {"senders": ["@carol:third.test"], "types": ["m.room.message"]}}}
    for query in (f"?since={since}", "", f"?since={since}&filter={path_part(json.dumps(only))}"):
        joined = (await server.ok("GET", f"sync{query}", None, token))["rooms"]["join"]
        timeline = joined[room.room_id]["timeline"]
        assert (texts({"timeline": timeline["events"]}), timeline["limited"]) == (["after"], True)
