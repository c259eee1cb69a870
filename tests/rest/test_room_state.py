"""State over HTTP."""

from pytest_twisted import ensureDeferred

from tests.server import TestServer, path_part

ALICE = "@alice:hs.test"


@ensureDeferred
async def test_setting_and_reading_state(server: TestServer) -> None:
    """With a key, with an empty one, and with none; as content or as the whole event."""
    alice = await server.user("alice")
    room = await server.room(alice)
    for number, (key, state_key) in enumerate(
        [("/state/org.example", ""), ("/state/org.example/", ""), ("/state/org.example/a%2Fb", "a/b")]
    ):
        put = await server.ok("PUT", room + key, {"x": number}, alice)
        assert await server.ok("GET", room + key, token=alice) == {"x": number}
        event = await server.ok("GET", f"{room}{key}?format=event", token=alice)
        assert event["event_id"] == put["event_id"]
        assert (event["state_key"], event["content"], event["sender"]) == (state_key, {"x": number}, ALICE)
        assert event["room_id"] == room.removeprefix("rooms/")
        assert event["unsigned"]["age"] >= 0
    keys = [event["state_key"] for event in await server.ok("GET", f"{room}/state", token=alice)
            if event["type"] == "org.example"]  # fmt: skip
    assert sorted(keys) == ["", "a/b"]
    bad = await server.refusal("GET", f"{room}/state/org.example?format=yaml", token=alice)
    assert bad == (400, "M_INVALID_PARAM")
    assert await server.refusal("PUT", f"{room}/state/org.example", {"x": 0.5}, alice) == (400, "M_BAD_JSON")
    assert await server.refusal("PUT", f"{room}/state/org.example", [], alice) == (400, "M_BAD_JSON")
    assert await server.refusal("PUT", f"{room}/state/org.example", b"", alice) == (400, "M_NOT_JSON")
    assert await server.refusal("GET", f"{room}/state/none", token=alice) == (404, "M_NOT_FOUND")


@ensureDeferred
async def test_member_lists(server: TestServer) -> None:
    """`/members` gives member events, filtered by the query; `/joined_members` names and avatars."""
    alice, bob = await server.user("alice", displayname="Alice"), await server.user("bob")
    room = await server.room(alice)
    token = f"s{await server.database.read(lambda txn: txn.value('SELECT position FROM stream_position'))}"
    await server.ok("POST", f"{room}/join", {}, bob)

    async def members(query: str) -> list[str]:
        events = (await server.ok("GET", f"{room}/members?{query}", token=alice))["chunk"]
        assert all(event["type"] == "m.room.member" for event in events)
        return sorted(event["state_key"] for event in events)

    assert await members("") == [ALICE, "@bob:hs.test"]
    assert await members(f"at={token}") == [ALICE]
    await server.ok("POST", f"{room}/leave", {}, bob)
    assert await members("membership=leave") == ["@bob:hs.test"]
    assert await members("not_membership=leave") == [ALICE]
    assert await members("not_membership=leave&membership=") == [ALICE]
    assert await members("membership=join&not_membership=") == [ALICE]
    bad = await server.refusal("GET", f"{room}/members?membership=friend", token=alice)
    assert bad == (400, "M_INVALID_PARAM")
    assert await server.ok("GET", f"{room}/joined_members", token=alice) == {
        "joined": {ALICE: {"display_name": "Alice", "avatar_url": None}}
    }
    assert await server.refusal("GET", f"{room}/joined_members", token=bob) == (403, "M_FORBIDDEN")
    member = await server.ok("GET", f"{room}/state/m.room.member/{path_part(ALICE)}", token=alice)
    assert member == {"membership": "join", "displayname": "Alice"}
