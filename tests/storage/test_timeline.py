"""Pages and windows of the stream."""

from typing import Any

from pytest_twisted import ensureDeferred

from synapse_lite.handlers.filters import EventFilter, read_event_filter
from synapse_lite.storage import timeline
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.stream import Kind, read_position
from tests.builders import ALICE, BOB, World


def _filter(**body: Any) -> EventFilter:
    return read_event_filter(body, 100)


@ensureDeferred
async def test_pages_and_windows(database: Database) -> None:
    """Only events, of the room, in the span, that the selection takes; the last ones where the limit cuts."""
    world = World()

    def write(txn: Transaction) -> tuple[int, int, list[int]]:
        room, other = world.room(txn, ALICE, BOB), world.room(txn, ALICE)
        nids = []
        for sender in (ALICE, BOB, ALICE):
            nids.append(world.message(txn, room, sender).nid)
            world.message(txn, other, ALICE)
            txn.publish(Kind.TYPING, room_nid=room.nid)
        nids.append(world.send(txn, room, "m.image%_", BOB, {"url": "\0mxc://x"}).nid)
        return room.nid, other.nid, nids

    room, other, nids = await database.transact(write)

    def check(txn: Transaction) -> None:
        end = read_position(txn)

        def page(
            after: int = 0, upto: int = end, limit: int = 100, *, backwards: bool = False, **body: Any
        ) -> list[int]:
            found = timeline.page(txn, (room, after, upto), limit, _filter(**body), backwards=backwards)
            return [nid for _, nid in found]

        positions = timeline.positions_of(txn, nids)
        assert page(limit=4, backwards=True) == nids[::-1]
        assert page(positions[nids[0]] - 1) == nids
        assert page(positions[nids[0]], positions[nids[2]]) == nids[1:3]
        assert page(senders=[BOB], types=["m.room.message"]) == [nids[1]]
        assert page(not_senders=[ALICE], not_types=["m.room.member"]) == [nids[1], nids[3]]
        assert page(types=["m.image%_"]) == page(types=["*%_"]) == page(contains_url=True) == [nids[3]]
        assert (
            page(types=["m.image__"]) == page(types=["m_image*"]) == page(types=[]) == page(senders=[]) == []
        )
        assert page(contains_url=False, types=["m.room.me*e"]) == nids[:3]

        windows = timeline.windows(txn, [(room, 0, end), (other, 0, 0), (99, 0, end)], 2, _filter())
        assert windows == {room: [(positions[nid], nid) for nid in nids[2:]]}
        both = timeline.windows(txn, [(room, 0, positions[nids[0]]), (other, 0, end)], 1, _filter())
        assert both[room] == [(positions[nids[0]], nids[0])]
        assert len(both[other]) == 1

    await database.snapshot(check)


@ensureDeferred
async def test_state_changes(database: Database) -> None:
    """The last event of each key in the span; also what remains of a purged history."""
    world = World()

    def run(txn: Transaction) -> tuple[int, list[int]]:
        room = world.room(txn, ALICE)
        sent = [world.send(txn, room, "t", ALICE, {"n": n}, state_key=key).nid for n, key in enumerate("aab")]
        world.message(txn, room, ALICE)
        return room.nid, sent

    room, sent = await database.transact(run)

    def changed(txn: Transaction, after: int, upto: int) -> set[int]:
        return set(timeline.state_changes(txn, [(room, after, upto)]).get(room, []))

    def check(txn: Transaction) -> None:
        positions = [timeline.positions_of(txn, sent)[nid] for nid in sent]
        end = read_position(txn)
        assert changed(txn, positions[0] - 1, end) == set(sent[1:])
        assert changed(txn, positions[0] - 1, positions[0]) == {sent[0]}
        assert changed(txn, positions[2], end) == set()
        txn.execute("UPDATE stream SET kind = %s WHERE event_nid = %s", (Kind.KEPT, sent[1]))
        assert changed(txn, positions[0] - 1, end) == set(sent[1:])
        assert timeline.page(txn, (room, positions[0], positions[1]), 9, _filter(), backwards=False) == []

    await database.transact(check)


@ensureDeferred
async def test_own_memberships(database: Database) -> None:
    """The member events about a user, in order, by whomever."""
    world = World()

    def run(txn: Transaction) -> None:
        room = world.room(txn, ALICE, BOB)
        world.member(txn, room, ALICE, BOB, "leave")
        world.message(txn, room, ALICE)

    await database.transact(run)
    rows = await database.read(timeline.own_memberships, BOB, 0, 100)
    assert [row[0] for row in rows] == [5, 6]
    assert await database.read(timeline.own_memberships, BOB, 5, 100) == rows[1:]
    assert await database.read(timeline.own_memberships, BOB, 0, 5) == rows[:1]
