"""Pages and windows of the stream."""

from typing import Any

from pytest_twisted import ensureDeferred

from synapse_lite.handlers.filters import EventFilter, read_event_filter
from synapse_lite.storage import timeline
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.stream import START, Kind, Place, read_position
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
        nids.append(world.send(txn, room, "m.image%_", BOB, {"url": "mxc://x"}).nid)
        # Ours hold no NUL, but those of other servers may, which PostgreSQL cannot read as JSON.
        txn.execute(
            "UPDATE events SET json = replace(json, 'mxc:', '\\u0000mxc:') WHERE event_nid = %s", (nids[-1],)
        )
        return room.nid, other.nid, nids

    room, other, nids = await database.transact(write)

    def check(txn: Transaction) -> None:
        end = read_position(txn)
        everything = Place(end)

        def page(
            after: Place = START,
            upto: Place = everything,
            limit: int = 100,
            *,
            backwards: bool = False,
            **body: Any,
        ) -> list[int]:
            found = timeline.page(txn, (room, after, upto), limit, _filter(**body), backwards=backwards)
            return [nid for _, nid in found]

        places = timeline.places_of(txn, nids)
        assert page(limit=4, backwards=True) == nids[::-1]
        assert page(places[nids[0]].before) == nids
        assert page(places[nids[0]], places[nids[2]]) == nids[1:3]
        assert page(senders=[BOB], types=["m.room.message"]) == [nids[1]]
        assert page(not_senders=[ALICE], not_types=["m.room.member"]) == [nids[1], nids[3]]
        assert page(types=["m.image%_"]) == page(types=["*%_"]) == page(contains_url=True) == [nids[3]]
        assert (
            page(types=["m.image__"]) == page(types=["m_image*"]) == page(types=[]) == page(senders=[]) == []
        )
        assert page(contains_url=False, types=["m.room.me*e"]) == nids[:3]

        windows = timeline.windows(txn, [(room, 0, end), (other, 0, 0), (99, 0, end)], 2, _filter())
        assert windows == {room: [(places[nid], nid) for nid in nids[2:]]}
        both = timeline.windows(txn, [(room, 0, places[nids[0]].position), (other, 0, end)], 1, _filter())
        assert both[room] == [(places[nids[0]], nids[0])]
        assert len(both[other]) == 1

    await database.snapshot(check)


@ensureDeferred
async def test_history_that_came_later(database: Database) -> None:
    """It stands before the event whose gap it fills, in pages of any size, and is in no window of /sync."""
    world = World()

    def write(txn: Transaction) -> tuple[int, list[int], int]:
        room = world.room(txn, ALICE)
        return room.nid, [world.message(txn, room, ALICE).nid for _ in range(6)], 0

    room, nids, _ = await database.transact(write)

    def check(txn: Transaction) -> None:
        places = timeline.places_of(txn, nids)
        gap = places[nids[4]].position
        for minor, nid in ((-3, nids[1]), (-2, nids[2]), (-1, nids[3])):
            txn.execute("UPDATE stream SET position = %s, minor = %s WHERE event_nid = %s", (gap, minor, nid))
        end = read_position(txn)
        for backwards in (False, True):
            for size in (1, 2, 4):
                found, after, upto = [], places[nids[0]].before, Place(end)
                while entries := timeline.page(
                    txn, (room, after, upto), size, _filter(), backwards=backwards
                ):
                    found += [nid for _, nid in entries]
                    last = entries[-1][0]
                    after, upto = (after, last.before) if backwards else (last, upto)
                assert found == (nids[::-1] if backwards else nids)
        windows = timeline.windows(txn, [(room, 0, end)], 3, _filter())
        assert [nid for _, nid in windows[room]] == [nids[0], nids[4], nids[5]]
        assert timeline.windows(txn, [(room, gap - 1, end)], 9, _filter()) == {
            room: [(Place(gap), nids[4]), (places[nids[5]], nids[5])]
        }

    await database.transact(check)
