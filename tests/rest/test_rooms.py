"""Creating rooms over HTTP."""

from typing import Any

from pytest_twisted import ensureDeferred

from tests.server import TestServer

BAD_JSON = (400, "M_BAD_JSON")
BAD_BODIES: list[tuple[Any, tuple[int, str]]] = [
    (b"{", (400, "M_NOT_JSON")),
    ([], BAD_JSON),
    ({"room_version": 1}, BAD_JSON),
    ({"room_version": "none"}, (400, "M_UNSUPPORTED_ROOM_VERSION")),
    ({"room_version": ""}, (400, "M_UNSUPPORTED_ROOM_VERSION")),
    ({"visibility": "secret"}, BAD_JSON),
    ({"invite": "@bob:hs.test"}, BAD_JSON),
    ({"invite": [1]}, BAD_JSON),
    ({"invite_3pid": [{"medium": "email"}]}, (400, "M_UNRECOGNIZED")),
    ({"initial_state": {}}, BAD_JSON),
    ({"initial_state": [1]}, BAD_JSON),
    ({"initial_state": [{"content": {}}]}, (400, "M_MISSING_PARAM")),
    ({"initial_state": [{"type": "t", "content": 1}]}, BAD_JSON),
    ({"initial_state": 501 * [{"type": "t", "content": {}}]}, BAD_JSON),
    ({"creation_content": []}, BAD_JSON),
    ({"power_level_content_override": []}, BAD_JSON),
    ({"name": 1}, BAD_JSON),
    ({"topic": 1}, BAD_JSON),
    ({"is_direct": "yes"}, BAD_JSON),
]


@ensureDeferred
async def test_a_room_with_everything(server: TestServer) -> None:
    """Every field of the request arrives where it belongs."""
    alice, bob = await server.user("alice"), await server.user("bob")
    body = {
        "visibility": "public",
        "preset": "private_chat",
        "room_version": "11",
        "room_alias_name": "den",
        "name": "Den",
        "topic": "Foxes",
        "invite": ["@bob:hs.test"],
        "invite_3pid": [],
        "is_direct": True,
        "creation_content": {"type": "m.space"},
        "initial_state": [{"type": "org.example", "content": {"x": 1}}],
        "power_level_content_override": {"kick": 77},
    }
    made = await server.ok("POST", "createRoom", body, alice)
    assert made == {"room_id": made["room_id"]}
    state = {
        (event["type"], event["state_key"]): event["content"]
        for event in await server.ok("GET", f"rooms/{made['room_id']}/state", token=alice)
    }
    assert state["m.room.create", ""] == {"type": "m.space", "room_version": "11"}
    assert state["m.room.join_rules", ""] == {"join_rule": "invite"}
    assert state["m.room.name", ""] == {"name": "Den"}
    assert state["m.room.topic", ""]["topic"] == "Foxes"
    assert state["m.room.power_levels", ""]["kick"] == 77
    assert state["org.example", ""] == {"x": 1}
    assert state["m.room.member", "@bob:hs.test"] == {"membership": "invite", "is_direct": True}
    listed = await server.ok("GET", f"directory/list/room/{made['room_id']}")
    assert listed == {"visibility": "public"}
    assert await server.ok("GET", "joined_rooms", token=alice) == {"joined_rooms": [made["room_id"]]}
    assert await server.ok("GET", "joined_rooms", token=bob) == {"joined_rooms": []}


@ensureDeferred
async def test_nothing_asked_is_a_private_room(server: TestServer) -> None:
    """An empty object makes a private room of the default version; nulls count as absent."""
    alice = await server.user("alice")
    for body in ({}, {"name": None, "invite": None, "visibility": None, "creation_content": None}):
        made = await server.ok("POST", "createRoom", body, alice)
        path = f"rooms/{made['room_id']}/state"
        assert await server.refusal("GET", f"{path}/m.room.name", token=alice) == (404, "M_NOT_FOUND")
        assert await server.ok("GET", f"{path}/m.room.join_rules", token=alice) == {"join_rule": "invite"}
        assert await server.ok("GET", f"{path}/m.room.create", token=alice) == {"room_version": "12"}


@ensureDeferred
async def test_an_empty_name_is_one(server: TestServer) -> None:
    """As is an empty topic."""
    alice = await server.user("alice")
    room = await server.room(alice, name="", topic="")
    assert await server.ok("GET", f"{room}/state/m.room.name", token=alice) == {"name": ""}
    assert (await server.ok("GET", f"{room}/state/m.room.topic", token=alice))["topic"] == ""


@ensureDeferred
async def test_bad_bodies(server: TestServer) -> None:
    """Each mistake has its code; without a token, or as a guest, nobody makes rooms."""
    alice, guest = await server.user("alice"), await server.user("1", is_guest=True)
    for body, expected in BAD_BODIES:
        assert (body, await server.refusal("POST", "createRoom", body, alice)) == (body, expected)
    assert await server.refusal("POST", "createRoom", {}) == (401, "M_MISSING_TOKEN")
    assert await server.refusal("POST", "createRoom", {}, guest) == (403, "M_GUEST_ACCESS_FORBIDDEN")
