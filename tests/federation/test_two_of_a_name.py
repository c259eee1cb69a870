"""Two processes that by mistake have the same name: the second takes what the first is working on for left behind."""

from typing import Any

from pytest_twisted import ensureDeferred

from synapse_lite.storage.staged_events import claim_rooms
from tests.federation.history import V1, History
from tests.federation.network import Scripted
from tests.federation.remote_room import TRANSACTIONS, catch_up, remote_room, second_process, settle, texts
from tests.federation.test_crossing import Gate
from tests.server import TestServer


@ensureDeferred
async def test_both_work_on_one_room(
    server: TestServer, other: Scripted, database_arguments: dict[str, Any]
) -> None:
    """Each event comes into the room once, and none is lost."""
    room, token = await remote_room(server, other)
    said = await History(room).chain(5)
    gate = Gate(other, f"{V1}/get_missing_events")
    body = {"origin": other.name, "origin_server_ts": 1, "pdus": [one.pdu for one in said[3:]], "edus": []}
    path = f"/_matrix/federation/v1/send/t{next(TRANSACTIONS)}"
    assert (await other.ask(server, "PUT", path, body))[0] == 200
    await gate.reached
    assert await server.database.transact(claim_rooms, "elsewhere#", server.name, 60, 9) == []
    async with second_process(server, database_arguments) as second:
        await settle(second)
        await catch_up(second)
        assert await texts(second, room, token) == [str(number) for number in range(5)]
        gate.opened.callback(None)
        await settle(server)
        await catch_up(server)
        assert await texts(server, room, token) == [str(number) for number in range(5)]
    for table in ("staged_events", "staged_rooms"):
        assert await server.database.read(lambda txn, table=table: txn.rows(f"SELECT FROM {table}")) == []
