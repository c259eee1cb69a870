"""Application services list rooms for their networks."""

from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.handlers.app_services import room_lists
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.room_closure import close_room, reopen_room
from synapse_lite.storage.rooms import room_by_id
from tests.rest.conftest import BuildServer
from tests.rest.registered_services import TOKEN, registration
from tests.server import OPEN, TestServer

ALL = {"include_all_networks": True}
NET = {"third_party_instance_id": "irc|net"}
PRIVATE = {"visibility": "private"}


async def build(build_server: BuildServer, directory: Path) -> TestServer:
    files = [registration(directory), registration(directory, "xmpp")]
    return await build_server(**OPEN, app_service_config_files=files)


async def room(server: TestServer, token: str, **body: Any) -> str:
    return (await server.room(token, preset="public_chat", **body)).removeprefix("rooms/")


def path(room_id: str, network: str = "net") -> str:
    return f"directory/list/appservice/{network}/{room_id}"


async def shown(
    server: TestServer, token: str, wish: dict[str, Any], estimate: int | None = None
) -> list[str]:
    page = await server.ok("POST", "publicRooms", wish, token)
    assert page["total_room_count_estimate"] == (len(page["chunk"]) if estimate is None else estimate)
    return [one["room_id"] for one in page["chunk"]]


@ensureDeferred
async def test_which_list_shows_a_room(build_server: BuildServer, tmp_path: Path) -> None:
    """That of its network, and that of all; published, it is there once, and stays listed when it is published no more."""
    server = await build(build_server, tmp_path)
    alice = await server.user("alice")
    plain, published = await room(server, alice, visibility="public"), await room(server, alice)
    bridged, hidden = await room(server, alice), await room(server, alice)
    for one in (published, bridged):
        for _ in range(2):
            assert await server.ok("PUT", path(one), {}, TOKEN) == {}
    await server.ok("PUT", path(hidden, "other"), {}, TOKEN)
    await server.ok("PUT", path(hidden, "other"), PRIVATE, TOKEN)
    await server.ok("PUT", path(plain), {}, "as_xmpp")
    for visibility in ("public", "private"):
        await server.ok("PUT", f"directory/list/room/{published}", {"visibility": visibility}, alice)
        listed = [published, plain] if visibility == "public" else [plain]
        assert await shown(server, alice, {}) == listed
        assert await shown(server, alice, ALL) == [bridged, published, plain]
        assert await shown(server, alice, NET) == [bridged, published]
    for network, rooms in (("irc|other", []), ("xmpp|net", [plain]), ("xmpp|other", [])):
        assert await shown(server, alice, {"third_party_instance_id": network}) == rooms
    assert await shown(server, alice, {**ALL, "filter": {"room_types": ["m.space"]}}, 3) == []
    found = await server.ok("GET", "publicRooms?third_party_instance_id=irc%7Cnet", token=alice)
    assert [one["room_id"] for one in found["chunk"]] == [bridged, published]
    found = await server.ok("GET", "publicRooms?include_all_networks=true", token=alice)
    assert len(found["chunk"]) == 3
    await server.ok("PUT", path(bridged), PRIVATE, TOKEN)
    assert await shown(server, alice, ALL) == [published, plain]
    assert (await server.ok("GET", f"directory/list/room/{published}"))["visibility"] == "private"


@ensureDeferred
async def test_lists_follow_their_rooms(build_server: BuildServer, tmp_path: Path) -> None:
    """By members and by name; who cannot enter a room does not see it; one that is deleted is in no list."""
    server = await build(build_server, tmp_path)
    alice, bob = await server.user("alice"), await server.user("bob")
    tea, cake = await room(server, alice, name="Tea"), await room(server, alice, name="Cake")
    for one in (tea, cake):
        await server.ok("PUT", path(one), {}, TOKEN)
    await server.ok("POST", f"join/{tea}", {}, bob)
    await server.ok("PUT", f"rooms/{tea}/state/m.room.name", {"name": "Coffee"}, alice)

    def switch(txn: Transaction, *, closed: bool) -> None:
        found = room_by_id(txn, tea)
        assert found is not None
        if closed:
            close_room(txn, found.nid, 1)
        else:
            reopen_room(txn, found.nid)

    for wish in (NET, ALL):
        assert await shown(server, alice, wish) == [tea, cake]
        assert await shown(server, alice, {**wish, "filter": {"generic_search_term": "coffee"}}, 2) == [tea]
        await server.ok("PUT", f"rooms/{tea}/state/m.room.join_rules", {"join_rule": "invite"}, alice)
        assert await shown(server, alice, wish) == [cake]
        await server.ok("PUT", f"rooms/{tea}/state/m.room.join_rules", {"join_rule": "public"}, alice)
        for closed in (True, False):
            await server.database.transact(switch, closed=closed)
            assert await shown(server, alice, wish) == ([cake] if closed else [tea, cake])
    await server.database.transact(switch, closed=True)
    assert await server.refusal("PUT", path(tea), {}, TOKEN) == (404, "M_NOT_FOUND")


@ensureDeferred
async def test_pages_of_all_networks(build_server: BuildServer, tmp_path: Path) -> None:
    """Forth and back through both lists, each room once."""
    server = await build(build_server, tmp_path)
    alice = await server.user("alice")
    rooms = [
        await room(server, alice, visibility="public" if number % 2 else "private") for number in range(5)
    ]
    for one in rooms[:4]:
        await server.ok("PUT", path(one), {}, TOKEN)
    wish, pages = {**ALL, "limit": 2}, []
    expected = [rooms[3:][::-1], rooms[1:3][::-1], rooms[:1]]
    await server.ok("PUT", path(rooms[4]), {}, TOKEN)
    for _ in expected:
        page = await server.ok("POST", "publicRooms", wish, alice)
        pages.append([one["room_id"] for one in page["chunk"]])
        wish["since"] = page.get("next_batch")
    assert (pages, wish["since"]) == (expected, None)
    back = await server.ok("POST", "publicRooms", {**wish, "since": page["prev_batch"]}, alice)
    assert [one["room_id"] for one in back["chunk"]] == expected[1]


@ensureDeferred
async def test_who_may_list(
    build_server: BuildServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Services only, known rooms only, and no room for very many networks."""
    monkeypatch.setattr(room_lists, "MAX_NETWORKS", 2)
    server = await build(build_server, tmp_path)
    alice = await server.user("alice")
    den = await room(server, alice)
    assert await server.refusal("PUT", path(den), {}, alice) == (403, "M_FORBIDDEN")
    for wrong in ({"visibility": "x"}, {"visibility": 5}):
        assert await server.refusal("PUT", path(den), wrong, TOKEN) == (400, "M_BAD_JSON")
    assert await server.refusal("PUT", path("!no:hs.test"), {}, TOKEN) == (404, "M_NOT_FOUND")
    for network in "ab":
        await server.ok("PUT", path(den, network), {}, TOKEN)
    await server.ok("PUT", path(den, "b"), {}, TOKEN)
    refused = await server.refusal("PUT", path(den, "c"), {}, TOKEN)
    assert refused == (400, "M_RESOURCE_LIMIT_EXCEEDED")
    await server.ok("PUT", path(den, "b"), PRIVATE, TOKEN)
    await server.ok("PUT", path(den, "c"), {}, TOKEN)
