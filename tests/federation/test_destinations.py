"""Other servers as the admin API shows them: Synapse's keys and words."""

from typing import Any

from pytest_twisted import ensureDeferred

from synapse_lite.federation.peers import PeerError
from tests.federation.network import Network, Scripted
from tests.federation.remote_room import remote_room
from tests.federation.sending import Inbox, Sending
from tests.rest.admin_server import V1
from tests.server import TestServer

PATH = f"{V1}/federation/destinations"


async def admin(server: TestServer) -> str:
    token = await server.user("root")
    await server.make_admin("@root:hs.test")
    return token


@ensureDeferred
async def test_a_server_that_fails_and_comes_back(server: TestServer, other: Scripted) -> None:
    """Since when, the last attempt and the pause; the pause can be ended, and then there is none to end."""
    inbox, sending, root = Inbox(other), Sending(server), await admin(server)
    room, token = await remote_room(server, other)
    inbox.answers.append(PeerError("nobody is there"))
    await server.ok(
        "PUT", f"rooms/{room.room_id}/send/m.room.message/1", {"msgtype": "m.text", "body": "x"}, token
    )
    await sending.deliver()
    shown = await server.ok("GET", f"{PATH}/{other.name}", None, root)
    assert (shown["destination"], shown["retry_interval"]) == (other.name, 5000)
    assert shown["failure_ts"] == shown["retry_last_ts"] > 0
    assert await server.ok("POST", f"{PATH}/{other.name}/reset_connection", {}, root) == {}
    await sending.settled()
    assert inbox.texts == ["x"]
    shown = await server.ok("GET", f"{PATH}/{other.name}", None, root)
    position = shown.pop("last_successful_stream_ordering")
    assert shown == {"destination": other.name, "retry_last_ts": 0, "retry_interval": 0, "failure_ts": None}
    rooms = await server.ok("GET", f"{PATH}/{other.name}/rooms", None, root)
    assert rooms == {"rooms": [{"room_id": room.room_id, "stream_ordering": position}], "total": 1}
    again = await server.refusal("POST", f"{PATH}/{other.name}/reset_connection", {}, root)
    assert again == (400, "M_UNKNOWN")
    for method, path in (("GET", "no.test"), ("GET", "no.test/rooms"), ("POST", "no.test/reset_connection")):
        assert await server.refusal(method, f"{PATH}/{path}", None, root) == (404, "M_NOT_FOUND")


@ensureDeferred
async def test_pages_of_servers(server: TestServer, network: Network) -> None:
    """By name, or by what is known of them, in both directions; a part of the name chooses."""
    root = await admin(server)
    await server.database.transact(
        lambda txn: txn.execute(
            "INSERT INTO destinations (server_name, failing_since, attempted_ts, retry_interval, sent_position)"
            " VALUES ('a.test', NULL, 9, 0, 5), ('b.test', 10, 11, 500, NULL), ('c.test', 20, 21, 300, 7)"
        )
    )

    async def names(query: str) -> list[str]:
        found = await server.ok("GET", f"{PATH}?{query}", None, root)
        return [one["destination"][0] for one in found["destinations"]]

    assert await names("") == ["a", "b", "c"]
    assert await names("dir=b&limit=2") == ["c", "b"]
    assert await names("destination=B.T") == ["b"]
    assert await names("destination=%25") == []
    assert await names("order_by=retry_interval") == ["a", "c", "b"]
    assert await names("order_by=failure_ts&dir=b") == ["c", "b", "a"]
    assert await names("order_by=last_successful_stream_ordering&dir=b") == ["c", "a", "b"]
    assert await names("order_by=retry_last_ts") == ["a", "b", "c"]
    page: dict[str, Any] = await server.ok("GET", f"{PATH}?limit=2", None, root)
    assert (page["total"], page["next_token"]) == (3, "2")
    rest = await server.ok("GET", f"{PATH}?limit=2&from={page['next_token']}", None, root)
    assert ([one["destination"] for one in rest["destinations"]], "next_token" in rest) == (["c.test"], False)
    for bad in ("order_by=nothing", "dir=x", "limit=-1", "from=x"):
        status, _ = await server.refusal("GET", f"{PATH}?{bad}", None, root)
        assert status == 400
