"""The write path on a real PostgreSQL: heads, rules, state, redactions, forks."""

from itertools import pairwise
from typing import Any

import pytest
from attrs import define
from pytest_twisted import ensureDeferred

from synapse_lite.errors import MatrixError
from synapse_lite.storage.branches import Anchor, Room, Write
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.stream import Change, Kind
from tests.builders import ALICE, BOB, MALLORY, SERVER, World, extremities

pytestmark = pytest.mark.parametrize("version", ["10", "11", "12"])


@ensureDeferred
async def test_events_follow_each_other(database: Database, version: str) -> None:
    """Each event follows the one before it, one deeper, and is published in that order."""
    world = World()
    published: list[Change] = []
    database._on_commit = published.extend

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
            Write(room.nid, world.draft("m.room.message", ALICE, {"body": "once"}), "session", "txn")
            for _ in range(2)
        ]
        first, again = world.appender.append(txn, writes)
        (later,) = world.appender.append(txn, writes[:1])
        assert first is again
        assert not isinstance(later, MatrixError)
        assert not isinstance(first, MatrixError)
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
        unknown = world.try_send(txn, room, "m.room.redaction", BOB, {}, redacts="$unknown")
        assert isinstance(unknown, MatrixError)
        assert unknown.status == 404

    await database.transact(run)


@ensureDeferred
async def test_a_side_branch_is_one_extremity_and_changes_no_state(database: Database, version: str) -> None:
    """Redactions by somebody who was banned hang on the past; the next event merges them; the ban stays."""
    world = World()

    def run(txn: Transaction) -> None:
        room = world.room(txn, ALICE, MALLORY, version=version)
        spam = [world.message(txn, room, MALLORY) for _ in range(5)]
        world.send(txn, room, "m.room.topic", ALICE, {"topic": "no spam"}, state_key="")
        ban = world.member(txn, room, ALICE, MALLORY, "ban")
        anchor = Anchor(spam[-1].nid, spam[-1].after_nid, spam[-1].event.depth)
        writes = [
            Write(
                room.nid,
                world.draft("m.room.redaction", MALLORY, {}, redacts=event.event.event_id),
                anchor=anchor,
            )
            for event in spam
        ]
        redactions = world.appender.append(txn, writes)
        assert all(not isinstance(result, MatrixError) for result in redactions)
        assert world.events.redactions(txn, [event.nid for event in spam]).keys() == {
            event.nid for event in spam
        }
        assert len(extremities(txn, room)) == 2
        assert ban.nid in extremities(txn, room)
        merge = world.message(txn, room, ALICE)
        assert extremities(txn, room) == [merge.nid]
        assert len(merge.event.prev_events) == 2
        state = world.state.at(txn, merge.after_nid, [("m.room.member", MALLORY), ("m.room.topic", "")])
        assert state[("m.room.member", MALLORY)] == ban.nid
        assert ("m.room.topic", "") in state
        assert isinstance(
            world.try_send(txn, room, "m.room.message", MALLORY, {"body": "again"}), MatrixError
        )

    await database.transact(run)


@ensureDeferred
async def test_an_anchor_that_is_gone(database: Database, version: str) -> None:
    """Hanging events on what a purge has deleted is refused, and harms no other write of the batch."""
    world = World()

    def run(txn: Transaction) -> None:
        room = world.room(txn, ALICE, BOB, version=version)
        said = world.message(txn, room, BOB)
        lost = Anchor(10**12, said.after_nid, said.event.depth)
        draft = world.draft("m.room.message", BOB, {"body": "where?"})
        refused, sent = world.appender.append(
            txn, [Write(room.nid, draft, anchor=lost), Write(room.nid, draft)]
        )
        assert isinstance(refused, MatrixError)
        assert refused.status == 404
        assert not isinstance(sent, MatrixError)
        assert extremities(txn, room) == [sent.nid]

    await database.transact(run)
