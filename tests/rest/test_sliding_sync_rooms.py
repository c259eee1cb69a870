"""Which rooms sliding sync shows, and what of them."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.handlers.sliding_sync.summaries import SummaryReader
from synapse_lite.storage.state import StateStore
from tests.builders import SERVER
from tests.rest.sliding_sync import (
    ALICE,
    ALL,
    BOB,
    LIST,
    id_of,
    say,
    sync,
    texts,
)
from tests.server import TestServer, path_part, user_path


@ensureDeferred
async def test_wider_requests(server: TestServer) -> None:
    """More state, a longer timeline, or a subscription are answered at once, with what was missing."""
    token = await server.user("alice")
    room = await server.room(token, name="Tea", topic="Hot")
    for n in range(4):
        await say(server, token, room, str(n))
    narrow = {"lists": {"all": {**LIST, "timeline_limit": 1}}}
    first = await sync(server, token, narrow)
    more = {
        "lists": {
            "all": {
                **LIST,
                "timeline_limit": 1,
                "required_state": [["m.room.name", ""], ["m.room.topic", ""]],
            }
        }
    }
    second = await sync(server, token, more, first["pos"], wait_ms=600_000)
    shown = second["rooms"][id_of(room)]
    assert [event["type"] for event in shown["required_state"]] == ["m.room.topic"]
    longer = {**more, "room_subscriptions": {id_of(room): {"required_state": [], "timeline_limit": 3}}}
    third = (await sync(server, token, longer, second["pos"], wait_ms=600_000))["rooms"][id_of(room)]
    assert (texts(third), third["unstable_expanded_timeline"]) == (["1", "2", "3"], True)
    assert third["num_live"] == 0


@ensureDeferred
async def test_windows(server: TestServer) -> None:
    """Rooms outside of the window come when it reaches them, with what happened meanwhile; other lists are answered at once."""
    token = await server.user("alice")
    rooms = [await server.room(token, name=str(n)) for n in range(3)]
    top = {"lists": {"all": {**LIST, "ranges": [[0, 0]]}}}
    first = await sync(server, token, top)
    assert first["rooms"].keys() == {id_of(rooms[2])}
    await say(server, token, rooms[2], "unseen")
    await say(server, token, rooms[0], "top")
    second = await sync(server, token, top, first["pos"])
    assert second["rooms"].keys() == {id_of(rooms[0])}
    third = await sync(server, token, ALL, second["pos"], wait_ms=600_000)
    assert third["rooms"].keys() == {id_of(rooms[1]), id_of(rooms[2])}
    assert texts(third["rooms"][id_of(rooms[2])]) == ["unseen"]
    assert "initial" not in third["rooms"][id_of(rooms[2])]
    every = {"lists": {"all": {**LIST, "slow_get_all_rooms": True}}}
    fourth = await sync(server, token, every, third["pos"], wait_ms=600_000)
    assert (fourth["lists"]["all"]["ops"][0]["range"], fourth["rooms"]) == ([0, 2], {})
    fifth = await sync(server, token, {}, fourth["pos"], wait_ms=600_000)
    assert ("lists" in fifth, fifth["rooms"]) == (False, {})


@ensureDeferred
async def test_a_subscription_to_a_room_that_one_left(server: TestServer) -> None:
    """It shows the room as it was until then, to who asks anew, until it is forgotten; lists do not hold it."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice, name="Tea", preset="public_chat")
    await server.ok("POST", f"{room}/join", {}, bob)
    await say(server, alice, room, "before")
    await server.ok("POST", f"{room}/leave", {}, bob)
    await say(server, alice, room, "after")
    await server.ok("PUT", f"{room}/state/m.room.name", {"name": "New"}, alice)
    subscribed = {**ALL, "room_subscriptions": {id_of(room): LIST}}
    first = await sync(server, bob, subscribed)
    shown = first["rooms"][id_of(room)]
    assert (shown["initial"], shown["name"], texts(shown)) == (True, "Tea", ["before"])
    assert shown["timeline"][-1]["content"]["membership"] == "leave"
    assert first["lists"]["all"]["count"] == 0
    assert (await sync(server, bob, subscribed, first["pos"]))["rooms"] == {}
    assert (await sync(server, bob, ALL))["rooms"] == {}
    await server.ok("POST", f"{room}/forget", {}, bob)
    assert (await sync(server, bob, subscribed))["rooms"] == {}


@ensureDeferred
async def test_a_little_of_a_room_that_one_left(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wants certain state does not have all of it read, as the room may have a hundred thousand members."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice, name="Tea", topic="Hot", preset="public_chat")
    await server.ok("POST", f"{room}/join", {}, bob)
    await server.ok("POST", f"{room}/leave", {}, bob)
    await server.ok("PUT", f"{room}/state/m.room.topic", {"topic": "New"}, alice)

    async def required(*wanted: list[str]) -> tuple[str, set[tuple[str, str]]]:
        body = {"room_subscriptions": {id_of(room): {"required_state": list(wanted), "timeline_limit": 1}}}
        shown = (await sync(server, bob, body))["rooms"][id_of(room)]
        state = {(event["type"], event["state_key"]) for event in shown["required_state"]}
        assert "New" not in str(shown)
        return shown["name"], state

    left = ("m.room.member", BOB)
    assert await required(["m.room.member", "*"]) == ("Tea", {left, ("m.room.member", ALICE)})
    monkeypatch.delattr(StateStore, "whole")
    assert await required() == ("Tea", {left})
    some = [["m.room.topic", ""], ["m.room.member", "$ME"], ["m.room.member", "$LAZY"], ["m.room.avatar", ""]]
    assert await required(*some) == ("Tea", {left, ("m.room.topic", "")})


@ensureDeferred
async def test_invites_and_departures(server: TestServer) -> None:
    """An invite shows stripped state; who leaves is told once, and nothing of what comes after."""
    token, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(token, name="Tea")
    first = await sync(server, bob, ALL)
    assert first["rooms"] == {}
    await server.ok("POST", f"{room}/invite", {"user_id": BOB}, token)
    invited = await sync(server, bob, ALL, first["pos"])
    shown = invited["rooms"][id_of(room)]
    assert {event["type"] for event in shown["invite_state"]} >= {"m.room.name", "m.room.member"}
    assert "timeline" not in shown
    await server.ok("POST", f"{room}/leave", {}, bob)
    declined = await sync(server, bob, ALL, invited["pos"])
    assert [event["content"]["membership"] for event in declined["rooms"][id_of(room)]["required_state"]] == [
        "leave"
    ]
    assert declined["lists"]["all"]["count"] == 0
    await server.ok("POST", f"{room}/join", {}, bob)
    joined = await sync(server, bob, ALL, declined["pos"])
    assert joined["rooms"][id_of(room)]["initial"] is True
    await server.ok("POST", f"{room}/leave", {}, bob)
    await server.ok("POST", f"{room}/forget", {}, bob)
    await server.ok("PUT", f"{room}/state/m.room.name", {"name": "Secret"}, token)
    await say(server, token, room, "secret")
    left = await sync(server, bob, ALL, joined["pos"])
    departure = left["rooms"][id_of(room)]
    assert "ecret" not in str(departure)
    assert departure["timeline"][-1]["content"]["membership"] == "leave"
    assert (await sync(server, bob, ALL, left["pos"]))["rooms"] == {}
    await server.ok("POST", f"{room}/join", {}, bob)
    again = await sync(server, bob, ALL, left["pos"])
    assert (again["rooms"][id_of(room)]["initial"], again["rooms"][id_of(room)]["name"]) == (True, "Secret")


@ensureDeferred
async def test_members(server: TestServer) -> None:
    """Lazily those who speak or are spoken of, oneself when asked; a room without a name has heroes."""
    token, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(token)
    await server.ok("POST", f"{room}/join", {}, bob)
    wanted = {"lists": {"all": {**LIST, "timeline_limit": 1, "required_state": [["m.room.member", "$LAZY"]]}}}
    first = await sync(server, token, wanted)
    shown = first["rooms"][id_of(room)]
    assert [event["state_key"] for event in shown["required_state"]] == [BOB]
    assert [hero["user_id"] for hero in shown["heroes"]] == [BOB]
    me = {"lists": {"all": {**LIST, "timeline_limit": 1, "required_state": [["m.room.member", "$ME"]]}}}
    mine = (await sync(server, token, {**me, "conn_id": "me"}))["rooms"][id_of(room)]
    assert [event["state_key"] for event in mine["required_state"]] == [f"@alice:{SERVER}"]
    everything = {"lists": {"all": {**LIST, "required_state": [["*", "*"]]}}}
    every = (await sync(server, token, {**everything, "conn_id": "all"}))["rooms"][id_of(room)]
    state = await server.ok("GET", f"{room}/state", None, token)
    assert {event["event_id"] for event in every["required_state"]} == {event["event_id"] for event in state}
    await server.ok("POST", f"{room}/kick", {"user_id": BOB}, token)
    after = (await sync(server, token, wanted, first["pos"]))["rooms"][id_of(room)]
    members = {event["state_key"]: event["content"]["membership"] for event in after["required_state"]}
    assert members[BOB] == "leave"


@ensureDeferred
async def test_history_that_one_may_not_see(server: TestServer) -> None:
    """Who comes into a room whose members alone see what is said gets nothing from before, however much they ask for."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice, preset="public_chat")
    hidden = {"history_visibility": "joined"}
    await server.ok("PUT", f"{room}/state/m.room.history_visibility", hidden, alice)
    await say(server, alice, room, "secret")
    await server.ok("POST", f"{room}/join", {}, bob)
    await say(server, alice, room, "hello")
    pos = None
    for limit in (1, 20):
        answer = await sync(server, bob, {"lists": {"all": {**LIST, "timeline_limit": limit}}}, pos)
        assert texts(answer["rooms"][id_of(room)]) == ["hello"]
        pos = answer["pos"]


@ensureDeferred
async def test_filters(server: TestServer) -> None:
    """Each filter takes what it names, and leaves out its opposite."""
    token, bob = await server.user("alice"), await server.user("bob")
    encryption = {
        "type": "m.room.encryption",
        "state_key": "",
        "content": {"algorithm": "m.megolm.v1.aes-sha2"},
    }
    plain = id_of(await server.room(token, name="Tea"))
    secret = id_of(await server.room(token, name="Cake", initial_state=[encryption]))
    space = id_of(await server.room(token, name="Space", creation_content={"type": "m.space"}))
    invite = id_of(await server.room(bob, name="Invited"))
    await server.ok("POST", f"rooms/{invite}/invite", {"user_id": f"@alice:{SERVER}"}, bob)
    await server.ok("PUT", f"rooms/{space}/state/m.space.child/{path_part(plain)}", {"via": [SERVER]}, token)
    await server.ok("PUT", user_path("alice", "account_data/m.direct"), {BOB: [plain]}, token)
    await server.ok("PUT", user_path("alice", f"rooms/{path_part(plain)}/tags/m.favourite"), {}, token)
    for filters, expected in (
        ({"is_dm": True}, {plain}),
        ({"is_dm": False}, {secret, space, invite}),
        ({"is_encrypted": True}, {secret}),
        ({"is_invite": True}, {invite}),
        ({"room_types": ["m.space"]}, {space}),
        ({"room_types": [None]}, {plain, secret, invite}),
        ({"not_room_types": ["m.space"]}, {plain, secret, invite}),
        ({"not_room_types": ["m.space"], "room_types": ["m.space"]}, set()),
        ({"room_name_like": "ea"}, {plain}),
        ({"tags": ["m.favourite"]}, {plain}),
        ({"not_tags": ["m.favourite"]}, {secret, space, invite}),
        ({"spaces": [space]}, {plain}),
    ):
        answer = await sync(server, token, {"lists": {"all": {**LIST, "filters": filters}}})
        assert set(answer["lists"]["all"]["ops"][0]["room_ids"]) == expected, filters
        assert answer["lists"]["all"]["count"] == len(expected)


@ensureDeferred
async def test_ignored_users(server: TestServer) -> None:
    """Neither the messages nor the invites of those whom the user ignores are shown."""
    token, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(token)
    await server.ok("POST", f"{room}/join", {}, bob)
    ignored = {"ignored_users": {BOB: {}}}
    await server.ok("PUT", user_path("alice", "account_data/m.ignored_user_list"), ignored, token)
    await say(server, bob, room, "rude")
    other = await server.room(bob)
    await server.ok("POST", f"{other}/invite", {"user_id": f"@alice:{SERVER}"}, bob)
    first = await sync(server, token, ALL)
    assert first["rooms"].keys() == {id_of(room)}
    assert texts(first["rooms"][id_of(room)]) == []
    assert first["lists"]["all"]["count"] == 1


@ensureDeferred
async def test_ignoring_who_invites(server: TestServer) -> None:
    """Before an invite, after it and between two: what goes on and what begins anew agree, here and with /sync."""
    token, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(bob)
    pos = (await sync(server, token, ALL))["pos"]

    async def ignore(*users: str) -> None:
        content = {"ignored_users": {user: {} for user in users}}
        await server.ok("PUT", user_path("alice", "account_data/m.ignored_user_list"), content, token)

    async def shown(conn_id: str) -> set[bool]:
        nonlocal pos
        goes_on = await sync(server, token, ALL, pos)
        anew = await sync(server, token, {**ALL, "conn_id": conn_id})
        v3 = await server.ok("GET", "sync", None, token)
        pos = goes_on["pos"]
        listed = [one["lists"]["all"]["count"] == 1 for one in (goes_on, anew)]
        return {*listed, id_of(room) in anew["rooms"], id_of(room) in v3.get("rooms", {}).get("invite", {})}

    async def invite() -> None:
        await server.ok("POST", f"{room}/invite", {"user_id": ALICE}, bob)

    await invite()
    assert await shown("1") == {True}
    await ignore(BOB)
    assert await shown("2") == {False}
    await ignore()
    assert await shown("3") == {True}
    await server.ok("POST", f"{room}/leave", {}, token)
    assert await shown("4") == {False}
    await ignore(BOB)
    await invite()
    assert await shown("5") == {False}
    await ignore()
    assert await shown("6") == {True}


@ensureDeferred
async def test_broken_rooms(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A room that cannot be read keeps no other from the client, is counted, and comes when it can be read again."""
    token = await server.user("alice")
    rooms = [await server.room(token, name=str(number)) for number in range(3)]
    read, broken = SummaryReader.read, rooms[1]
    nid = await server.database.read(
        lambda txn: txn.value("SELECT room_nid FROM rooms WHERE room_id = %s", (id_of(broken),))
    )

    def fail(self: SummaryReader, reading: Any, joined: Any, asked: Any) -> Any:
        assert nid not in joined
        return read(self, reading, joined, asked)

    with monkeypatch.context() as context:
        context.setattr(SummaryReader, "read", fail)
        first = await sync(server, token, ALL)
        assert first["rooms"].keys() == {id_of(room) for room in rooms} - {id_of(broken)}
        assert server.core.metrics.get_sample_value("synapse_lite_broken_rooms") == 1
    second = await sync(server, token, ALL, first["pos"])
    assert second["rooms"].keys() == {id_of(broken)}
    assert second["rooms"][id_of(broken)]["initial"] is True
    assert server.core.metrics.get_sample_value("synapse_lite_broken_rooms") == 0
