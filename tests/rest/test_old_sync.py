"""What clients asked before there was /sync."""

from typing import Any

from pytest_twisted import ensureDeferred

from tests.server import TestServer, path_part

HELLO = {"msgtype": "m.text", "body": "hello"}


async def say(server: TestServer, room: str, token: str, *texts: str) -> list[str]:
    return [
        (await server.ok("PUT", f"{room}/send/m.room.message/{body}", {**HELLO, "body": body}, token))[
            "event_id"
        ]
        for body in texts
    ]


def bodies(chunk: list[dict[str, Any]]) -> list[str]:
    return [event["content"]["body"] for event in chunk if event["type"] == "m.room.message"]


@ensureDeferred
async def test_one_room(server: TestServer) -> None:
    """State, the newest events, and what is one's own; a page goes on from where it begins, and strangers see nothing."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice, name="name")
    said = await say(server, room, alice, "a", "b", "c")
    await server.ok("POST", f"{room}/receipt/m.read/{path_part(said[0])}", {}, alice)
    tag = f"user/{path_part('@alice:hs.test')}/{room}/tags/u.x"
    await server.ok("PUT", tag, {}, alice)
    await server.ok("PUT", f"presence/{path_part('@alice:hs.test')}/status", {"presence": "online"}, alice)
    found = await server.ok("GET", f"{room}/initialSync?limit=2", None, alice)
    assert (found["membership"], found["visibility"]) == ("join", "private")
    assert {event["type"] for event in found["state"]} >= {"m.room.create", "m.room.name", "m.room.member"}
    assert bodies(found["messages"]["chunk"]) == ["b", "c"]
    assert [data["type"] for data in found["account_data"]] == ["m.tag"]
    assert found["receipts"][0]["content"].keys() == {said[0]}
    assert [event["sender"] for event in found["presence"]] == ["@alice:hs.test"]
    earlier = await server.ok(
        "GET", f"{room}/messages?dir=b&limit=1&from={found['messages']['start']}", None, alice
    )
    assert bodies(earlier["chunk"]) == ["a"]
    assert (
        bodies((await server.ok("GET", f"{room}/initialSync?limit=0", None, alice))["messages"]["chunk"])
        == []
    )
    assert await server.refusal("GET", f"{room}/initialSync", None, bob) == (403, "M_FORBIDDEN")
    await server.ok(
        "PUT", f"{room}/state/m.room.history_visibility", {"history_visibility": "world_readable"}, alice
    )
    await say(server, room, alice, "d")
    peeked = await server.ok("GET", f"{room}/initialSync", None, bob)
    assert "membership" not in peeked
    assert "receipts" not in peeked
    assert bodies(peeked["messages"]["chunk"]) == ["d"]
    for limit in ("x", "-1"):
        assert await server.refusal("GET", f"{room}/initialSync?limit={limit}", None, alice) == (
            400, "M_INVALID_PARAM",
        )  # fmt: skip


@ensureDeferred
async def test_everything(server: TestServer) -> None:
    """One's rooms, invites, and with `archived` those that one left; account data; where /events goes on."""
    alice, bob = await server.user("alice"), await server.user("bob")
    joined, left, invited = [await server.room(alice, name=name) for name in ("joined", "left", "invited")]
    for room in (joined, left):
        await server.ok("POST", f"{room}/join", {}, bob)
    await say(server, joined, alice, "hello")
    await say(server, left, alice, "before")
    await server.ok("POST", f"{left}/leave", {}, bob)
    await say(server, left, alice, "after")
    await server.ok("POST", f"{invited}/invite", {"user_id": "@bob:hs.test"}, alice)
    await server.ok("PUT", f"user/{path_part('@bob:hs.test')}/account_data/org.example", {"x": 1}, bob)
    found = await server.ok("GET", "initialSync?limit=5", None, bob)
    assert {(room["room_id"], room["membership"]) for room in found["rooms"]} == {
        (joined.removeprefix("rooms/"), "join"), (invited.removeprefix("rooms/"), "invite"),
    }  # fmt: skip
    assert {"type": "org.example", "content": {"x": 1}} in found["account_data"]
    archived = await server.ok("GET", "initialSync?archived=true", None, bob)
    (gone,) = [room for room in archived["rooms"] if room["membership"] == "leave"]
    assert bodies(gone["messages"]["chunk"]) == ["before"]
    await say(server, joined, alice, "news")
    events = await server.ok("GET", f"events?from={found['end']}&timeout=0", None, bob)
    assert bodies(events["chunk"]) == ["news"]
    assert {event["room_id"] for event in events["chunk"]} == {joined.removeprefix("rooms/")}
    again = await server.ok("GET", f"events?from={events['end']}&timeout=0", None, bob)
    assert again["chunk"] == []
    assert (await server.ok("GET", "events", None, bob))["chunk"] == []


@ensureDeferred
async def test_an_event_of_whatever_room(server: TestServer) -> None:
    """For who may see it."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice, preset="private_chat")
    (said,) = await say(server, room, alice, "a")
    assert (await server.ok("GET", f"events/{path_part(said)}", None, alice))["content"]["body"] == "a"
    for event_id, token in ((said, bob), ("$unknown", alice)):
        assert await server.refusal("GET", f"events/{path_part(event_id)}", None, token) == (
            404,
            "M_NOT_FOUND",
        )
