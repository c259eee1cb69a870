"""What people see of a room before they are in it, by the operator's choice."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from tests.builders import SERVER
from tests.rest.conftest import BuildServer
from tests.server import TestServer

BADGES = [{"type": "org.example.badge", "state_key": key, "content": {"key": key}} for key in ("a", "b")]
SECRET = {"type": "org.example.secret", "state_key": "", "content": {}}


async def _shown(server: TestServer) -> set[tuple[str, str]]:
    """Types and keys of the state that an invited user syncs, but for member events; sliding sync shows the same."""
    alice, bob = await server.user("alice"), await server.user("bob")
    body: dict[str, Any] = {"invite": [f"@bob:{SERVER}"], "name": "Den", "initial_state": [*BADGES, SECRET]}
    room_id = (await server.room(alice, **body)).removeprefix("rooms/")
    synced = (await server.ok("GET", "sync", None, bob))["rooms"]["invite"][room_id]["invite_state"]["events"]
    lists = {"lists": {"all": {"ranges": [[0, 10]], "required_state": [], "timeline_limit": 1}}}
    path = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
    sliding = (await server.ok("POST", path, lists, bob))["rooms"][room_id]["invite_state"]
    shown = {(event["type"], event["state_key"]) for event in synced}
    assert {(event["type"], event["state_key"]) for event in sliding} == shown
    members = {(kind, key) for kind, key in shown if kind == "m.room.member"}
    assert members == {("m.room.member", f"@{name}:{SERVER}") for name in ("alice", "bob")}
    return shown - members


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"create", "name", "join_rules"}),
        ({"disable_default_event_types": True}, set()),
        ({"additional_event_types": ["org.example.badge"]}, {"create", "name", "join_rules", "a", "b"}),
        (
            {
                "disable_default_event_types": True,
                "additional_event_types": [["org.example.badge", "b"], "m.room.name"],
            },
            {"name", "b"},
        ),
    ],
)
@ensureDeferred
async def test_state_for_invited_users(
    build_server: BuildServer, options: dict[str, Any], expected: set[str]
) -> None:
    """The usual types unless they are switched off, types with any key, types with one; and who invites whom."""
    server = await build_server(room_prejoin_state=options)
    shown = await _shown(server)
    assert {key or kind.removeprefix("m.room.") for kind, key in shown} == expected
