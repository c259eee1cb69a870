"""Answers of any size take little memory: timelines have a budget, what cannot be cut is sent as it is made."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.handlers import room_state
from synapse_lite.handlers.sync import live_news, windows
from synapse_lite.http import json_stream
from tests.builders import SERVER
from tests.server import TestServer

TEXT = "x" * 500
MESSAGES = 12  # in each room


@pytest.fixture
def small_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (windows, live_news):
        monkeypatch.setattr(module, "FEW", 4)
        monkeypatch.setattr(module, "MAX_BYTES", 6 * (len(TEXT) + 500))


async def _say(server: TestServer, room: str, token: str, number: int) -> str:
    content = {"msgtype": "m.text", "body": f"{number} {TEXT}"}
    sent = await server.ok("PUT", f"{room}/send/m.room.message/{number}", content, token)
    return str(sent["event_id"])


async def _earlier(server: TestServer, room: str, token: str, start: str) -> list[str]:
    """The ids of the messages before, newest first."""
    found: list[str] = []
    while True:
        page = await server.ok("GET", f"{room}/messages?dir=b&limit=5&from={start}", None, token)
        found += [event["event_id"] for event in page["chunk"] if event["type"] == "m.room.message"]
        if "end" not in page:
            return found
        start = page["end"]


@pytest.mark.parametrize("waits", [False, True])
@ensureDeferred
async def test_timelines_within_the_budget(server: TestServer, small_budget: None, waits: bool) -> None:
    """The newest events of all rooms are shown; where some are left out the room says so, and tells where they are.

    Of a first sync, a later one, and one that finds the news in memory.
    """
    token = await server.user("alice")
    joined = [await server.room(token) for _ in range(3)]
    since = (await server.ok("GET", "sync", None, token))["next_batch"]
    sent: dict[str, list[str]] = {room: [] for room in joined}
    for number in range(MESSAGES):
        for room in joined:
            sent[room].append(await _say(server, room, token, number))
    query = f"?since={since}" if waits else ""
    answer = await server.ok("GET", f"sync{query}", None, token)
    newest = [event_id for number in range(MESSAGES) for room in joined for event_id in [sent[room][number]]]
    shown: set[str] = set()
    for room in joined:
        part = answer["rooms"]["join"][room.removeprefix("rooms/")]
        timeline = part["timeline"]
        messages = [event["event_id"] for event in timeline["events"] if event["type"] == "m.room.message"]
        assert timeline["limited"]
        before = await _earlier(server, room, token, timeline["prev_batch"])
        assert [*reversed(before), *messages] == sent[room]
        shown |= {*messages}
    assert shown == {*newest[-len(shown) :]}
    assert 3 <= len(shown) <= 9


@ensureDeferred
async def test_sliding_sync_within_the_budget(server: TestServer, small_budget: None) -> None:
    """The same of rooms in a list, also when a client comes back."""
    token = await server.user("alice")
    joined = [await server.room(token) for _ in range(3)]
    path = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
    body = {"lists": {"all": {"ranges": [[0, 9]], "required_state": [], "timeline_limit": 50}}}
    pos = ""
    for turn in range(2):
        sent: dict[str, list[str]] = {room: [] for room in joined}
        for number in range(MESSAGES):
            for room in joined:
                sent[room].append(await _say(server, room, token, turn * MESSAGES + number))
        answer = await server.ok("POST", f"{path}{pos}", body, token)
        pos = f"?pos={answer['pos']}"
        count = 0
        for room in joined:
            part = answer["rooms"][room.removeprefix("rooms/")]
            messages = [one["event_id"] for one in part["timeline"] if one["type"] == "m.room.message"]
            count += len(messages)
            assert part["limited"]
            before = await _earlier(server, room, token, part["prev_batch"])
            assert [*reversed(before), *messages][-MESSAGES:] == sent[room]
        assert 3 <= count <= 9


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Pages of three events; the sizes of those that were in memory."""
    sizes: list[int] = []
    monkeypatch.setattr(room_state, "PAGE", 3)
    monkeypatch.setattr(json_stream, "PIECE_BYTES", 100)
    read_page = room_state.RoomState._read_page

    def reading(*arguments: Any) -> Any:
        views, read = read_page(*arguments)
        sizes.append(len(views))
        return views, read

    monkeypatch.setattr(room_state.RoomState, "_read_page", reading)
    return sizes


@ensureDeferred
async def test_members_and_state_are_read_a_page_at_a_time(
    server: TestServer, small_pages: list[int]
) -> None:
    """The answer is whole, and no more of it than a page is in memory, however many members there are."""
    token = await server.user("alice")
    room = await server.room(token)
    people = {f"@alice:{SERVER}", *(f"@user{number}:{SERVER}" for number in range(8))}
    for number in range(8):
        await server.ok("POST", f"{room}/join", {}, await server.user(f"user{number}"))
    members = await server.call("GET", f"{room}/members", None, token)
    assert members.headers["Transfer-Encoding"] == "chunked"
    assert {event["state_key"] for event in members.json()["chunk"]} == people
    joined = await server.ok("GET", f"{room}/joined_members", None, token)
    assert joined["joined"].keys() == people
    state = await server.ok("GET", f"{room}/state", None, token)
    assert {event["state_key"] for event in state if event["type"] == "m.room.member"} == people
    left = await server.ok("GET", f"{room}/members?membership=leave", None, token)
    assert left == {"chunk": []}
    assert set(small_pages) <= {1, 2, 3}
    assert len(small_pages) >= 9


@ensureDeferred
async def test_small_answers_say_how_long_they_are(server: TestServer) -> None:
    """A few members are one piece, with its length; refusals are answers of their own."""
    token, stranger = await server.user("alice"), await server.user("mallory")
    room = await server.room(token)
    answer = await server.call("GET", f"{room}/members", None, token)
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    assert await server.refusal("GET", f"{room}/members", None, stranger) == (403, "M_FORBIDDEN")
