"""Rooms with `m.federate: false`: whoever is of another server stays outside, by every way in."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from tests.federation.conftest import OTHER
from tests.federation.network import Network, Scripted
from tests.federation.remote_room import RemoteRoom, remote_room, send
from tests.federation.sending import Inbox, Sending
from tests.server import TestServer, path_part

CAROL = f"@carol:{OTHER}"
FORBIDDEN = (403, "M_FORBIDDEN")
FEDERATION = "/_matrix/federation"


async def closed_room(server: TestServer, other: Scripted, **body: Any) -> tuple[RemoteRoom, str]:
    """A public room of alice that does not federate, and her token."""
    token = await server.user("alice")
    path = await server.room(token, creation_content={"m.federate": False}, **body)
    room = RemoteRoom(server, other, path.removeprefix("rooms/"))
    await room.look()
    return room, token


async def ask(
    server: TestServer, other: Scripted, method: str, path: str, body: Any = None
) -> tuple[int, str | None]:
    status, answer = await other.ask(server, method, f"{FEDERATION}/{path}", body)
    return status, answer.get("errcode")


@ensureDeferred
async def test_nobody_is_given_a_template(server: TestServer, other: Scripted) -> None:
    """For a join, a knock or a leave."""
    room, _ = await closed_room(server, other)
    for name in ("make_join", "make_knock", "make_leave"):
        path = f"v1/{name}/{path_part(room.room_id)}/{path_part(CAROL)}?ver=12"
        assert await ask(server, other, "GET", path) == FORBIDDEN, name


@pytest.mark.parametrize("membership", ["join", "knock", "leave"])
@ensureDeferred
async def test_nobody_sends_themselves_in(server: TestServer, other: Scripted, membership: str) -> None:
    """Whether by the endpoint of their membership, or among other events."""
    room, token = await closed_room(server, other)
    event = await room.build("m.room.member", {"membership": membership}, CAROL)
    version = "v1" if membership == "knock" else "v2"
    path = f"{version}/send_{membership}/{path_part(room.room_id)}/{path_part(event.event_id)}"
    assert await ask(server, other, "PUT", path, event.pdu) == FORBIDDEN
    await send(server, other, event.pdu)
    assert await room.membership(CAROL) is None
    members = await server.ok("GET", f"rooms/{path_part(room.room_id)}/joined_members", token=token)
    assert list(members["joined"]) == [f"@alice:{server.name}"]


@ensureDeferred
async def test_nobody_of_another_server_is_invited(
    server: TestServer, other: Scripted, network: Network
) -> None:
    """Their server is not even asked: the invite would lead nowhere. Not with a new room, either."""
    room, token = await closed_room(server, other)
    path = f"rooms/{path_part(room.room_id)}/invite"
    assert await server.refusal("POST", path, {"user_id": CAROL}, token) == FORBIDDEN
    member = f"rooms/{path_part(room.room_id)}/state/m.room.member/{path_part(CAROL)}"
    assert await server.refusal("PUT", member, {"membership": "invite"}, token) == FORBIDDEN
    new = {"creation_content": {"m.federate": False}, "invite": [CAROL]}
    assert await server.refusal("POST", "createRoom", new, token) == FORBIDDEN
    assert await room.membership(CAROL) is None
    assert network.asked == []
    await server.user("bob")
    await server.ok("POST", path, {"user_id": f"@bob:{server.name}"}, token)


@ensureDeferred
async def test_what_others_see(server: TestServer, other: Scripted) -> None:
    """Its alias leads to its id; as a space, or below one, it is not there, and nothing of it is told."""
    room, token = await closed_room(server, other, room_alias_name="door", name="Closed")
    open_space = await server.room(token, creation_content={"type": "m.space"})
    child = f"{open_space}/state/m.space.child/{path_part(room.room_id)}"
    await server.ok("PUT", child, {"via": [server.name]}, token)
    alias = f"v1/query/directory?room_alias={path_part(f'#door:{server.name}')}"
    assert (await other.ask(server, "GET", f"{FEDERATION}/{alias}"))[1]["room_id"] == room.room_id
    hierarchy = f"v1/hierarchy/{path_part(room.room_id)}"
    assert await ask(server, other, "GET", hierarchy) == (404, "M_NOT_FOUND")
    complexity = f"unstable/rooms/{path_part(room.room_id)}/complexity"
    assert await ask(server, other, "GET", complexity) == (404, "M_INVALID_PARAM")
    _, space = await other.ask(
        server, "GET", f"{FEDERATION}/v1/hierarchy/{open_space.removeprefix('rooms/')}"
    )
    assert (space["children"], space["inaccessible_children"]) == ([], [room.room_id])
    event_id = path_part(room.tips[0].event_id)
    for path in (f"v1/event/{event_id}", f"v1/state_ids/{path_part(room.room_id)}?event_id={event_id}",
                 f"v1/backfill/{path_part(room.room_id)}?v={event_id}&limit=5"):  # fmt: skip
        assert (await ask(server, other, "GET", path))[0] == 403, path


@ensureDeferred
async def test_its_events_go_nowhere(server: TestServer, other: Scripted) -> None:
    """Nothing of it is sent to a server that takes part in a room beside it, which hears of that one."""
    inbox, sending = Inbox(other), Sending(server)
    beside, token = await remote_room(server, other)
    closed = (await server.room(token, creation_content={"m.federate": False})).removeprefix("rooms/")
    for room_id in (closed, beside.room_id):
        path = f"rooms/{path_part(room_id)}/send/m.room.message/1"
        await server.ok("PUT", path, {"msgtype": "m.text", "body": "here"}, token)
    await sending.deliver()
    assert {pdu["room_id"] for pdu in inbox.pdus if "room_id" in pdu} == {beside.room_id}
    assert inbox.texts == ["here"]
