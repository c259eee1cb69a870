"""Two devices meet when one signs in with a QR code of the other (MSC4108)."""

from typing import Any
from urllib.parse import urlsplit

from pytest_twisted import ensureDeferred

from synapse_lite.handlers.rendezvous import SESSIONS
from tests.rest.conftest import BuildServer
from tests.server import OPEN, TestServer

CREATE = "/_matrix/client/unstable/org.matrix.msc4108/rendezvous"
TEXT = {"Content-Type": "text/plain"}
ON = {"experimental_features": {"msc4108_enabled": True}}


async def open_session(server: TestServer, content: bytes = b"hello") -> tuple[str, str]:
    """Its path and tag."""
    made = await server.call("POST", CREATE, content, headers=TEXT)
    assert made.status == 201, made.body
    assert made.json().keys() == {"url"}
    return urlsplit(made.json()["url"]).path, made.headers["ETag"]


async def count(server: TestServer) -> int:
    sql = "SELECT count(*) FROM rendezvous_sessions"
    return int(await server.database.read(lambda txn: txn.value(sql)))


@ensureDeferred
async def test_devices_write_to_each_other(build_server: BuildServer) -> None:
    """On any process; each write names what it replaces, and what has not changed is not sent again."""
    one, other = await build_server(**OPEN, **ON), await build_server(**OPEN, **ON)
    path, tag = await open_session(one)
    read = await other.call("GET", path)
    assert (read.status, read.body, read.headers["ETag"]) == (200, b"hello", tag)
    assert read.headers["Content-Type"] == "text/plain"
    assert {"Expires", "Last-Modified"} <= read.headers.keys()
    assert "ETag" in read.headers["Access-Control-Expose-Headers"]
    assert "If-Match" in read.headers["Access-Control-Allow-Headers"]
    same = await one.call("GET", path, headers={"If-None-Match": tag})
    assert (same.status, same.body) == (304, b"")
    written = await other.call("PUT", path, b"answer", headers={**TEXT, "If-Match": tag})
    assert written.status == 202
    late = await one.call("PUT", path, b"late", headers={**TEXT, "If-Match": tag})
    assert (late.status, late.json()["org.matrix.msc4108.errcode"]) == (412, "M_CONCURRENT_WRITE")
    read = await one.call("GET", path, headers={"If-None-Match": tag})
    assert (read.status, read.body, read.headers["ETag"]) == (200, b"answer", written.headers["ETag"])
    assert (await one.call("DELETE", path)).status == 204
    for method, headers in (("GET", {}), ("DELETE", {}), ("PUT", {**TEXT, "If-Match": tag})):
        gone = await other.call(method, path, b"x" if method == "PUT" else None, headers=headers)
        assert (gone.status, gone.json()["errcode"]) == (404, "M_NOT_FOUND"), method


@ensureDeferred
async def test_sessions_are_bounded(build_server: BuildServer) -> None:
    """In size, time and number, and how many an address may open; a new one takes the place of the oldest."""
    server = await build_server(**OPEN, **ON)
    path, tag = await open_session(server, b"x" * 4096)
    bad: list[tuple[str, str, bytes, dict[str, str], int]] = [
        ("POST", CREATE, b"x" * 4097, TEXT, 413),
        ("POST", CREATE, b"{}", {"Content-Type": "application/json"}, 400),
        ("PUT", path, b"x", TEXT, 400),
        ("PUT", path, b"x" * 4097, {**TEXT, "If-Match": tag}, 413),
        ("PUT", path, b"x", {"If-Match": tag}, 400),
    ]
    for method, where, body, headers, status in bad:
        assert (await server.call(method, where, body, headers=headers)).status == status, (method, headers)
    sql = (
        "INSERT INTO rendezvous_sessions SELECT n::text, '', 'x', 1, 9000000000000 + n"
        " FROM generate_series(1, %s) n"
    )
    await server.database.transact(lambda txn: txn.execute(sql, (SESSIONS,)))
    await open_session(server)
    assert await count(server) == SESSIONS
    assert (await server.call("GET", path)).status == 404
    statuses = [(await server.call("POST", CREATE, b"x", headers=TEXT)).status for _ in range(25)]
    assert statuses[-1] == 429
    await server.database.transact(lambda txn: txn.execute("TRUNCATE rendezvous_sessions"))
    server.clock.advance(600)
    path, _ = await open_session(server)
    server.clock.advance(61)
    assert (await server.call("GET", path)).status == 404
    await open_session(server)
    assert await count(server) == 1, "what has ended is deleted"


@ensureDeferred
async def test_where_they_meet(build_server: BuildServer) -> None:
    """Nowhere, by default; where the configuration says so, elsewhere. /versions tells which."""
    elsewhere: dict[str, Any] = {
        "experimental_features": {"msc4108_delegation_endpoint": "https://meet.example/x"}
    }
    for options, status, is_told in (({}, 404, False), (ON, 201, True), (elsewhere, 307, True)):
        server = await build_server(**OPEN, **options)
        answer = await server.call("POST", CREATE, b"x", headers=TEXT)
        assert answer.status == status
        if status == 307:
            assert answer.headers["Location"] == "https://meet.example/x"
        versions = await server.ok("GET", "/_matrix/client/versions")
        assert versions["unstable_features"]["org.matrix.msc4108"] is is_told
