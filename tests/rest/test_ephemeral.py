"""Receipts and typing over HTTP."""

from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import Database
from tests.rest.reading_home import ReadingHome
from tests.rest.rooms_home import path_part


async def _ephemeral(home: ReadingHome, token: str, since: str) -> dict[str, object]:
    answer = await home.ok("GET", f"sync?since={since}", None, token)
    rooms = answer.get("rooms", {}).get("join", {}).values()
    return {event["type"]: event["content"] for room in rooms for event in room["ephemeral"]["events"]}


@ensureDeferred
async def test_receipts_and_typing(database: Database) -> None:
    """What one member sends, another sees; what is malformed, or not one's own, is refused."""
    home = ReadingHome(database)
    await home.start()
    token, other, stranger = [await home.user(name) for name in ("alice", "bob", "mallory")]
    room = await home.room(token)
    await home.ok("POST", f"{room}/join", {}, other)
    said = (await home.ok("PUT", f"{room}/send/m.room.message/1", {"body": "x"}, token))["event_id"]
    since = (await home.ok("GET", "sync", None, token))["next_batch"]
    receipt = f"{room}/receipt/m.read/{path_part(said)}"
    typing = f"{room}/typing/{path_part('@bob:hs.test')}"

    assert await home.ok("POST", receipt, b"", other) == {}
    assert await home.ok("PUT", typing, {"typing": True, "timeout": 10_000}, other) == {}
    found = await _ephemeral(home, token, since)
    assert found["m.receipt"][said]["m.read"].keys() == {"@bob:hs.test"}  # type: ignore[index]
    assert found["m.typing"] == {"user_ids": ["@bob:hs.test"]}
    await home.ok("PUT", typing, {"typing": False}, other)
    assert (await _ephemeral(home, token, since))["m.typing"] == {"user_ids": []}
    await home.ok("POST", receipt, {"thread_id": "main"}, other)
    await home.ok("POST", f"{room}/read_markers", {"m.fully_read": said, "m.read": said, "x": 1}, other)
    data = await home.ok(
        "GET", f"user/{path_part('@bob:hs.test')}/{room}/account_data/m.fully_read", None, other
    )
    assert data == {"event_id": said}
    await home.ok("POST", f"{room}/receipt/m.fully_read/{path_part(said)}", {}, token)

    for path, body, expected in (
        (receipt, {"thread_id": 1}, (400, "M_BAD_JSON")),
        (receipt, {"thread_id": ""}, (400, "M_INVALID_PARAM")),
        (f"{room}/receipt/m.unknown/{path_part(said)}", {}, (400, "M_INVALID_PARAM")),
        (f"{room}/read_markers", {"m.read": 1}, (400, "M_BAD_JSON")),
        (f"{room}/read_markers", {"m.read": "x"}, (400, "M_INVALID_PARAM")),
    ):
        assert await home.refusal("POST", path, body, other) == expected
    for body, who, expected in (
        ({}, other, (400, "M_MISSING_PARAM")),
        ({"typing": "yes"}, other, (400, "M_BAD_JSON")),
        ({"typing": True, "timeout": "1"}, other, (400, "M_BAD_JSON")),
        ({"typing": True}, token, (403, "M_FORBIDDEN")),
    ):
        assert await home.refusal("PUT", typing, body, who) == expected
    assert await home.refusal("POST", receipt, {}, stranger) == (403, "M_FORBIDDEN")
    foreign = f"{room}/typing/{path_part('@mallory:hs.test')}"
    assert await home.refusal("PUT", foreign, {"typing": True}, stranger) == (403, "M_FORBIDDEN")
    home.server.clock.advance(200)
