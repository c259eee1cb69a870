"""The first sync of a client."""

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.handlers.push_rules import shown_push_rules
from tests.builders import ALICE, BOB, MALLORY
from tests.handlers.sync_server import (
    SyncServer,
    ids,
    lazy,
    limit,
    requester,
    section,
    state_keys,
    timeline_ids,
)


@ensureDeferred
async def test_a_new_user_gets_push_rules_only(server: SyncServer) -> None:
    """Without rooms there is a token and the account data, which always holds push rules."""
    answer = await server.sync(ALICE)
    assert answer == {
        "next_batch": "s0",
        "account_data": {"events": [{"type": "m.push_rules", "content": shown_push_rules(ALICE, None)}]},
    }


@pytest.mark.parametrize("version", ["10", "11", "12"])
@ensureDeferred
async def test_timeline_has_at_most_the_limit(server: SyncServer, version: str) -> None:
    """The newest events, `limited`, and the state as it was before the first of them."""
    room = await server.room(ALICE, version=version)
    await server.set(room, "m.room.topic", {"topic": "old"})
    said = await server.say_all(room, ALICE, ["1", "2"])
    topic = await server.set(room, "m.room.topic", {"topic": "new"})
    shown = section(await server.sync(ALICE, filter=limit(2)), room)
    assert ids(shown["timeline"]["events"]) == [said[1], topic]
    assert shown["timeline"]["limited"] is True
    topics = [event["content"] for event in shown["state"]["events"] if event["type"] == "m.room.topic"]
    assert topics == [{"topic": "old"}]
    assert ("m.room.member", ALICE) in {(e["type"], e["state_key"]) for e in shown["state"]["events"]}


@ensureDeferred
async def test_a_small_room_is_shown_as_a_whole(server: SyncServer) -> None:
    """Nothing is left out, and there is no state before the first event."""
    room = await server.room(ALICE)
    shown = section(await server.sync(ALICE), room)
    assert [event["type"] for event in shown["timeline"]["events"]] == [
        "m.room.create",
        "m.room.member",
        "m.room.power_levels",
        "m.room.join_rules",
    ]
    assert shown["timeline"]["limited"] is False
    assert shown["state"]["events"] == []
    assert (shown["account_data"], shown["ephemeral"]) == ({"events": []}, {"events": []})


@ensureDeferred
async def test_prev_batch_goes_on_where_the_timeline_begins(server: SyncServer) -> None:
    """Paging back from `prev_batch` gives the rest of the room: no gap, no overlap."""
    room = await server.room(ALICE, BOB)
    await server.say_all(room, BOB, [str(n) for n in range(9)])
    everything = timeline_ids(await server.sync(ALICE, filter=limit(100)), room)
    answer = await server.sync(ALICE, filter=limit(4))
    collected = timeline_ids(answer, room)
    start: str | None = section(answer, room)["timeline"]["prev_batch"]
    while start is not None:
        page = await server.messages(ALICE, room, start, limit=3)
        collected = [*reversed(ids(page["chunk"])), *collected]
        start = page.get("end")
    assert collected == everything


@ensureDeferred
async def test_limit_zero_shows_state_only(server: SyncServer) -> None:
    """All the state is in `state`, and `prev_batch` leads to all the events."""
    room = await server.room(ALICE)
    answer = await server.sync(ALICE, filter=limit(0))
    shown = section(answer, room)["timeline"]
    assert (shown["events"], shown["limited"]) == ([], True)
    assert state_keys(answer, room) == {
        ("m.room.create", ""),
        ("m.room.member", ALICE),
        ("m.room.power_levels", ""),
        ("m.room.join_rules", ""),
    }
    page = await server.messages(ALICE, room, shown["prev_batch"])
    assert page["chunk"][0]["type"] == "m.room.join_rules"


@ensureDeferred
async def test_invitations_and_knocks_show_stripped_state(server: SyncServer) -> None:
    """Who asks to come in, and who is asked in, sees what the room is about, not what happens there."""
    room = await server.room(ALICE)
    await server.set(room, "m.room.name", {"name": "Tea"})
    await server.set(room, "m.room.secret", {"password": "x"})
    await server.set(room, "m.room.join_rules", {"join_rule": "knock"})
    await server.member(room, ALICE, BOB, "invite")
    await server.member(room, MALLORY, MALLORY, "knock")

    answer = await server.sync(BOB)
    assert answer["rooms"].keys() == {"invite"}
    events = answer["rooms"]["invite"][room.room_id]["invite_state"]["events"]
    assert {(event["type"], event["state_key"]) for event in events} == {
        ("m.room.create", ""),
        ("m.room.name", ""),
        ("m.room.join_rules", ""),
        ("m.room.member", ALICE),
        ("m.room.member", BOB),
    }
    assert all(event.keys() == {"type", "state_key", "sender", "content"} for event in events)
    assert events[-1]["content"] == {"membership": "invite"}

    answer = await server.sync(MALLORY)
    assert answer["rooms"].keys() == {"knock"}
    events = answer["rooms"]["knock"][room.room_id]["knock_state"]["events"]
    members = [event["state_key"] for event in events if event["type"] == "m.room.member"]
    assert members == [MALLORY]


@ensureDeferred
async def test_rooms_once_left_are_shown_on_demand(server: SyncServer) -> None:
    """`include_leave` shows them as they were then; without it, and when forgotten, they are absent."""
    room = await server.room(ALICE, BOB)
    await server.set(room, "m.room.topic", {"topic": "then"})
    said = await server.say(room, ALICE, "bye")
    left = await server.leave(room, BOB)
    await server.set(room, "m.room.topic", {"topic": "now"})
    await server.say(room, ALICE, "he is gone")
    assert "rooms" not in await server.sync(BOB)

    answer = await server.sync(BOB, filter=limit(2, include_leave=True))
    assert answer["rooms"].keys() == {"leave"}
    assert timeline_ids(answer, room, "leave") == [said, left]
    topics = [e["content"] for e in section(answer, room, "leave")["state"]["events"] if "topic" in e["type"]]
    assert topics == [{"topic": "then"}]

    await server.forget(room, BOB)
    assert "rooms" not in await server.sync(BOB, filter=limit(2, include_leave=True))


@ensureDeferred
async def test_who_never_was_inside_sees_nothing_of_a_room_left(server: SyncServer) -> None:
    """A rejected invitation, or a ban of a stranger, is all that they see: no state, no timeline before it."""
    room = await server.room(ALICE)
    await server.member(room, ALICE, BOB, "invite")
    rejected = await server.leave(room, BOB)
    banned = await server.member(room, ALICE, MALLORY, "ban")
    for user_id, event_id in ((BOB, rejected), (MALLORY, banned)):
        answer = await server.sync(user_id, filter={"room": {"include_leave": True}})
        assert timeline_ids(answer, room, "leave") == [event_id]
        assert section(answer, room, "leave")["state"]["events"] == []


@ensureDeferred
async def test_banned_after_leaving(server: SyncServer) -> None:
    """What happened between the leave and the ban is not shown, the ban is; the state is that of the leave."""
    room = await server.room(ALICE, BOB)
    left = await server.leave(room, BOB)
    await server.set(room, "m.room.topic", {"topic": "secret"})
    await server.say(room, ALICE, "between")
    banned = await server.member(room, ALICE, BOB, "ban")
    answer = await server.sync(BOB, filter=limit(2, include_leave=True))
    assert timeline_ids(answer, room, "leave") == [left, banned]
    assert ("m.room.topic", "") not in state_keys(answer, room, "leave")
    answer = await server.sync(BOB, filter=limit(1, include_leave=True))
    assert timeline_ids(answer, room, "leave") == [banned]
    assert ("m.room.topic", "") not in state_keys(answer, room, "leave")
    assert ("m.room.create", "") in state_keys(answer, room, "leave")


@ensureDeferred
async def test_history_before_the_join_is_hidden(server: SyncServer) -> None:
    """Where it is for members only, the timeline begins with the join; the state does not suffer."""
    room = await server.room(ALICE)
    await server.show_history_to(room, "joined")
    await server.set(room, "m.room.topic", {"topic": "before"})
    await server.say(room, ALICE, "before")
    joined = await server.join(room, BOB)
    said = await server.say(room, ALICE, "after")
    answer = await server.sync(BOB)
    assert timeline_ids(answer, room) == [joined, said]
    assert section(answer, room)["timeline"]["limited"] is True
    assert ("m.room.topic", "") in state_keys(answer, room)


@ensureDeferred
async def test_the_timeline_does_not_jump_over_what_is_hidden(server: SyncServer) -> None:
    """After leaving and coming back, what was hidden meanwhile is before the timeline: its state is not lost."""
    room = await server.room(ALICE, BOB)
    await server.show_history_to(room, "joined")
    await server.set(room, "m.room.topic", {"topic": "1"})
    await server.leave(room, BOB)
    await server.set(room, "m.room.topic", {"topic": "2"})
    joined = await server.join(room, BOB)
    answer = await server.sync(BOB)
    assert timeline_ids(answer, room) == [joined]
    topics = [e["content"] for e in section(answer, room)["state"]["events"] if e["type"] == "m.room.topic"]
    assert topics == [{"topic": "2"}]


@ensureDeferred
async def test_lazy_members(server: SyncServer) -> None:
    """Only who speaks in the timeline, the user, and those who give the room its name; and a summary."""
    room = await server.room(ALICE, BOB, *[f"@u{n}:hs.test" for n in range(8)])
    await server.say(room, BOB)
    answer = await server.sync(ALICE, filter=lazy(1))
    members = {key for kind, key in state_keys(answer, room) if kind == "m.room.member"}
    heroes = section(answer, room)["summary"]["m.heroes"]
    assert heroes == [BOB, *[f"@u{n}:hs.test" for n in range(4)]]
    assert members == {ALICE, *heroes}
    assert section(answer, room)["summary"]["m.joined_member_count"] == 10
    assert section(answer, room)["summary"]["m.invited_member_count"] == 0
    everything = await server.sync(ALICE, filter=limit(1))
    assert len([key for kind, key in state_keys(everything, room) if kind == "m.room.member"]) == 10
    assert "summary" not in section(everything, room)


@ensureDeferred
async def test_lazy_members_are_those_of_the_room(server: SyncServer) -> None:
    """Who speaks in one room is not told about in another."""
    busy = await server.room(ALICE, MALLORY)
    quiet = await server.room(ALICE, *[f"@u{n}:hs.test" for n in range(5)], MALLORY)
    await server.say(busy, MALLORY)
    await server.say(quiet, ALICE)
    answer = await server.sync(ALICE, filter=lazy(1))
    assert ("m.room.member", MALLORY) in state_keys(answer, busy)
    assert ("m.room.member", MALLORY) not in state_keys(answer, quiet)


@ensureDeferred
async def test_account_data_receipts_and_typing(server: SyncServer) -> None:
    """All of it is in the first sync."""
    room = await server.room(ALICE, BOB)
    said = await server.say(room, BOB)
    await server.put_account_data(ALICE, "m.tag", {"tags": {"m.favourite": {}}}, room)
    await server.put_account_data(ALICE, "m.direct", {BOB: [room.room_id]})
    await server.put_account_data(BOB, "m.direct", {"nobody's": ["business"]})
    await server.ephemeral.read(requester(BOB), room.room_id, {"m.read": said})
    await server.ephemeral.type(requester(BOB), room.room_id, 10_000)
    answer = await server.sync(ALICE)
    kinds = {event["type"]: event["content"] for event in answer["account_data"]["events"]}
    assert kinds.keys() == {"m.push_rules", "m.direct"}
    assert kinds["m.direct"] == {BOB: [room.room_id]}
    shown = section(answer, room)
    assert shown["account_data"]["events"] == [{"type": "m.tag", "content": {"tags": {"m.favourite": {}}}}]
    receipt, typing = shown["ephemeral"]["events"]
    assert receipt["content"][said]["m.read"].keys() == {BOB}
    assert typing == {"type": "m.typing", "content": {"user_ids": [BOB]}}


@ensureDeferred
async def test_another_session_of_the_same_user(server: SyncServer) -> None:
    """Nothing of the rooms is read again while nothing happens there; what happens is never missed."""
    rooms_ = [await server.room(ALICE, BOB) for _ in range(2)]
    await server.say_as(rooms_[0], requester(ALICE, "ONE"), "mine")
    first = await server.sync(ALICE, device="ONE")
    read = server.reader._rooms.newly_joined
    server.reader._rooms.newly_joined = None  # type: ignore[assignment, method-assign]
    try:
        await server.room(BOB)
        second = await server.sync(ALICE, device="TWO")
        await server.put_account_data(BOB, "m.test", {"a": 1})
        assert (await server.sync(ALICE, device="ONE"))["next_batch"] == first["next_batch"]
    finally:
        server.reader._rooms.newly_joined = read  # type: ignore[method-assign]
    assert second["next_batch"] == first["next_batch"]
    mine, theirs = (section(one, rooms_[0])["timeline"]["events"][-1] for one in (first, second))
    assert mine["unsigned"].pop("transaction_id") == "mine"
    assert mine["event_id"] == theirs["event_id"]
    assert "transaction_id" not in theirs["unsigned"]
    said = await server.say(rooms_[1], BOB)
    assert timeline_ids(await server.sync(ALICE, device="TWO"), rooms_[1])[-1] == said
    await server.put_account_data(ALICE, "m.tag", {"tags": {}}, rooms_[1])
    shown = section(await server.sync(ALICE), rooms_[1])
    assert shown["account_data"]["events"] == [{"type": "m.tag", "content": {"tags": {}}}]
    await server.put_account_data(ALICE, "m.test", {"a": 1})
    data = (await server.sync(ALICE))["account_data"]["events"]
    assert {"type": "m.test", "content": {"a": 1}} in data
