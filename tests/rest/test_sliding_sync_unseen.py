"""Sliding sync tells what changed also where no event that the client gets says so."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.handlers.sliding_sync.reading import SlidingReader
from synapse_lite.storage.database import Transaction
from synapse_lite.tasks.actions.purge_history import PURGE_HISTORY, PurgeHistoryParams
from tests.rest.sliding_sync import ALICE, ALL, MERGED, id_of, say, sync, texts
from tests.server import TestServer, path_part, user_path
from tests.tasks.steps import Steps

MERGED_LIST = {"range": [0, 19], "required_state": {"include": []}, "timeline_limit": 5}


@ensureDeferred
async def test_an_extension_for_other_rooms(server: TestServer) -> None:
    """It is for certain rooms: who asks for others, and for nothing else that is new, gets theirs at once."""
    token, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(token)
    await server.ok("POST", f"{room}/join", {}, bob)
    said = await say(server, bob, room, "0")
    await server.ok("POST", f"{room}/receipt/m.read/{path_part(said)}", {}, bob)
    pos = None
    for places, told in (
        ([], False),
        ([], False),
        ([], False),
        ([id_of(room)], True),
        ([id_of(room)], False),
    ):
        await say(server, bob, room, f"{pos}")
        body = {**ALL, "extensions": {"receipts": {"enabled": True, "lists": [], "rooms": places}}}
        answer = await sync(server, token, body, pos)
        assert (id_of(room) in answer["extensions"].get("receipts", {}).get("rooms", {})) is told
        pos = answer["pos"]


@ensureDeferred
async def test_a_name_that_is_redacted_out_of_sight(server: TestServer) -> None:
    """Before the timeline that the client gets, and by somebody whom it ignores: it is a name no longer."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice, preset="public_chat")
    await server.ok("POST", f"{room}/join", {}, bob)
    looks = {"name": {"name": "Rude"}, "avatar": {"url": "mxc://x/rude"}}
    sent = [
        (await server.ok("PUT", f"{room}/state/m.room.{name}", content, alice))["event_id"]
        for name, content in looks.items()
    ]
    merged: Any = {"lists": {"all": MERGED_LIST}, "conn_id": "merged"}
    first = await sync(server, bob, ALL)
    one = await server.ok("POST", MERGED, merged, bob)
    assert first["rooms"][id_of(room)]["name"] == one["rooms"][id_of(room)]["name"] == "Rude"
    await server.ok("PUT", f"{room}/redact/{path_part(sent[0])}/1", {}, alice)
    for number in range(6):
        await say(server, alice, room, str(number))
    second = await sync(server, bob, ALL, first["pos"])
    assert "name" not in second["rooms"][id_of(room)]
    assert [hero["user_id"] for hero in second["rooms"][id_of(room)]["heroes"]] == [ALICE]
    other = await server.ok("POST", MERGED, {**merged, "pos": one["pos"]}, bob)
    shown = other["rooms"][id_of(room)]
    assert (shown["name"], shown["avatar"]) == (None, "mxc://x/rude")

    ignored = {"ignored_users": {ALICE: {}}}
    await server.ok("PUT", user_path("bob", "account_data/m.ignored_user_list"), ignored, bob)
    pos = (await server.ok("POST", MERGED, {**merged, "pos": other["pos"]}, bob))["pos"]
    await server.ok("PUT", f"{room}/redact/{path_part(sent[1])}/2", {}, alice)
    last = await server.ok("POST", MERGED, {**merged, "pos": pos}, bob)
    assert last["rooms"][id_of(room)]["avatar"] is None
    assert (await server.ok("POST", MERGED, {**merged, "pos": last["pos"]}, bob))["rooms"] == {}


@ensureDeferred
async def test_a_room_whose_messages_are_purged(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """An app that is opened shows none of them; topics do not move the room, whether memory answers or the database."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice, preset="public_chat")
    await server.ok("POST", f"{room}/join", {}, bob)
    await say(server, alice, room, "old")
    pos = None
    for topic in ("one", "two"):
        await server.ok("PUT", f"{room}/state/m.room.topic", {"topic": topic}, alice)
        pos = (await sync(server, bob, ALL, pos))["pos"]
    opened = (await sync(server, bob, {**ALL, "conn_id": "app"}))["rooms"][id_of(room)]
    assert texts(opened) == ["old"]
    await _purge(server, room)
    opened = (await sync(server, bob, {**ALL, "conn_id": "app"}))["rooms"][id_of(room)]
    assert (texts(opened), len(opened["timeline"])) == ([], 1)
    pos = (await sync(server, bob, ALL, pos))["pos"]
    monkeypatch.setattr(SlidingReader, "read", None)
    await server.ok("PUT", f"{room}/state/m.room.topic", {"topic": "three"}, alice)
    told = (await sync(server, bob, ALL, pos))["rooms"][id_of(room)]
    assert (told["bump_stamp"], len(told["timeline"])) == (opened["bump_stamp"], 1)


async def _purge(server: TestServer, room: str) -> None:
    """All but the last event."""
    steps = Steps(server.database)
    await steps.open()
    depth = await server.database.read(Transaction.value, "SELECT max(depth) FROM events")
    await steps.run(
        PURGE_HISTORY, PurgeHistoryParams(room_id=id_of(room), depth=depth, delete_local_events=True)
    )
