"""The list of past notifications."""

from typing import Any

from pytest_twisted import ensureDeferred

from tests.server import TestServer, path_part


async def _notified(
    server: TestServer, token: str, query: str = ""
) -> tuple[list[tuple[str, bool]], str | None]:
    """Bodies, and whether they are read; where to go on."""
    answer = await server.ok("GET", f"notifications{query}", None, token)
    for one in answer["notifications"]:
        assert one.keys() == {"actions", "event", "read", "room_id", "ts"}
        assert one["ts"] == one["event"]["origin_server_ts"]
        assert one["actions"][0] == "notify"
    bodies = [(one["event"]["content"]["body"], one["read"]) for one in answer["notifications"]]
    return bodies, answer.get("next_token")


@ensureDeferred
async def test_notifications(server: TestServer) -> None:
    """Newest first, of all rooms since one came in, in pages; highlights alone; nothing redacted, ignored, or one's own."""
    alice, bob = [await server.user(name) for name in ("alice", "bob")]
    rooms = [await server.room(bob) for _ in range(2)]
    number = 0

    async def say(room: str, body: str, token: str = bob, **more: Any) -> str:
        nonlocal number
        number += 1
        content = {"msgtype": "m.text", "body": body, **more}
        path = f"{room}/send/m.room.message/{number}"
        event_id: str = (await server.ok("PUT", path, content, token))["event_id"]
        return event_id

    await say(rooms[0], "before alice came")
    for room in rooms:
        await server.ok("POST", f"{room}/join", {}, alice)
    assert await _notified(server, alice) == ([], None)
    first = await say(rooms[0], "one")
    await say(rooms[1], "two")
    await say(rooms[0], "quiet", msgtype="m.notice")
    await say(rooms[1], "own", alice)
    await say(rooms[0], "three", **{"m.mentions": {"user_ids": ["@alice:hs.test"]}})
    gone = await say(rooms[0], "gone")
    await server.ok("PUT", f"{rooms[0]}/redact/{path_part(gone)}/r", {}, bob)
    await server.ok("POST", f"{rooms[0]}/receipt/m.read/{path_part(first)}", {}, alice)

    everything = [("three", False), ("two", True), ("one", True)]
    assert await _notified(server, alice) == (everything, None)
    assert await _notified(server, alice, "?only=highlight") == (everything[:1], None)
    page, token = await _notified(server, alice, "?limit=2")
    assert page == everything[:2]
    assert await _notified(server, alice, f"?limit=2&from={token}") == (everything[2:], None)
    answer = await server.ok("GET", "notifications?limit=1", None, alice)
    sound = {"set_tweak": "sound", "value": "default"}
    assert answer["notifications"][0]["actions"] == ["notify", sound, {"set_tweak": "highlight"}]

    await server.ok(
        "PUT", "pushrules/global/content/word", {"pattern": "quiet", "actions": ["notify"]}, alice
    )
    suppressed = "pushrules/global/override/.m.rule.suppress_notices/enabled"
    await server.ok("PUT", suppressed, {"enabled": False}, alice)
    bodies = [body for body, _ in (await _notified(server, alice))[0]]
    assert bodies == ["three", "quiet", "two", "one"], "with rules of one's own each event is looked at"
    await server.ok("POST", f"{rooms[0]}/leave", {}, alice)
    assert await _notified(server, alice) == (everything[1:2], None)
    for query in ("?limit=0", "?limit=x", "?from=x"):
        assert await server.refusal("GET", f"notifications{query}", None, alice) == (400, "M_INVALID_PARAM")
