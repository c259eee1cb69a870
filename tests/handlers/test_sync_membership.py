"""Coming and going between two syncs."""

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.storage import purge
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.room_closure import close_room
from tests.builders import ALICE, BOB, SERVER, World
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

MEMBER = "m.room.member"


@ensureDeferred
async def test_a_new_room_is_shown_as_a_whole(server: SyncServer) -> None:
    """Who has just joined gets the room as in a first sync: state, receipts, typing, account data."""
    room = await server.room(ALICE)
    await server.set(room, "m.room.topic", {"topic": "x"})
    said = await server.say_all(room, ALICE, ["1", "2", "3"])
    await server.ephemeral.read(requester(ALICE), room.room_id, {"m.read": said[0]})
    await server.ephemeral.type(requester(ALICE), room.room_id, 10_000)
    await server.put_account_data(BOB, "m.tag", {"tags": {}}, room)
    since = await server.token(BOB)
    joined = await server.join(room, BOB)
    after = await server.say(room, ALICE)
    answer = await server.sync(BOB, since, filter=limit(3))
    assert answer["rooms"].keys() == {"join"}
    assert timeline_ids(answer, room) == [said[2], joined, after]
    assert section(answer, room)["timeline"]["limited"] is True
    assert {("m.room.topic", ""), (MEMBER, ALICE), ("m.room.create", "")} <= state_keys(answer, room)
    assert {event["type"] for event in section(answer, room)["ephemeral"]["events"]} == {
        "m.receipt",
        "m.typing",
    }
    assert [event["type"] for event in section(answer, room)["account_data"]["events"]] == ["m.tag"]

    whole = await server.sync(BOB, since)
    assert len(timeline_ids(whole, room)) == 10  # the limit that counts when none is given
    page = await server.messages(BOB, room, section(whole, room)["timeline"]["prev_batch"])
    assert (page["chunk"], "end" in page) == ([], False)


@ensureDeferred
async def test_invited_then_joined(server: SyncServer) -> None:
    """An invitation is shown once; then the room; with both at once, only the room."""
    room = await server.room(ALICE)
    await server.set(room, "m.room.join_rules", {"join_rule": "invite"})
    since = await server.token(BOB)
    await server.member(room, ALICE, BOB, "invite")
    invited = await server.sync(BOB, since)
    assert invited["rooms"].keys() == {"invite"}
    await server.say(room, ALICE, "not for guests")
    assert "rooms" not in await server.sync(BOB, invited["next_batch"])
    await server.join(room, BOB)
    for token in (since, invited["next_batch"]):
        answer = await server.sync(BOB, token)
        assert answer["rooms"].keys() == {"join"}
        assert ("m.room.create", "") in state_keys(answer, room) | {
            (event["type"], event.get("state_key")) for event in section(answer, room)["timeline"]["events"]
        }


@ensureDeferred
async def test_leaving(server: SyncServer) -> None:
    """The room goes to `leave`, with everything until then, the leave last; later events are not shown."""
    room = await server.room(ALICE, BOB)
    since = await server.token(BOB)
    topic = await server.set(room, "m.room.topic", {"topic": "x"})
    said = await server.say(room, ALICE)
    left = await server.leave(room, BOB)
    await server.say(room, ALICE, "he is gone")
    answer = await server.sync(BOB, since)
    assert answer["rooms"].keys() == {"leave"}
    assert timeline_ids(answer, room, "leave") == [topic, said, left]
    assert section(answer, room, "leave")["timeline"]["limited"] is False
    assert "rooms" not in await server.sync(BOB, answer["next_batch"])

    answer = await server.sync(BOB, since, filter=limit(1))
    assert timeline_ids(answer, room, "leave") == [left]
    assert section(answer, room, "leave")["timeline"]["limited"] is True
    assert ids(section(answer, room, "leave")["state"]["events"]) == [topic]
    hidden = limit(1, state={"types": ["m.room.name"]})
    assert section(await server.sync(BOB, since, filter=hidden), room, "leave")["state"]["events"] == []


@pytest.mark.parametrize("membership", ["leave", "ban"])
@ensureDeferred
async def test_being_put_out(server: SyncServer, membership: str) -> None:
    """A kick and a ban are shown to whom they hit, and to those who stay."""
    room = await server.room(ALICE, BOB)
    since = await server.token(BOB)
    said = await server.say(room, ALICE)
    out = await server.member(room, ALICE, BOB, membership)
    assert timeline_ids(await server.sync(BOB, since), room, "leave") == [said, out]
    assert timeline_ids(await server.sync(ALICE, since), room) == [said, out]


@ensureDeferred
async def test_left_and_banned_in_one_go(server: SyncServer) -> None:
    """What happened between leave and ban stays hidden, its state too; the ban is shown."""
    room = await server.room(ALICE, BOB)
    since = await server.token(BOB)
    said = await server.say(room, ALICE)
    left = await server.leave(room, BOB)
    between = await server.token(BOB)
    await server.say(room, ALICE, "secret")
    await server.set(room, "m.room.topic", {"topic": "secret"})
    banned = await server.member(room, ALICE, BOB, "ban")
    assert timeline_ids(await server.sync(BOB, since), room, "leave") == [said, left, banned]
    short = await server.sync(BOB, since, filter=limit(1))
    assert timeline_ids(short, room, "leave") == [banned]
    assert state_keys(short, room, "leave") == {(MEMBER, BOB)}
    answer = await server.sync(BOB, between)
    assert timeline_ids(answer, room, "leave") == [banned]
    assert section(answer, room, "leave")["state"]["events"] == []


@ensureDeferred
async def test_joined_and_left_in_one_go(server: SyncServer) -> None:
    """The client has never seen the room: it gets the state as well, that of the stay."""
    room = await server.room(ALICE)
    await server.set(room, "m.room.topic", {"topic": "then"})
    since = await server.token(BOB)
    joined = await server.join(room, BOB)
    left = await server.leave(room, BOB)
    await server.set(room, "m.room.topic", {"topic": "later"})
    answer = await server.sync(BOB, since, filter=limit(2))
    assert timeline_ids(answer, room, "leave") == [joined, left]
    topics = [e["content"] for e in section(answer, room, "leave")["state"]["events"] if "topic" in e["type"]]
    assert topics == [{"topic": "then"}]
    lazily = await server.sync(BOB, since, filter={"room": {**lazy(1)["room"], "timeline": {"limit": 1}}})
    assert {key for key in state_keys(lazily, room, "leave") if key[0] == MEMBER} == {(MEMBER, BOB)}


@ensureDeferred
async def test_coming_back_in_one_go(server: SyncServer) -> None:
    """Leaving and joining again: the room as a whole, since things were missed."""
    room = await server.room(ALICE, BOB)
    since = await server.token(BOB)
    await server.leave(room, BOB)
    await server.set(room, "m.room.topic", {"topic": "missed"})
    joined = await server.join(room, BOB)
    answer = await server.sync(BOB, since, filter=limit(1))
    assert answer["rooms"].keys() == {"join"}
    assert timeline_ids(answer, room) == [joined]
    assert {("m.room.topic", ""), ("m.room.create", "")} <= state_keys(answer, room)


@ensureDeferred
async def test_changing_ones_profile_is_no_coming(server: SyncServer) -> None:
    """A join that replaces a join is an event like others."""
    room = await server.room(ALICE, BOB)
    since = await server.token(BOB)
    content = {"membership": "join", "displayname": "Bob"}
    changed = await server.set(room, MEMBER, content, BOB, BOB)
    said = await server.say(room, ALICE)
    answer = await server.sync(BOB, since)
    assert timeline_ids(answer, room) == [changed, said]
    assert section(answer, room)["state"]["events"] == []
    (event, _) = section(answer, room)["timeline"]["events"]
    assert event["unsigned"]["prev_content"] == {"membership": "join"}


@ensureDeferred
async def test_rejecting_an_invitation(server: SyncServer) -> None:
    """One's own leave, and nothing of the room; the same for an invitation that is withdrawn."""
    room = await server.room(ALICE)
    await server.say(room, ALICE, "secret")
    await server.member(room, ALICE, BOB, "invite")
    since = await server.token(BOB)
    for sender in (BOB, ALICE):
        left = await server.member(room, sender, BOB, "leave")
        answer = await server.sync(BOB, since)
        assert answer["rooms"].keys() == {"leave"}
        assert timeline_ids(answer, room, "leave") == [left]
        assert section(answer, room, "leave")["state"]["events"] == []
        await server.member(room, ALICE, BOB, "invite")
        since = await server.token(BOB)


@ensureDeferred
async def test_rejecting_after_an_earlier_stay(server: SyncServer) -> None:
    """Nothing that happened since the earlier stay is shown with the leave."""
    room = await server.room(ALICE, BOB)
    await server.leave(room, BOB)
    await server.say(room, ALICE, "secret")
    await server.member(room, ALICE, BOB, "invite")
    since = await server.token(BOB)
    await server.say(room, ALICE, "secret")
    rejected = await server.leave(room, BOB)
    answer = await server.sync(BOB, since)
    assert timeline_ids(answer, room, "leave") == [rejected]
    assert section(answer, room, "leave")["state"]["events"] == []


@ensureDeferred
async def test_forgetting(server: SyncServer) -> None:
    """Other devices still hear of the leave; then the room is nowhere, and its past is closed."""
    room = await server.room(ALICE, BOB)
    since = await server.token(BOB)
    left = await server.leave(room, BOB)
    await server.forget(room, BOB)
    answer = await server.sync(BOB, since)
    assert timeline_ids(answer, room, "leave") == [left]
    assert "rooms" not in await server.sync(BOB, filter={"room": {"include_leave": True}})
    await server.join(room, BOB)
    assert (await server.sync(BOB))["rooms"].keys() == {"join"}


@ensureDeferred
async def test_rooms_that_are_forgotten_on_leave(server: SyncServer) -> None:
    """The leave is told all the same."""
    server.world.appender = World(
        server.world.clock, server.world.events, server.world.state, forget_on_leave=True
    ).appender
    room = await server.room(ALICE, BOB)
    since = await server.token(BOB)
    left = await server.leave(room, BOB)
    assert timeline_ids(await server.sync(BOB, since), room, "leave") == [left]
    assert "rooms" not in await server.sync(BOB, filter={"room": {"include_leave": True}})


@ensureDeferred
async def test_knocking(server: SyncServer) -> None:
    """A knock is in `knock`, its refusal in `leave`."""
    room = await server.room(ALICE)
    await server.set(room, "m.room.join_rules", {"join_rule": "knock"})
    since = await server.token(BOB)
    await server.member(room, BOB, BOB, "knock")
    answer = await server.sync(BOB, since)
    assert answer["rooms"].keys() == {"knock"}
    refused = await server.member(room, ALICE, BOB, "leave")
    answer = await server.sync(BOB, answer["next_batch"])
    assert timeline_ids(answer, room, "leave") == [refused]


@ensureDeferred
async def test_redacted_state_of_an_invitation(server: SyncServer) -> None:
    """What was redacted is not told to who is invited."""
    room = await server.room(ALICE)
    topic = await server.set(room, "m.room.topic", {"topic": "rude"})
    await server.redact(room, topic)
    await server.member(room, ALICE, BOB, "invite")
    events = section(await server.sync(BOB), room, "invite")["invite_state"]["events"]
    assert [event["content"] for event in events if event["type"] == "m.room.topic"] == [{}]


@ensureDeferred
async def test_room_filters_hold_for_all_sections(server: SyncServer) -> None:
    """Rooms that are filtered out are not in `leave` or `invite` either."""
    left, invited, joined = await server.room(ALICE, BOB), await server.room(ALICE), await server.room(ALICE)
    since = await server.token(BOB)
    await server.leave(left, BOB)
    await server.member(invited, ALICE, BOB, "invite")
    await server.join(joined, BOB)
    assert (await server.sync(BOB, since))["rooms"].keys() == {"leave", "invite", "join"}
    wanted = {"room": {"not_rooms": [left.room_id, invited.room_id, joined.room_id], "include_leave": True}}
    assert "rooms" not in await server.sync(BOB, since, filter=wanted)
    assert "rooms" not in await server.sync(BOB, filter=wanted)


@ensureDeferred
async def test_a_purged_room_is_left(server: SyncServer) -> None:
    """Whoever was away when the room went hears that they are out, and the rooms in memory forget it."""
    room = await server.room(ALICE, BOB)
    since = await server.token(BOB)
    poll = await server.poll(BOB, since)
    await server.do(_purge, room.nid)
    answer = await poll
    assert answer["rooms"].keys() == {"leave"}
    (event,) = section(answer, room, "leave")["timeline"]["events"]
    assert event["content"] == {"membership": "leave"}
    assert room.nid not in (await server.joined.of(BOB)).rooms


@pytest.mark.parametrize("before", [None, "leave"])
@pytest.mark.parametrize("at_once", [1, 100])
@ensureDeferred
async def test_a_room_is_purged_after_a_join_there_was_undone(
    server: SyncServer, before: str | None, at_once: int
) -> None:
    """Who was away during both hears that they are out, once, as of when the resolution put them out of it."""
    room = await server.room(ALICE, *([BOB] if before else []))
    left = await server.leave(room, BOB) if before else None
    await server.join(room, BOB)
    since = await server.token(BOB)
    await server.revert(room, ("m.room.member", BOB), left)
    undone = await server.token(BOB)
    await server.do(_purge_whole, room.nid, at_once)
    assert await server.do(lambda txn: txn.rows("SELECT FROM rooms WHERE room_nid = %s", (room.nid,))) == []
    answer = await server.sync(BOB, since)
    assert answer["rooms"].keys() == {"leave"}
    (event,) = section(answer, room, "leave")["timeline"]["events"]
    assert (event["state_key"], event["content"]) == (BOB, {"membership": "leave"})
    assert "rooms" not in await server.sync(BOB, undone)


def _purge_whole(txn: Transaction, room_nid: int, at_once: int) -> None:
    close_room(txn, room_nid, 0)
    for table in purge.TABLES:
        after: purge.Key | None = ()
        while after is not None:
            after = purge.delete_slice(txn, table, room_nid, after, at_once, SERVER).last
    assert purge.delete_room(txn, room_nid)


def _purge(txn: Transaction, room_nid: int) -> None:
    close_room(txn, room_nid, 0)
    purge.delete_slice(txn, purge.MEMBERSHIPS, room_nid, (), 100, SERVER)
