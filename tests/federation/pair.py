"""Two servers of ours on a network of the test; what one has to hear of the other the test tells it."""

from itertools import count
from typing import Any

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.heads import read_head
from synapse_lite.storage.rooms import room_by_id
from tests.federation.conftest import JoinNetwork
from tests.federation.remote_room import settle
from tests.server import TestServer, path_part

HOME = "home.test"
_TRANSACTIONS = count()


async def home(join_network: JoinNetwork, **body: Any) -> tuple[TestServer, str, str]:
    """A second server of ours with a public room of alice; her token and the room's id."""
    server = await join_network(HOME)
    token = await server.user("alice")
    room = await server.room(token, **body)
    return server, token, room.removeprefix("rooms/")


def text(body: str) -> dict[str, str]:
    return {"msgtype": "m.text", "body": body}


def join_path(room_id: str, *via: str) -> str:
    return f"join/{path_part(room_id)}?" + "&".join(f"via={one}" for one in via)


async def members(server: TestServer, room_id: str, token: str) -> dict[str, str]:
    answer = await server.ok("GET", f"rooms/{path_part(room_id)}/members", token=token)
    return {event["state_key"]: event["content"]["membership"] for event in answer["chunk"]}


async def tell_newest(server: TestServer, there: TestServer, room_id: str) -> None:
    """The newest event of the room, to the other server."""

    def newest(txn: Transaction) -> dict[str, Any]:
        room = room_by_id(txn, room_id)
        assert room is not None
        head = read_head(txn, room.nid)
        assert head is not None
        (stored,) = server.core.events.load(txn, head.extremities).values()
        return stored.event.pdu

    await tell(server, there, await server.database.read(newest))


async def tell(server: TestServer, there: TestServer, *pdus: Any) -> dict[str, Any]:
    """The results, once the events are in their rooms."""
    body = {"origin": server.name, "origin_server_ts": 1, "pdus": list(pdus), "edus": []}
    path = f"/_matrix/federation/v1/send/pair{next(_TRANSACTIONS)}"
    answer = await server.core.federation.peers.ask(there.name, "PUT", path, body)
    await settle(there)
    results: dict[str, Any] = answer["pdus"]
    return results
