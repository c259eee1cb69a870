"""/search over HTTP with `include_state`: how much of the state of rooms is in one answer."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred

from synapse_lite.handlers import search_state
from tests.builders import SERVER
from tests.rest.talk import Talk, ids_in
from tests.server import TestServer


@pytest_twisted.async_yield_fixture
async def talk(server: TestServer) -> AsyncIterator[Talk]:
    """Each of the words `one`, `two` and `three` in a room of its own, `needle` in all of them, twice; Bob in the first."""
    alice, bob = await server.user("alice"), await server.user("bob")
    talk = Talk(server, alice, bob, await server.room(alice))
    await server.ok("POST", f"{talk.room}/join", {}, bob)
    rooms = [talk.room, await server.room(alice), await server.room(alice)]
    for _ in range(2):
        for room, word in zip(rooms, ("one", "two", "three"), strict=True):
            await talk.say(f"needle {word}", room=room)
    await talk.index()
    yield talk


async def state_of(talk: Talk, room: str, token: str | None = None) -> set[str]:
    state = await talk.server.ok("GET", f"rooms/{room}/state", None, token or talk.alice)
    return {one["event_id"] for one in state}


def size_of(limit: str, *states: Any) -> int:
    """As the limit counts."""
    events = [event for state in states for event in state]
    return len(events) if limit == "MAX_EVENTS" else len(json.dumps(events))


@ensureDeferred
@pytest.mark.parametrize("order", ["recent", "rank"])
@pytest.mark.parametrize("limit", ["MAX_EVENTS", "MAX_BYTES"])
async def test_a_page_is_as_long_as_its_state(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, order: str, limit: str
) -> None:
    """Every result once, page after page, each with the whole state of its room."""
    whole = await talk.search("needle", include_state=True, order_by=order)
    assert len(ids_in(whole)) == 6
    monkeypatch.setattr(search_state, limit, int(0.7 * size_of(limit, *whole["state"].values())))
    found, start, pages = list[str](), None, 0
    while start is not None or not pages:
        answer = await talk.search("needle", include_state=True, order_by=order, start=start)
        found += ids_in(answer)
        rooms = {one["result"]["room_id"] for one in answer["results"]}
        assert answer["state"].keys() == rooms
        for room, state in answer["state"].items():
            assert {one["event_id"] for one in state} == await state_of(talk, room)
        assert answer["count"] == 6
        start = answer.get("next_batch")
        pages += 1
    assert found == ids_in(whole)
    assert pages > 1


@ensureDeferred
@pytest.mark.parametrize("limit", ["MAX_EVENTS", "MAX_BYTES"])
@pytest.mark.parametrize("has_left", [False, True])
async def test_a_room_that_is_too_large(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, limit: str, has_left: bool
) -> None:
    """Without the members who sent nothing of the page, then without what is too much; there is a result."""
    if has_left:
        await talk.server.ok("POST", f"{talk.room}/leave", {}, talk.bob)
    answer = await talk.search("one", talk.bob, include_state=True)
    (state,) = answer["state"].values()
    assert {one["state_key"] for one in state if one["type"] == "m.room.member"} == {
        f"@{name}:{SERVER}" for name in ("alice", "bob")
    }
    size = size_of(limit, state)
    for share, most in ((0.6, len(state) - 1), (0.2, 3)):
        monkeypatch.setattr(search_state, limit, int(share * size))
        answer = await talk.search("one", talk.bob, include_state=True)
        assert len(ids_in(answer)) == 2
        (some,) = answer["state"].values()
        assert 0 < len(some) <= most
        members = {one["state_key"] for one in some if one["type"] == "m.room.member"}
        assert members <= {f"@alice:{SERVER}"}
