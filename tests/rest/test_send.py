"""Messages and redactions over HTTP."""

from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import Database
from tests.rest.rooms_home import RoomsHome, path_part

HELLO = {"msgtype": "m.text", "body": "hello"}


@ensureDeferred
async def test_sending(database: Database) -> None:
    """A repeated request is one event, under whichever version of the API it is repeated."""
    home = RoomsHome(database)
    alice = await home.user("alice")
    room = await home.room(alice)
    path = f"{room}/send/m.room.message/txn1"
    first = await home.ok("PUT", path, HELLO, alice)
    assert list(first) == ["event_id"]
    assert await home.ok("PUT", path, HELLO, alice) == first
    assert await home.ok("PUT", f"/_matrix/client/r0/{path}", HELLO, alice) == first
    assert await home.ok("PUT", f"{room}/send/m.room.message/txn2", HELLO, alice) != first
    for body, expected in ((b"", "M_NOT_JSON"), ([], "M_BAD_JSON"), ({"x": 2**60}, "M_BAD_JSON")):
        assert await home.refusal("PUT", f"{room}/send/t/bad", body, alice) == (400, expected)
    assert await home.refusal("PUT", path, HELLO) == (401, "M_MISSING_TOKEN")
    assert await home.refusal("PUT", path.replace("!", ""), HELLO, alice) == (400, "M_UNKNOWN")


@ensureDeferred
async def test_redacting(database: Database) -> None:
    """A state event loses its content, and says why."""
    home = RoomsHome(database)
    alice = await home.user("alice")
    room = await home.room(alice)
    topic = await home.ok("PUT", f"{room}/state/m.room.topic", {"topic": "x"}, alice)
    path = f"{room}/redact/{path_part(topic['event_id'])}/txn"
    redaction = await home.ok("PUT", path, {"reason": "typo"}, alice)
    assert await home.ok("PUT", path, {"reason": "typo"}, alice) == redaction
    event = await home.ok("GET", f"{room}/state/m.room.topic?format=event", token=alice)
    assert event["content"] == {}
    assert event["unsigned"]["redacted_because"]["event_id"] == redaction["event_id"]
    assert await home.refusal("PUT", f"{room}/redact/$none/1", {}, alice) == (404, "M_NOT_FOUND")
