"""The same requests to Synapse and to this server have answers of the same shape."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.interop.synapse import Synapse
from tests.processes.harness import Server

CLIENT = "/_matrix/client/v3"
NOT_YET = {"room": {"summary", "unread_notifications"}, "unsigned": {"membership"}}
"""Keys of Synapse's answers that ours lack."""


@pytest.fixture(scope="module")
def synapse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synapse]:
    with Synapse(tmp_path_factory.mktemp("synapse")) as synapse:
        yield synapse


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server")) as server:
        yield server


def conversation(server: Synapse | Server) -> dict[str, Any]:
    """Log in, make a room, send, and sync: the answers."""
    server.register("ada")
    identifier = {"type": "m.id.user", "user": "ada"}
    login = server.request(
        "POST",
        f"{CLIENT}/login",
        {"type": "m.login.password", "identifier": identifier, "password": "secret"},
    )
    token = login["access_token"]
    created = server.request("POST", f"{CLIENT}/createRoom", {"name": "A room"}, token)
    path = f"{CLIENT}/rooms/{quote(created['room_id'])}/send/m.room.message/1"
    sent = server.request("PUT", path, {"msgtype": "m.text", "body": "hello"}, token)
    sync = server.request("GET", f"{CLIENT}/sync", None, token)
    room = sync["rooms"]["join"][created["room_id"]]
    event = room["timeline"]["events"][-1]
    assert event["event_id"] == sent["event_id"]
    return {
        "login": set(login),
        "created": set(created),
        "sent": set(sent),
        "room": set(room),
        "timeline": set(room["timeline"]),
        "event": set(event),
        "unsigned": set(event["unsigned"]),
        "types": [event["type"] for event in room["timeline"]["events"]],
    }


def test_login_send_and_sync_answer_alike(synapse: Synapse, server: Server) -> None:
    """A client finds the keys that it finds on Synapse, and the same events in the same order."""
    theirs, ours = conversation(synapse), conversation(server)
    assert ours.pop("types") == theirs.pop("types")
    for what, keys in theirs.items():
        assert keys - ours[what] <= NOT_YET.get(what, set()), what
