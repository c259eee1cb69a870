"""The write path on a real PostgreSQL: heads, rules, state, redactions, forks."""

from itertools import pairwise
from typing import Any

import pytest
from attrs import define
from pytest_twisted import ensureDeferred

from synapse_lite.errors import MatrixError
from synapse_lite.rooms.values import Point, Write
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.event_transactions import ClientRequest
from synapse_lite.storage.events import StoredEvent
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.stream import Change, Kind
from tests.builders import ALICE, BOB, MALLORY, SERVER, World, extremities

pytestmark = pytest.mark.parametrize("version", ["1", "3", "10", "11", "12"])


@ensureDeferred
async def test_events_follow_each_other(database: Database, version: str) -> None:
    """Each event follows the one before it, one deeper, and is published in that order."""
    world = World()
    published: list[Change] = []
    database.on_commit(published.extend)

    def run(txn: Transaction) -> None:
        room = world.room(txn, ALICE, BOB, version=version)
        first, second = (world.message(txn, room, BOB) for _ in range(2))
        assert second.event.prev_events == [first.event.event_id]
        assert second.event.depth == first.event.depth + 1
        assert extremities(txn, room) == [second.nid]

    await database.transact(run)
    assert [change.kind for change in published] == [Kind.EVENT] * 7
    assert [change.position for change in published] == list(range(1, 8))


@ensureDeferred
async def test_rules_are_kept(database: Database, version: str) -> None:
    """Strangers do not get in: the write is refused and stores nothing."""
    world = World()

    def run(txn: Transaction) -> None:
        room = world.room(txn, version=version)
        before = txn.value("SELECT count(*) FROM events")
        refused = world.try_send(txn, room, "m.room.message", MALLORY, {"body": "let me in"})
        assert isinstance(refused, MatrixError)
        assert refused.status == 403
        assert txn.value("SELECT count(*) FROM events") == before

    await database.transact(run)


@define
class Counted:
    """A cursor that counts how often it asks the server."""

    cursor: Any
    count: int = 0

    def execute(self, *arguments: Any) -> None:
        self.count += 1
        self.cursor.execute(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cursor, name)


@ensureDeferred
async def test_many_state_events_ask_no_more_than_few(database: Database, version: str) -> None:
    """The numbers of their keys are read together, and their snapshots go together."""
    world = World()
    few, many = (
        [f"@{name}{number}:{SERVER}" for number in range(count)] for name, count in (("a", 3), ("b", 30))
    )

    def leave(txn: Transaction, room: Room, users: list[str]) -> int:
        txn.finish()
        counted = Counted(txn._cursor)
        txn._cursor = counted
        drafts = [
            world.draft("m.room.member", user, {"membership": "leave"}, state_key=user) for user in users
        ]
        results = world.appender.append(txn, [Write(room.nid, draft) for draft in drafts])
        txn.finish()
        txn._cursor = counted.cursor
        assert not [result for result in results if isinstance(result, MatrixError)]
        return counted.count

    def run(txn: Transaction) -> None:
        room = world.room(txn, ALICE, *few, *many, version=version)
        blocks_of_numbers = 2
        assert leave(txn, room, many) <= leave(txn, room, few) + blocks_of_numbers

    await database.transact(run)


@ensureDeferred
async def test_state_before_and_after(database: Database, version: str) -> None:
    """Snapshots tell the state around each event, however long the chain; the current state is the last."""
    world = World()

    def run(txn: Transaction) -> None:
        room = world.room(txn, version=version)
        topics = [
            world.send(txn, room, "m.room.topic", ALICE, {"topic": str(n)}, state_key="") for n in range(40)
        ]
        key = ("m.room.topic", "")
        world.state._snapshots._entries.clear()  # read the chains from the database
        for earlier, later in pairwise(topics):
            assert world.state.at(txn, later.before_nid, [key]) == {key: earlier.nid}
            assert world.state.at(txn, later.after_nid, [key]) == {key: later.nid}
            assert later.replaces_nid == earlier.nid
        world.state._snapshots._entries.clear()
        together = world.state.at_each(txn, [topic.after_nid for topic in topics], [key])
        assert together == {topic.after_nid: {key: topic.nid} for topic in topics}
        whole = world.state.whole(txn, topics[-1].after_nid)
        current = {
            (kind, state_key): nid
            for kind, state_key, nid in txn.rows("SELECT type, state_key, event_nid FROM current_state")
        }
        assert whole == current
        longest = txn.value(
            "WITH RECURSIVE c AS (SELECT snapshot_nid AS top, base_nid, 1 AS n FROM state_snapshots"
            " UNION ALL SELECT c.top, s.base_nid, n + 1 FROM c JOIN state_snapshots s ON s.snapshot_nid = c.base_nid)"
            " SELECT max(n) FROM c"
        )
        assert longest <= 6  # log2 of 45 state events

    await database.transact(run)


@ensureDeferred
async def test_a_repeated_request_is_one_event(database: Database, version: str) -> None:
    """The same session and transaction id give the first event, within a batch and later."""
    world = World()

    def run(txn: Transaction) -> None:
        room = world.room(txn, version=version)
        writes = [
            Write(
                room.nid,
                world.draft("m.room.message", ALICE, {"body": "once"}),
                ClientRequest("session", "send", "txn"),
            )
            for _ in range(2)
        ]
        first, again = world.appender.append(txn, writes)
        (later,) = world.appender.append(txn, writes[:1])
        assert first is again
        assert isinstance(later, StoredEvent)
        assert isinstance(first, StoredEvent)
        assert later.nid == first.nid

    await database.transact(run)


@ensureDeferred
async def test_the_same_state_again_is_no_event(database: Database, version: str) -> None:
    """Setting what is set already yields the event that set it."""
    world = World()

    def run(txn: Transaction) -> None:
        room = world.room(txn, version=version)
        first = world.send(txn, room, "m.room.name", ALICE, {"name": "x"}, state_key="")
        assert world.send(txn, room, "m.room.name", ALICE, {"name": "x"}, state_key="").nid == first.nid
        yes = world.send(txn, room, "org.example", ALICE, {"on": True}, state_key="")
        assert world.send(txn, room, "org.example", ALICE, {"on": 1}, state_key="").nid != yes.nid

    await database.transact(run)


@ensureDeferred
async def test_redactions_of_own_and_of_others(database: Database, version: str) -> None:
    """One's own event: applied. Another's: only with the redact level, or for a server admin."""
    world = World()

    def run(txn: Transaction) -> None:
        room = world.room(txn, ALICE, BOB, version=version)
        own, other = world.message(txn, room, BOB), world.message(txn, room, ALICE)
        redaction = world.send(txn, room, "m.room.redaction", BOB, {}, redacts=own.event.event_id)
        assert world.events.redactions(txn, [own.nid]) == {own.nid: redaction}
        refused = world.try_send(txn, room, "m.room.redaction", BOB, {}, redacts=other.event.event_id)
        assert isinstance(refused, MatrixError)
        world.send(txn, room, "m.room.redaction", BOB, {}, redacts=other.event.event_id, privileged=True)
        assert world.events.redactions(txn, [other.nid]).keys() == {other.nid}
        unknown = world.try_send(txn, room, "m.room.redaction", BOB, {}, redacts="$unknown:hs.test")
        assert isinstance(unknown, MatrixError)
        assert unknown.status == 404

    await database.transact(run)


@ensureDeferred
async def test_a_redaction_on_the_past_is_no_part_of_the_graph(database: Database, version: str) -> None:
    """In the name of somebody who was banned: applied and shown; no event follows it, and the state stays."""
    world = World()
    published: list[Change] = []
    database._on_commit = published.extend
    redactions: list[StoredEvent] = []

    def run(txn: Transaction) -> None:
        room = world.room(txn, ALICE, MALLORY, version=version)
        spam = [world.message(txn, room, MALLORY) for _ in range(5)]
        world.send(txn, room, "m.room.topic", ALICE, {"topic": "no spam"}, state_key="")
        ban = world.member(txn, room, ALICE, MALLORY, "ban")
        before = txn.rows("SELECT * FROM current_state ORDER BY type, state_key")
        writes = [
            Write(
                room.nid,
                world.draft("m.room.redaction", MALLORY, {}, redacts=event.event_id),
                point=Point((spam[-1].nid,), spam[-1].after_nid or 0),
            )
            for event in spam
        ]
        redactions.extend(r for r in world.appender.append(txn, writes) if isinstance(r, StoredEvent))
        nids = [event.nid for event in spam]
        assert world.events.redactions(txn, nids).keys() == set(nids)
        assert redactions[0].event.prev_events == [spam[-1].event_id]
        assert redactions[1].event.prev_events == [redactions[0].event_id]
        assert extremities(txn, room) == [ban.nid]
        following = world.message(txn, room, ALICE)
        assert following.event.prev_events == [ban.event_id]
        assert following.event.depth == ban.event.depth + 1
        assert txn.rows("SELECT * FROM current_state ORDER BY type, state_key") == before
        # Who reads the state around the redactions finds that of the time when they were made.
        assert {redaction.after_nid for redaction in redactions} == {ban.after_nid}

    await database.transact(run)
    shown = {change.event_nid: change.redacts_nid for change in published if change.redacts_nid is not None}
    assert shown.keys() == {redaction.nid for redaction in redactions}


@ensureDeferred
async def test_only_redactions_hang_on_the_past(database: Database, version: str) -> None:
    """Anything else there would be a branch of the room."""
    world = World()

    def run(txn: Transaction) -> None:
        room = world.room(txn, ALICE, MALLORY, version=version)
        said = world.message(txn, room, MALLORY)
        point = Point((said.nid,), said.after_nid or 0)
        with pytest.raises(ValueError, match=r"m\.room\.message"):
            world.try_send(txn, room, "m.room.message", MALLORY, {"body": "again"}, point=point)

    await database.transact(run)


@ensureDeferred
async def test_a_point_that_is_gone(database: Database, version: str) -> None:
    """Hanging events on what a purge has deleted is refused, and harms no other write of the batch."""
    world = World()

    def run(txn: Transaction) -> None:
        room = world.room(txn, ALICE, BOB, version=version)
        said = world.message(txn, room, BOB)
        lost = Point((10**12,), said.after_nid or 0)
        draft = world.draft("m.room.message", BOB, {"body": "where?"})
        refused, sent = world.appender.append(
            txn, [Write(room.nid, draft, point=lost), Write(room.nid, draft)]
        )
        assert isinstance(refused, MatrixError)
        assert refused.status == 404
        assert isinstance(sent, StoredEvent)
        assert extremities(txn, room) == [sent.nid]

    await database.transact(run)
