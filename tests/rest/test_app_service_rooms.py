"""When a room concerns an application service: as long as a user of it is there, also of what it is told later, all at once."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_twisted

from synapse_lite.handlers.app_services.interest import Stay
from tests.app_service import AppServiceProcess
from tests.rest.app_services import Bridge, open_bridges
from tests.rest.conftest import BuildServer
from tests.rest.test_app_service_transactions import say
from tests.server import path_part


@pytest_twisted.async_yield_fixture
async def bridge(build_server: BuildServer, tmp_path: Path) -> AsyncIterator[Bridge]:
    service = AppServiceProcess("bridge")
    service.start()
    (bridge,) = await open_bridges(build_server, tmp_path, [service], receive_ephemeral=True)
    yield bridge
    await service.stop()


@pytest_twisted.ensureDeferred
async def test_a_service_that_was_away_hears_only_what_was_said_beside_its_users(bridge: Bridge) -> None:
    """Who comes later must not hear what was said before, nor who is gone what is said after."""
    alice = await bridge.server.register("alice")
    room, ghost, other = (
        await bridge.server.room(alice),
        await bridge.ghost("ghost"),
        await bridge.ghost("other"),
    )
    await say(bridge, room, "among us", alice)
    await bridge.act(ghost, "POST", f"{room}/join", {})
    await say(bridge, room, "beside one", alice)
    await bridge.act(other, "POST", f"{room}/join", {})
    await bridge.act(ghost, "POST", f"{room}/leave", {})
    await say(bridge, room, "beside the other", alice)
    await bridge.server.ok("POST", f"{room}/kick", {"user_id": other}, alice)
    await say(bridge, room, "among us again", alice)
    await bridge.server.ok("POST", f"{room}/invite", {"user_id": ghost}, alice)
    await say(bridge, room, "it is only invited", alice)
    await bridge.act(ghost, "POST", f"{room}/join", {})
    await say(bridge, room, "it is back", alice)
    await bridge.deliver()
    assert bridge.service.said == ["beside one", "beside the other", "it is back"]


@pytest_twisted.ensureDeferred
async def test_who_reads_before_its_user_comes_is_not_told(bridge: Bridge) -> None:
    alice = await bridge.server.register("alice")
    room, ghost = await bridge.server.room(alice), await bridge.ghost("ghost")
    early = await say(bridge, room, "early", alice)
    await bridge.server.ok("POST", f"{room}/receipt/m.read/{path_part(early)}", {}, alice)
    await bridge.act(ghost, "POST", f"{room}/join", {})
    late = await say(bridge, room, "late", alice)
    await bridge.server.ok("POST", f"{room}/receipt/m.read/{path_part(late)}", {}, alice)
    await bridge.deliver()
    assert [one["content"].keys() for one in bridge.service.ephemeral("m.receipt")] == [{late}]


@pytest_twisted.ensureDeferred
async def test_what_is_known_of_a_room_holds_while_one_of_its_users_stays(bridge: Bridge) -> None:
    alice = await bridge.server.register("alice")
    room, ghosts = (
        await bridge.server.room(alice),
        [await bridge.ghost(name) for name in ("one", "two", "three")],
    )
    for ghost in ghosts:
        await bridge.act(ghost, "POST", f"{room}/join", {})
    await say(bridge, room, "to three", alice)
    await bridge.deliver()
    for ghost in ghosts:
        await bridge.act(ghost, "POST", f"{room}/leave", {})
        await bridge.deliver()
        await say(bridge, room, f"without {ghost}", alice)
        await bridge.deliver()
    assert bridge.service.said == ["to three", *(f"without {ghost}" for ghost in ghosts[:2])]
    await bridge.act(ghosts[0], "POST", f"{room}/join", {})
    await bridge.deliver()
    await say(bridge, room, "to one", alice)
    await bridge.deliver()
    assert bridge.service.said[-1] == "to one"


def test_a_stay_turns_behind_its_positions() -> None:
    stay = Stay(first=False, turns=[30, 10])
    assert [stay.holds_at(position) for position in (5, 10, 11, 30, 31)] == [False, False, True, True, False]
