"""A room that is taken over is what it was: read out of one database, and taken into another one."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from attrs import field, frozen
from pytest_twisted import ensureDeferred

from synapse_lite.errors import SynapseLiteError
from synapse_lite.rooms.contributors import room_contributors
from synapse_lite.rooms.importer import GivenEvent, GivenState, RoomImporter
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore, Standing, StoredEvent
from synapse_lite.storage.state import StateKey, StateStore
from tests.builders import ALICE, BOB, SERVER
from tests.databases import ReusedDatabase
from tests.rooms.meeting import TEXT, Meeting
from tests.rooms.remote import CAROL

CACHE = 1_000_000
STEPS = 30
OUTCOME = (
    (
        "SELECT e.event_id, e.standing, CASE WHEN e.standing < 3 THEN p.event_id END, s.key FROM events e"
        " LEFT JOIN events p ON p.event_nid = e.replaces_nid"
        " LEFT JOIN stream s ON s.event_nid = e.event_nid ORDER BY 1"
    ),
    "SELECT c.type, c.state_key, e.event_id FROM current_state c JOIN events e USING (event_nid) ORDER BY 1, 2, 3",
    "SELECT user_id, membership FROM memberships ORDER BY 1",
    "SELECT e.event_id, r.redacts, r.target_nid IS NULL, r.applied FROM redactions r JOIN events e USING (event_nid) ORDER BY 1",
    "SELECT name, topic, joined, joined_local, invited, state_events FROM room_summary",
    "SELECT e.event_id FROM rooms r JOIN events e ON e.event_nid = ANY(r.extremities) ORDER BY 1",
)
"""What a room is, whatever the numbers."""

pytestmark = pytest.mark.parametrize("version", ["6", "12"])


@frozen
class Kept:
    """What another program would have kept of a room: events in order, groups of states by number."""

    room_id: str
    events: Sequence[GivenEvent]
    groups: Mapping[int, GivenState]
    ends: Sequence[str]
    state: Mapping[StateKey, str]


@frozen
class Reader:
    """Of a database. `in_differences`: groups are told as what they change, where a state event made them."""

    database: Database
    in_differences: bool = False
    events: EventStore = field(factory=lambda: EventStore(CACHE))
    state: StateStore = field(factory=lambda: StateStore(CACHE))

    def keep(self, txn: Transaction, room_id: str) -> Kept:
        stored = list(self.all(txn).values())
        groups = {0: GivenState(None, {})}
        for one in stored:
            if one.after_nid is not None and one.point_nid is None:
                groups.setdefault(one.after_nid, self._group(txn, one))
        for nid in {nid for one in stored for nid in (one.before_nid, one.point_nid) if nid is not None}:
            # Where branches meet, it is not that after any event.
            groups.setdefault(nid, GivenState(None, self._ids(txn, nid)))
        ends = [row[0] for row in txn.rows(OUTCOME[-1])]
        (snapshot_nid,) = txn.rows("SELECT snapshot_nid FROM rooms")[0]
        given = [GivenEvent(one.event, one.standing, _reason(one), 1, _by_graph(one)) for one in stored]
        return Kept(room_id, given, groups, ends, self._ids(txn, snapshot_nid))

    def all(self, txn: Transaction) -> dict[int, StoredEvent]:
        """Causes first."""
        nids = [nid for (nid,) in txn.rows("SELECT event_nid FROM events ORDER BY depth, event_nid")]
        loaded = self.events.load(txn, nids)
        return {nid: loaded[nid] for nid in nids}

    def states(self, txn: Transaction) -> dict[str, tuple[dict[StateKey, str], dict[StateKey, str]]]:
        """By event the state before it, and after it; the latter alone of what readers meet elsewhere than in the graph."""
        return {
            one.event_id: (
                self._ids(txn, one.before_nid if one.point_nid is None else None),
                self._ids(txn, _by_graph(one)),
            )
            for one in self.all(txn).values()
        }

    def _group(self, txn: Transaction, one: StoredEvent) -> GivenState:
        if self.in_differences and one.before_nid is not None and one.before_nid != one.after_nid:
            return GivenState(one.before_nid, {one.event.key: one.event_id})
        return GivenState(None, self._ids(txn, one.after_nid))

    def _ids(self, txn: Transaction, snapshot_nid: int | None) -> dict[StateKey, str]:
        whole = self.state.whole(txn, snapshot_nid)
        ids = self.events.ids_of(txn, list(whole.values()))
        return {key: ids[nid] for key, nid in whole.items()}


def _by_graph(one: StoredEvent) -> int | None:
    return one.after_nid if one.point_nid is None else one.point_nid


def _reason(one: StoredEvent) -> str | None:
    return "as it was" if one.standing is Standing.REJECTED else None


async def happen(meeting: Meeting, seed: int) -> None:
    """Both servers write, the other one also after what is long past."""
    chance = random.Random(seed)
    await meeting.ours("m.room.member", BOB, {"membership": "join"}, state_key=BOB)
    await meeting.levels(bob=50)
    written: list[StoredEvent] = [(await meeting.remote.head(meeting.room))[0]]
    for step in range(STEPS):
        earlier = chance.choice(written[-6:])
        here: list[Callable[[], Any]] = [
            lambda: meeting.say(BOB),
            lambda step=step: meeting.topic(f"topic {step}"),  # type: ignore[misc]
            lambda: meeting.ours("m.room.member", ALICE, {"membership": "leave"}, state_key=BOB),
            lambda: meeting.ours("m.room.member", BOB, {"membership": "join"}, state_key=BOB),
        ]
        there: list[Callable[[], Any]] = [
            lambda earlier=earlier: meeting.remote.follow(
                meeting.room, earlier, "m.room.message", CAROL, TEXT
            ),  # type: ignore[misc]
            lambda earlier=earlier, step=step: meeting.remote.follow(  # type: ignore[misc]
                meeting.room, earlier, "m.room.topic", CAROL, {"topic": f"theirs {step}"}, state_key=""
            ),
            lambda earlier=earlier: meeting.remote.member(meeting.room, earlier, CAROL, BOB, "leave"),  # type: ignore[misc]
        ]
        try:
            stored = await chance.choice([*here, *there])()
        except SynapseLiteError:
            continue
        if stored.standing is Standing.ACCEPTED:
            written.append(stored)
    await redact(meeting)


async def redact(meeting: Meeting) -> None:
    """Before it is there, by somebody who is out meanwhile, and as it should be."""
    remote, room = meeting.remote, meeting.room
    (head, *_) = await remote.head(room)
    state = await remote.state(head)
    late = remote.build(room, [head.event], state, "m.room.message", CAROL, TEXT)
    early = remote.build(room, [head.event], state, "m.room.redaction", CAROL, {}, redacts=late.event_id)
    await remote.receive(room, early)
    said = await remote.receive(room, late)
    other = await remote.follow(room, said, "m.room.message", CAROL, TEXT)
    await meeting.ours("m.room.redaction", ALICE, {}, redacts=other.event_id)
    third = await remote.follow(room, other, "m.room.message", CAROL, TEXT)
    await meeting.ban(CAROL)
    failed = await remote.follow(room, third, "m.room.redaction", CAROL, {}, redacts=third.event_id)
    assert failed.standing is Standing.SOFT_FAILED


def importer(reader: Reader, meeting: Meeting) -> RoomImporter:
    contributors = room_contributors(reader.state, SERVER, forget_on_leave=False)
    return RoomImporter(reader.events, reader.state, meeting.world.clock, contributors)


async def take_over(reader: Reader, meeting: Meeting, kept: Kept, at_once: int) -> None:
    """Into the reader's database."""
    transact, taking = reader.database.transact, importer(reader, meeting)
    outliers = [one for one in kept.events if one.group is None]
    history = [one for one in kept.events if one.group is not None]
    arriving = await transact(taking.know, kept.room_id, meeting.room.version, kept.groups.__getitem__)
    await transact(taking.take_outliers, arriving, outliers)
    for some in pieces(history, at_once):
        await transact(taking.take, arriving, some)
    await transact(taking.take_outliers, arriving, outliers)
    await transact(taking.finish, arriving, kept.ends, kept.state)
    assert arriving.left_out == []


def pieces(given: Sequence[GivenEvent], size: int) -> Iterator[Sequence[GivenEvent]]:
    return (given[start : start + size] for start in range(0, len(given), size))


def outcome(txn: Transaction) -> list[list[tuple[Any, ...]]]:
    return [txn.rows(sql) for sql in OUTCOME]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("in_differences", "at_once"), [(False, 3), (True, 100), (True, 1)])
@ensureDeferred
async def test_a_room_whose_branches_meet(
    meeting: Meeting,
    further_databases: Callable[[int], ReusedDatabase],
    seed: int,
    in_differences: bool,
    at_once: int,
) -> None:
    """The same events with the same states around them, the same current state, members and ends."""
    await happen(meeting, seed)
    there = Reader(meeting.database, in_differences)
    kept = await meeting.do(there.keep, meeting.room.room_id)
    assert {one.standing for one in kept.events} > {Standing.ACCEPTED}, "nothing went wrong in this history"
    other = further_databases(0)
    other.empty()
    database = Database(meeting.database._reactor, other.arguments, name="other", size=2, settings={})
    try:
        here = Reader(database)
        await take_over(here, meeting, kept, at_once)
        for made, was in zip(await database.read(outcome), await meeting.database.read(outcome), strict=True):
            assert set(made) ^ set(was) == set()
        assert await database.read(here.states) == await meeting.database.read(there.states)
        await take_over(here, meeting, kept, at_once)
        assert await database.read(outcome) == await meeting.database.read(outcome)
    finally:
        database.stop()
