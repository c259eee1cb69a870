"""The form in which MSC4186 was merged."""

from typing import Any

from pytest_twisted import ensureDeferred

from synapse_lite.storage.rooms import room_by_id
from tests.builders import World
from tests.rest.conftest import BuildServer
from tests.rest.sliding_sync import (
    BOB,
    MERGED,
    UNKNOWN_POS,
    id_of,
)
from tests.server import OPEN, TestServer


async def merged(server: TestServer, token: str, pos: str | None = None, **body: Any) -> Any:
    more = {"pos": pos} if pos else {}
    return await server.ok("POST", MERGED, {**body, **more}, token)


@ensureDeferred
async def test_merged_form(build_server: BuildServer) -> None:
    """Lists are numbers, rooms say in which they are and what one's membership is; what was taken away is told."""
    server = await build_server(**OPEN)
    token, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(token, name="Tea", topic="Hot")
    required = {"include": [{}], "exclude": [{"type": "m.room.topic"}, {"type": "m.room.member"}]}
    lists = {"all": {"range": [0, 19], "required_state": required, "timeline_limit": 1}}
    first = await merged(server, token, lists=lists)
    assert first["lists"] == {"all": {"count": 1}}
    shown = first["rooms"][id_of(room)]
    assert (shown["membership"], shown["lists"], shown["name"]) == ("join", ["all"], "Tea")
    assert len(shown["timeline_events"]) == 1
    kinds = {event["type"] for event in shown["required_state"]}
    assert kinds >= {"m.room.create", "m.room.name"}
    assert not kinds & {"m.room.topic", "m.room.member"}
    page = await server.ok("GET", f"{room}/messages?dir=b&from={first['pos']}&limit=1", None, token)
    assert page["chunk"][0]["event_id"] == shown["timeline_events"][-1]["event_id"]

    await server.ok("PUT", f"{room}/state/m.room.name", {"name": ""}, token)
    await server.ok("PUT", f"{room}/state/org.example", {"x": 1}, token)
    second = await merged(server, token, first["pos"], lists=lists)
    news = second["rooms"][id_of(room)]
    assert (news["name"], news["avatar"], "initial" in news) == (None, None, False)
    world = World.of(server.core)
    found = await server.database.read(room_by_id, id_of(room))
    await server.database.transact(world.revert, found, ("org.example", ""), None)
    third = await merged(server, token, second["pos"], lists=lists)
    assert third["rooms"][id_of(room)]["required_state"] == [{"type": "org.example", "state_key": ""}]

    await server.ok("POST", f"{room}/invite", {"user_id": BOB}, token)
    invited = (await merged(server, bob, lists=lists))["rooms"][id_of(room)]
    assert (invited["membership"], "timeline_events" in invited) == ("invite", False)
    assert {event["type"] for event in invited["stripped_state"]} >= {"m.room.join_rules", "m.room.member"}


@ensureDeferred
async def test_merged_form_refusals(server: TestServer) -> None:
    """What does not fit, and what only the other form has."""
    token = await server.user("alice")
    config = {"required_state": {}, "timeline_limit": 1}
    bodies: tuple[Any, ...] = (
        {"lists": {"all": {**config, "required_state": []}}},
        {"lists": {"all": {**config, "required_state": {"include": [["m.room.name", ""]]}}}},
        {"lists": {"all": {**config, "required_state": {"include": [{"type": 1}]}}}},
        {"lists": {"all": {**config, "required_state": {"lazy_members": 1}}}},
        {"lists": {"all": {**config, "range": [[0, 1]]}}},
        {"timeout": "1"},
    )
    for body in bodies:
        assert await server.refusal("POST", MERGED, body, token) == (400, "M_BAD_JSON"), body
    assert await server.refusal("POST", MERGED, {"pos": "x"}, token) == UNKNOWN_POS
    assert await server.refusal("POST", MERGED, {"set_presence": "x"}, token) == (400, "M_INVALID_PARAM")
