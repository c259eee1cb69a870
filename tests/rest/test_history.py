"""/messages, /context and /event over HTTP."""

import json
from urllib.parse import quote

from pytest_twisted import ensureDeferred

from tests.server import TestServer, path_part


@ensureDeferred
async def test_history(server: TestServer) -> None:
    """Pages, single events and what stands around them."""
    token, stranger = await server.user("alice"), await server.user("bob")
    room = await server.room(token)
    said = [
        (
            await server.ok(
                "PUT", f"{room}/send/m.room.message/{n}", {"msgtype": "m.text", "body": str(n)}, token
            )
        )["event_id"]
        for n in range(4)
    ]
    page = await server.ok("GET", f"{room}/messages?dir=b&limit=2", None, token)
    assert [event["event_id"] for event in page["chunk"]] == said[:1:-1]
    assert page["chunk"][0]["unsigned"]["transaction_id"] == "3"
    page = await server.ok("GET", f"{room}/messages?dir=b&limit=1&from={page['end']}", None, token)
    assert [event["event_id"] for event in page["chunk"]] == [said[1]]
    wanted = quote(json.dumps({"types": ["m.room.create"], "limit": 0}))
    page = await server.ok("GET", f"{room}/messages?dir=f&filter={wanted}", None, token)
    assert [event["type"] for event in page["chunk"]] == ["m.room.create"]

    event = await server.ok("GET", f"{room}/event/{path_part(said[1])}", None, token)
    assert event["content"] == {"msgtype": "m.text", "body": "1"}
    around = await server.ok("GET", f"{room}/context/{path_part(said[1])}?limit=2", None, token)
    assert around["event"]["event_id"] == said[1]
    assert [event["event_id"] for event in around["events_before"]] == [said[0]]
    assert [event["event_id"] for event in around["events_after"]] == [said[2]]
    assert around.keys() == {"event", "events_before", "events_after", "state", "start", "end"}

    assert await server.refusal("GET", f"{room}/messages?dir=b", None, stranger) == (403, "M_FORBIDDEN")
    path = f"{room}/event/{path_part(said[1])}"
    assert await server.refusal("GET", path, None, stranger) == (404, "M_NOT_FOUND")
    for query in ("dir=x", "from=1", "to=x", "limit=-1", "limit=x"):
        assert await server.refusal("GET", f"{room}/messages?{query}", None, token) == (
            400,
            "M_INVALID_PARAM",
        )
    for text, errcode in (("{", "M_NOT_JSON"), ("[]", "M_BAD_JSON"), ('{"types": 1}', "M_BAD_JSON")):
        for path in (f"{room}/messages?dir=b", f"{room}/context/{path_part(said[1])}?limit=1"):
            refused = await server.refusal("GET", f"{path}&filter={quote(text)}", None, token)
            assert refused == (400, errcode)
