"""Receipts and typing over HTTP."""

from contextlib import closing
from typing import Any

import psycopg2
import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from synapse_lite.handlers import ephemeral
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.ephemeral import is_news
from tests.rest.conftest import BuildServer
from tests.rest.sliding_sync import ALL, EXTENSIONS, id_of, say, sync
from tests.server import OPEN, TestServer, path_part, user_path


async def _ephemeral(server: TestServer, token: str, since: str) -> dict[str, object]:
    answer = await server.ok("GET", f"sync?since={since}" if since else "sync", None, token)
    rooms = answer.get("rooms", {}).get("join", {}).values()
    return {event["type"]: event["content"] for room in rooms for event in room["ephemeral"]["events"]}


@ensureDeferred
async def test_receipts_and_typing(server: TestServer) -> None:
    """What one member sends, another sees; what is malformed, or not one's own, is refused."""
    token, other, stranger = [await server.user(name) for name in ("alice", "bob", "mallory")]
    room = await server.room(token)
    await server.ok("POST", f"{room}/join", {}, other)
    said = (
        await server.ok("PUT", f"{room}/send/m.room.message/1", {"msgtype": "m.text", "body": "x"}, token)
    )["event_id"]
    since = (await server.ok("GET", "sync", None, token))["next_batch"]
    receipt = f"{room}/receipt/m.read/{path_part(said)}"
    typing = f"{room}/typing/{path_part('@bob:hs.test')}"

    assert await server.ok("POST", receipt, b"", other) == {}
    assert await server.ok("PUT", typing, {"typing": True, "timeout": 10_000}, other) == {}
    found = await _ephemeral(server, token, since)
    assert found["m.receipt"][said]["m.read"].keys() == {"@bob:hs.test"}  # type: ignore[index]
    assert found["m.typing"] == {"user_ids": ["@bob:hs.test"]}
    await server.ok("PUT", typing, {"typing": False}, other)
    assert (await _ephemeral(server, token, since))["m.typing"] == {"user_ids": []}
    await server.ok("POST", receipt, {"thread_id": "main"}, other)
    await server.ok("POST", f"{room}/read_markers", {"m.fully_read": said, "m.read": said, "x": 1}, other)
    await server.ok("POST", f"{room}/read_markers", {"m.fully_read": said, "m.read": None}, other)
    data = await server.ok(
        "GET", f"user/{path_part('@bob:hs.test')}/{room}/account_data/m.fully_read", None, other
    )
    assert data == {"event_id": said}
    await server.ok("POST", f"{room}/receipt/m.fully_read/{path_part(said)}", {}, token)

    for path, body, expected in (
        (receipt, {"thread_id": 1}, (400, "M_BAD_JSON")),
        (receipt, {"thread_id": ""}, (400, "M_INVALID_PARAM")),
        (f"{room}/receipt/m.unknown/{path_part(said)}", {}, (400, "M_INVALID_PARAM")),
        (f"{room}/read_markers", {"m.read": 1}, (400, "M_BAD_JSON")),
        (f"{room}/read_markers", {"m.read": "x"}, (400, "M_INVALID_PARAM")),
    ):
        assert await server.refusal("POST", path, body, other) == expected
    for body, who, expected in (
        ({}, other, (400, "M_MISSING_PARAM")),
        ({"typing": "yes"}, other, (400, "M_BAD_JSON")),
        ({"typing": True, "timeout": "1"}, other, (400, "M_BAD_JSON")),
        ({"typing": True}, token, (403, "M_FORBIDDEN")),
    ):
        assert await server.refusal("PUT", typing, body, who) == expected
    assert await server.refusal("POST", receipt, {}, stranger) == (403, "M_FORBIDDEN")
    foreign = f"{room}/typing/{path_part('@mallory:hs.test')}"
    assert await server.refusal("PUT", foreign, {"typing": True}, stranger) == (403, "M_FORBIDDEN")
    server.clock.advance(200)


@ensureDeferred
async def test_private_receipts(server: TestServer) -> None:
    """Only their owner is told of them, to begin with and as news; of public ones everybody is, alike in both ways."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice)
    await server.ok("POST", f"{room}/join", {}, bob)
    said = await say(server, alice, room, "hello")
    since = (await server.ok("GET", "sync", None, alice))["next_batch"]
    await server.ok("POST", f"{room}/receipt/m.read.private/{path_part(said)}", {}, bob)
    seen = [await _ephemeral(server, alice, one) for one in (since, "")]
    assert all("m.receipt" not in one for one in seen)
    news, first = [(await _ephemeral(server, bob, one))["m.receipt"] for one in (since, "")]
    assert news == first
    assert news[said].keys() == {"m.read.private"}  # type: ignore[index]
    await server.ok("POST", f"{room}/receipt/m.read/{path_part(said)}", {}, bob)
    news, first = [(await _ephemeral(server, alice, one))["m.receipt"] for one in (since, "")]
    assert news == first
    assert news[said].keys() == {"m.read"}  # type: ignore[index]


@pytest.mark.parametrize("end", ["kick", "ban", "leave"])
@ensureDeferred
async def test_who_is_out_types_no_more(server: TestServer, end: str) -> None:
    """At once, not when the time that they announced is over."""
    token, other = [await server.user(name) for name in ("alice", "bob")]
    room = await server.room(token)
    await server.ok("POST", f"{room}/join", {}, other)
    since = (await server.ok("GET", "sync", None, token))["next_batch"]
    typing = f"{room}/typing/{path_part('@bob:hs.test')}"
    await server.ok("PUT", typing, {"typing": True, "timeout": 30_000}, other)
    assert (await _ephemeral(server, token, since))["m.typing"] == {"user_ids": ["@bob:hs.test"]}
    body = {} if end == "leave" else {"user_id": "@bob:hs.test"}
    await server.ok("POST", f"{room}/{end}", body, other if end == "leave" else token)
    assert (await _ephemeral(server, token, since))["m.typing"] == {"user_ids": []}


@ensureDeferred
async def test_receipts_of_threads(server: TestServer) -> None:
    """The thread is the one that the event is in; its root is in both, what relates to it is with it."""
    token = await server.user("alice")
    room = await server.room(token)

    async def send(kind: str, number: int, content: dict[str, object]) -> str:
        answer = await server.ok("PUT", f"{room}/send/{kind}/{number}", content, token)
        event_id: str = answer["event_id"]
        return event_id

    text = {"msgtype": "m.text", "body": "x"}
    root, plain = await send("m.room.message", 1, text), await send("m.room.message", 2, text)
    threaded = {**text, "m.relates_to": {"rel_type": "m.thread", "event_id": root}}
    reply = await send("m.room.message", 3, threaded)
    reaction = {"m.relates_to": {"rel_type": "m.annotation", "event_id": reply, "key": "+"}}
    liked = await send("m.reaction", 4, reaction)
    for event_id, thread_id in (
        (root, "main"), (root, root), (plain, "main"), (reply, root), (liked, root), ("$unknown", root)
    ):  # fmt: skip
        path = f"{room}/receipt/m.read/{path_part(event_id)}"
        assert await server.ok("POST", path, {"thread_id": thread_id}, token) == {}
    for event_id, thread_id in ((plain, root), (reply, "main"), (liked, "main"), (reply, plain)):
        path = f"{room}/receipt/m.read/{path_part(event_id)}"
        refused = await server.refusal("POST", path, {"thread_id": thread_id}, token)
        assert refused == (400, "M_INVALID_PARAM"), (event_id, thread_id)


@ensureDeferred
async def test_markers_that_are_set_at_once(
    server: TestServer, database_arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between looking where the marker is and moving it nobody else moves it: it never goes back."""
    token = await server.user("alice")
    room = await server.room(token)
    body = {"msgtype": "m.text", "body": "x"}
    said = [
        (await server.ok("PUT", f"{room}/send/m.room.message/{number}", body, token))["event_id"]
        for number in range(2)
    ]
    free: list[Any] = []

    def look(txn: Transaction, event_id: str, known: str) -> bool:
        with closing(psycopg2.connect(**database_arguments)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT user_id FROM users FOR NO KEY UPDATE SKIP LOCKED")
            free.extend(cursor.fetchall())
        return is_news(txn, event_id, known)

    monkeypatch.setattr(ephemeral, "is_news", look)
    for event_id in said:
        await server.ok("POST", f"{room}/read_markers", {"m.fully_read": event_id}, token)
    assert free == []


@ensureDeferred
async def test_whom_one_ignores_neither_reads_nor_types(build_server: BuildServer) -> None:
    """In both forms of sync, from memory, from the database and at first; it ends no wait. Others do as ever."""
    server = await build_server(**OPEN)
    token, bob, mallory = [await server.user(name) for name in ("alice", "bob", "mallory")]
    room = await server.room(token)
    for other in (bob, mallory):
        await server.ok("POST", f"{room}/join", {}, other)
    ignored = {"ignored_users": {"@mallory:hs.test": {}}}
    await server.ok("PUT", user_path("alice", "account_data/m.ignored_user_list"), ignored, token)
    said = await say(server, token, room, "hello")
    since = (await server.ok("GET", "sync", token=token))["next_batch"]
    pos = (await sync(server, token, {**ALL, **EXTENSIONS}))["pos"]

    async def read_and_type(user: str, user_token: str) -> None:
        await server.ok("POST", f"{room}/receipt/m.read/{path_part(said)}", {}, user_token)
        await server.ok("PUT", f"{room}/typing/{path_part(user)}", {"typing": True}, user_token)

    waiting = Deferred.fromCoroutine(server.ok("GET", f"sync?since={since}&timeout=30000", token=token))
    await read_and_type("@mallory:hs.test", mallory)
    heard = await say(server, bob, room, "news")
    answer = (await waiting)["rooms"]["join"][id_of(room)]
    assert [event["event_id"] for event in answer["timeline"]["events"]] == [heard]
    assert answer["ephemeral"]["events"] == []

    words = f"presence/{path_part('@mallory:hs.test')}/status"
    await server.ok("PUT", words, {"presence": "online"}, mallory)
    fresh = await build_server(**OPEN, bus=server.bus, clock=server.clock)
    for user, user_token in (("@mallory:hs.test", mallory), ("@bob:hs.test", bob)):
        await read_and_type(user, user_token)
        for one in (server, fresh):
            answers = [
                await one.ok("GET", "sync", token=token),
                await one.ok("GET", f"sync?since={since}", token=token),
                (await sync(one, token, {**ALL, **EXTENSIONS, "conn_id": "anew"}))["extensions"],
                (await sync(one, token, {**ALL, **EXTENSIONS}, pos))["extensions"],
            ]
            for found in answers:
                shown = [*_contents_of(found, "m.receipt"), *_contents_of(found, "m.typing")]
                assert "@mallory:hs.test" not in str(shown)
                assert str(shown).count("@bob:hs.test") == (2 if user_token is bob else 0)
    old = await server.ok("GET", f"{room}/initialSync", token=token)
    assert [*old["receipts"][0]["content"][said]["m.read"]] == ["@bob:hs.test"]
    assert "@mallory:hs.test" not in str(old["presence"])


def _contents_of(answer: Any, kind: str) -> list[Any]:
    """Of the ephemeral events of a kind, wherever they stand in the answer."""
    if isinstance(answer, list):
        return [content for one in answer for content in _contents_of(one, kind)]
    if not isinstance(answer, dict):
        return []
    if answer.get("type") == kind:
        return [answer["content"]]
    return [content for one in answer.values() for content in _contents_of(one, kind)]
