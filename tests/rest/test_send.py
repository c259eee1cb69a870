"""Messages and redactions over HTTP."""

import time
from contextlib import closing
from typing import Any

import psycopg2
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.databases import rows
from tests.server import TestServer, path_part

HELLO = {"msgtype": "m.text", "body": "hello"}


@ensureDeferred
async def test_sending(server: TestServer) -> None:
    """A repeated request is one event, under whichever version of the API it is repeated."""
    alice = await server.user("alice")
    room = await server.room(alice)
    path = f"{room}/send/m.room.message/txn1"
    first = await server.ok("PUT", path, HELLO, alice)
    assert list(first) == ["event_id"]
    assert await server.ok("PUT", path, HELLO, alice) == first
    assert await server.ok("PUT", f"/_matrix/client/r0/{path}", HELLO, alice) == first
    assert await server.ok("PUT", f"{room}/send/m.room.message/txn2", HELLO, alice) != first
    for body, expected in ((b"", "M_NOT_JSON"), ([], "M_BAD_JSON"), ({"x": 2**60}, "M_BAD_JSON")):
        assert await server.refusal("PUT", f"{room}/send/t/bad", body, alice) == (400, expected)
    assert await server.refusal("PUT", path, HELLO) == (401, "M_MISSING_TOKEN")
    assert await server.refusal("PUT", path.replace("!", ""), HELLO, alice) == (400, "M_UNKNOWN")


@ensureDeferred
async def test_redacting(server: TestServer) -> None:
    """A state event loses its content, and says why."""
    alice = await server.user("alice")
    room = await server.room(alice)
    topic = await server.ok("PUT", f"{room}/state/m.room.topic", {"topic": "x"}, alice)
    path = f"{room}/redact/{path_part(topic['event_id'])}/txn"
    redaction = await server.ok("PUT", path, {"reason": "typo"}, alice)
    assert await server.ok("PUT", path, {"reason": "typo"}, alice) == redaction
    event = await server.ok("GET", f"{room}/state/m.room.topic?format=event", token=alice)
    assert event["content"] == {}
    assert event["unsigned"]["redacted_because"]["event_id"] == redaction["event_id"]
    assert await server.refusal("PUT", f"{room}/redact/$none/1", {}, alice) == (404, "M_NOT_FOUND")


@ensureDeferred
async def test_without_a_transaction_id_each_request_is_an_event(server: TestServer) -> None:
    """`POST` repeats nothing."""
    alice = await server.user("alice")
    room = await server.room(alice)
    content = {"msgtype": "m.text", "body": "hi"}
    sent = [await server.ok("POST", f"{room}/send/m.room.message", content, alice) for _ in range(2)]
    assert sent[0] != sent[1]
    redacted = await server.ok("POST", f"{room}/redact/{path_part(sent[0]['event_id'])}", {}, alice)
    assert redacted["event_id"] not in (event["event_id"] for event in sent)


@ensureDeferred
async def test_calls_do_not_ring_in_public_rooms(server: TestServer) -> None:
    """Not even those of who may do everything there; where people are invited they do."""
    alice = await server.user("alice")
    public, private = await server.room(alice), await server.room(alice, preset="private_chat")
    call = {"call_id": "1", "version": 0, "lifetime": 60_000, "offer": {"type": "offer", "sdp": "x"}}
    refused = await server.refusal("PUT", f"{public}/send/m.call.invite/1", call, alice)
    assert refused == (403, "M_FORBIDDEN")
    await server.ok("PUT", f"{private}/send/m.call.invite/1", call, alice)


@ensureDeferred
async def test_a_wait_that_is_too_long(server: TestServer, database_arguments: dict[str, Any]) -> None:
    """Who waits for a room until PostgreSQL ends the statement is told to try again, and can."""
    alice = await server.user("alice")
    room = await server.room(alice)
    path = f"{room}/send/m.room.message/txn1"
    with closing(psycopg2.connect(**database_arguments)) as holder:
        holder.cursor().execute("SELECT FROM rooms FOR NO KEY UPDATE")
        waiting = Deferred.fromCoroutine(server.call("PUT", path, HELLO, alice))
        await deferToThread(_end_waits, database_arguments)
        answer = await waiting
    assert (answer.status, answer.json()["errcode"]) == (503, "M_UNKNOWN")
    assert answer.json()["retry_after_ms"] > 0
    assert int(answer.headers["Retry-After"]) > 0
    assert await server.ok("PUT", path, HELLO, alice)


def _end_waits(arguments: dict[str, Any]) -> None:
    """As the time that a statement may take does."""
    waits = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    while not rows(arguments, f"{waits} AND datname = current_database()"):
        time.sleep(0.01)
