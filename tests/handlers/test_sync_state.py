"""A client ends with the room's current state, whatever brought it about."""

from pytest_twisted import ensureDeferred

from synapse_lite.canonical_json import JsonObject
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.stream import NOT_IN_FORCE, Kind
from tests.builders import ALICE, BOB
from tests.handlers.sync_server import SyncServer, ids, limit, section

TOPIC = ("m.room.topic", "")


def _topic(answer: JsonObject, room: Room) -> str | None:
    """The topic with which a client ends that knew none."""
    topic = None
    shown = section(answer, room)
    for event in [*shown["state"]["events"], *shown["timeline"]["events"]]:
        if event["type"] == "m.room.topic":
            topic = event["content"]["topic"]
    return topic


@ensureDeferred
async def test_a_resolution_takes_a_topic_back(server: SyncServer) -> None:
    """Who has seen the topic that lost is told of the one that holds, also while they wait."""
    room = await server.room(ALICE, BOB)
    won = await server.set(room, "m.room.topic", {"topic": "won"})
    await server.set(room, "m.room.topic", {"topic": "lost"})
    since = await server.token(BOB)
    poll = await server.poll(BOB, since)
    await server.revert(room, TOPIC, won)
    for answer in (await poll, await server.sync(BOB, since)):
        assert ids(section(answer, room)["state"]["events"]) == [won]
        assert section(answer, room)["timeline"]["events"] == []


@ensureDeferred
async def test_no_timeline_ends_with_what_lost(server: SyncServer) -> None:
    """A topic that won, one that lost, and the decision in one answer: first syncs, later ones, with a gap."""
    room = await server.room(ALICE, BOB)
    since = await server.token(BOB)
    won = await server.set(room, "m.room.topic", {"topic": "won"})
    await server.set(room, "m.room.topic", {"topic": "lost"})
    await server.revert(room, TOPIC, won)
    said = await server.say(room, ALICE)
    for start in (None, since):
        for number in (1, 2, 3, 50):
            answer = await server.sync(BOB, start, filter=limit(number))
            assert _topic(answer, room) == "won", (start, number)
            assert ids(section(answer, room)["timeline"]["events"])[-1] == said


@ensureDeferred
async def test_what_was_never_in_force(server: SyncServer) -> None:
    """A topic on a branch that lost at once, as another server may send it: nobody ends with it."""
    room = await server.room(ALICE, BOB)
    await server.set(room, "m.room.topic", {"topic": "won"})
    since = await server.token(BOB)
    poll = await server.poll(BOB, since)
    lost = await server.do(_lose, server, room, "m.room.topic", {"topic": "lost"}, "")
    await server.say(room, ALICE)
    for answer in (await poll, await server.sync(BOB, since)):
        assert lost not in ids(section(answer, room)["timeline"]["events"])
    assert _topic(await server.sync(BOB), room) == "won"


@ensureDeferred
async def test_a_kick_that_lost(server: SyncServer) -> None:
    """The room stays among those that the user is in, and is nowhere else."""
    room = await server.room(ALICE, BOB)
    since = await server.token(BOB)
    await server.do(_lose, server, room, "m.room.member", {"membership": "leave"}, BOB)
    answer = await server.sync(BOB, since)
    assert "leave" not in answer.get("rooms", {})
    assert answer["rooms"]["join"].keys() == {room.room_id}


@ensureDeferred
async def test_a_join_that_was_undone(server: SyncServer) -> None:
    """Who is in a room no longer because a resolution undid their join is out of it, and told so once."""
    room = await server.room(ALICE, BOB)
    since = await server.token(BOB)
    poll = await server.poll(BOB, since)
    await server.revert(room, ("m.room.member", BOB), None)
    answer = await poll
    assert answer["rooms"].keys() == {"leave"}
    (left,) = section(answer, room, "leave")["timeline"]["events"]
    assert (left["state_key"], left["content"]) == (BOB, {"membership": "leave"})
    assert "rooms" not in await server.sync(BOB, answer["next_batch"])


def _lose(txn: Transaction, server: SyncServer, room: Room, kind: str, content: JsonObject, key: str) -> str:
    """A state event that is shown and changes nothing."""
    world = server.world
    before = txn.row("SELECT extremities, depth, snapshot_nid FROM rooms WHERE room_nid = %s", (room.nid,))
    members = txn.rows(
        "SELECT membership, sender, event_nid, user_id FROM memberships WHERE room_nid = %s", (room.nid,)
    )
    current = world.state.current(txn, [(room.nid, (kind, key))])
    stored = world.send(txn, room, kind, ALICE, content, state_key=key)
    txn._changes.clear()
    world.state.set_current(txn, room.nid, {name: nid for (_, name), nid in current.items()})
    txn.execute(
        "UPDATE rooms SET extremities = %s, depth = %s, snapshot_nid = %s WHERE room_nid = %s",
        (*(before or ()), room.nid),
    )
    for member in members:
        txn.execute(
            "UPDATE memberships SET membership = %s, sender = %s, event_nid = %s"
            " WHERE user_id = %s AND room_nid = %s",
            (*member, room.nid),
        )
    txn.publish(Kind.EVENT, room_nid=room.nid, event_nid=stored.nid, key=NOT_IN_FORCE)
    return stored.event.event_id


@ensureDeferred
async def test_an_invite_that_a_resolution_undid(server: SyncServer) -> None:
    """Who was invited, and is not any more, is told that they are out."""
    room = await server.room(ALICE)
    since = await server.token(BOB)
    await server.member(room, ALICE, BOB, "invite")
    invited = await server.sync(BOB, since)
    assert invited["rooms"]["invite"].keys() == {room.room_id}
    await server.revert(room, ("m.room.member", BOB), None)
    undone = await server.sync(BOB, invited["next_batch"])
    assert undone["rooms"].keys() == {"leave"}
    assert section(undone, room, "leave")["timeline"]["events"][0]["content"] == {"membership": "leave"}
