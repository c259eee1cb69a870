"""Users are told while nobody more is let in (`mau_limit_alerting`)."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from synapse_lite.handlers.active_users import ActiveUsers
from synapse_lite.handlers.limit_notices import LOOK_SECONDS
from tests.rest.conftest import BuildServer
from tests.server import OPEN, TestServer

LIMITED = {
    **OPEN,
    "limit_usage_by_mau": True,
    "max_mau_value": 1,
    "admin_contact": "mailto:a@b.test",
    "server_notices": {"system_mxid_localpart": "notices", "auto_join": True},
}
PINNED = "m.room.pinned_events"


async def sync(server: TestServer, token: str) -> Any:
    return (await server.ok("GET", "sync", token=token)).get("rooms", {}).get("join", {})


async def pinned(server: TestServer, room_id: str, token: str) -> Any:
    return (await server.ok("GET", f"rooms/{room_id}/state/{PINNED}", token=token))["pinned"]


@ensureDeferred
async def test_who_is_let_in_is_told(build_server: BuildServer) -> None:
    """Once: the message is pinned as long as the number is reached, by whatever process, and told again the next time."""
    server = await build_server(**LIMITED)
    alice = await server.user("alice")
    await sync(server, alice)
    server.clock.step(LOOK_SECONDS)
    ((room_id, room),) = (await sync(server, alice)).items()
    (notice,) = [one for one in room["timeline"]["events"] if one["type"] == "m.room.message"]
    assert notice["content"].pop("body")
    assert notice["content"] == {
        "msgtype": "m.server_notice",
        "server_notice_type": "m.server_notice.usage_limit_reached",
        "limit_type": "monthly_active_user",
        "admin_contact": "mailto:a@b.test",
    }
    assert await pinned(server, room_id, alice) == [notice["event_id"]]
    other = await build_server(**LIMITED)
    other.clock.step(server.clock.monotonic())
    for one in (server, other):
        await sync(one, alice)
    assert await pinned(server, room_id, alice) == [notice["event_id"]]
    wide = await build_server(**{**LIMITED, "max_mau_value": 2})
    await sync(wide, alice)
    assert await pinned(server, room_id, alice) == []
    again = await build_server(**LIMITED)
    await sync(again, alice)
    assert len(await pinned(server, room_id, alice)) == 1
    assert await pinned(server, room_id, alice) != [notice["event_id"]]


@ensureDeferred
async def test_who_is_not_told(build_server: BuildServer) -> None:
    """Nobody where it is switched off, or where there are no notices."""
    token = None
    for options in ({"mau_limit_alerting": False}, {"server_notices": {}}):
        server = await build_server(**{**LIMITED, **options})
        token = token or await server.user("alice")
        for _ in range(2):
            server.clock.step(LOOK_SECONDS)
            assert await sync(server, token) == {}


@ensureDeferred
async def test_who_comes_while_the_first_count_is_under_way(
    build_server: BuildServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart all do: what they were told stays, and is not told again."""
    options = {**LIMITED, "max_mau_value": 2}
    server = await build_server(**options)
    tokens = [await server.user(name) for name in ("alice", "bob")]
    for token in tokens:
        await sync(server, token)
    server.clock.advance(LOOK_SECONDS)
    room_ids = [room_id for token in tokens for room_id in await sync(server, token)]
    told = [await pinned(server, *one) for one in zip(room_ids, tokens, strict=True)]
    fresh = await build_server(**options)
    asked, counted, is_full = Deferred[None](), Deferred[None](), ActiveUsers.is_full

    async def count_late(active: ActiveUsers) -> bool:
        if not asked.called:
            asked.callback(None)
        await counted
        return await is_full(active)

    monkeypatch.setattr(ActiveUsers, "is_full", count_late)
    first = Deferred.fromCoroutine(sync(fresh, tokens[0]))
    await asked
    await sync(fresh, tokens[1])
    counted.callback(None)
    await first
    await sync(fresh, tokens[1])
    assert [await pinned(fresh, *one) for one in zip(room_ids, tokens, strict=True)] == told
