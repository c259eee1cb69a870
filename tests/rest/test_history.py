"""/messages, /context and /event over HTTP."""

import json
from urllib.parse import quote

from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.imported.places import add_places
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


@ensureDeferred
async def test_tokens_that_synapse_gave_out(server: TestServer) -> None:
    """Clients keep them with what they remember of rooms. In a room that came from there they name what they named."""
    token = await server.user("alice")
    moved, new = await server.room(token), await server.room(token)

    async def say(room: str, number: int) -> str:
        path = f"{room}/send/m.room.message/{number}"
        return str((await server.ok("PUT", path, {"msgtype": "m.text", "body": "x"}, token))["event_id"])

    said = [await say(moved, number) for number in range(4)]
    room_id = moved.removeprefix("rooms/")

    def place(txn: Transaction) -> None:
        room_nid = txn.value("SELECT room_nid FROM rooms WHERE room_id = %s", (room_id,))
        add_places(txn, room_nid, [(said[0], -7), (said[1], 20), (said[2], 58), ("$gone", 60)])

    await server.database.transact(place)
    rest = "_1_2_3_4_5_6_7_8"

    async def shown(path: str, query: str) -> list[str]:
        events = (await server.ok("GET", f"{path}/messages?{query}", None, token))["chunk"]
        return [event["event_id"] for event in events if event["type"] == "m.room.message"]

    for text, backwards in (
        ("t5--8", []), ("t5--7", [0]), ("t9-20", [1, 0]), ("s57", [1, 0]), ("s58", [2, 1, 0]), ("s99", [2, 1, 0]),
        ("m57~1.50~2.58", [2, 1, 0]),
    ):  # fmt: skip
        assert await shown(moved, f"dir=b&from={text}{rest}") == [said[number] for number in backwards], text
        others = [one for one in said if one not in {said[number] for number in backwards}]
        assert await shown(moved, f"dir=f&from={text}{rest}") == others, text
    assert await shown(moved, f"dir=f&from=t9-20{rest}&to=s58{rest}") == [said[2]]
    later = await say(new, 5)
    assert await shown(new, f"dir=b&from=t9-20{rest}") == [later]
    refused = await server.refusal("GET", f"{moved}/messages?dir=b&from=t9-20", None, token)
    assert refused == (400, "M_INVALID_PARAM")
    for at, members in ((f"t5--7{rest}", 1), (f"t5--8{rest}", 0)):
        assert len((await server.ok("GET", f"{moved}/members?at={at}", None, token))["chunk"]) == members
    assert len((await server.ok("GET", f"{new}/members?at=s58{rest}", None, token))["chunk"]) == 1
