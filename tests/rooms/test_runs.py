"""Events that go on at the head of their room: as if they were received one by one, but for fewer transactions."""

from collections.abc import Mapping
from random import Random
from typing import Any

import pytest
from pytest_twisted import async_fixture, ensureDeferred

from synapse_lite.matrix.event import Event
from synapse_lite.rooms.contributors import room_contributors
from synapse_lite.rooms.runs import RunReceiver
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import Standing, StoredEvent
from synapse_lite.storage.heads import read_head
from synapse_lite.storage.state import StateKey
from synapse_lite.storage.stream import Change, Kind
from tests.builders import SERVER
from tests.rooms.meeting import LEVELS, TEXT, Meeting
from tests.rooms.remote import CAROL, DAVE

pytestmark = pytest.mark.parametrize("version", ["6", "11", "12"])

STEPS = 40


class RolledBackError(Exception):
    """What was seen in a transaction that leaves nothing behind."""


@async_fixture
async def meeting(database: Database, version: str) -> Meeting:
    return await Meeting(database, version).open(DAVE)


@pytest.fixture
def runs(meeting: Meeting) -> RunReceiver:
    world = meeting.world
    contributors = room_contributors(world.state, SERVER, forget_on_leave=False)
    return RunReceiver(world.events, world.state, world.clock, contributors)


async def receive(meeting: Meeting, runs: RunReceiver, *events: Event) -> int:
    done = await meeting.do(runs.receive, {meeting.room.nid: events})
    return int(done[meeting.room.nid])


async def chain(meeting: Meeting, count: int) -> list[Event]:
    """Messages of carol that follow each other."""
    state, events = await meeting.remote.state(meeting.joined), [meeting.joined.event]
    for _ in range(count):
        previous = events[-1:]
        events.append(meeting.remote.build(meeting.room, previous, state, "m.room.message", CAROL, TEXT))
    return events[1:]


@ensureDeferred
async def test_a_chain_is_one_transaction(meeting: Meeting, runs: RunReceiver, changes: list[Change]) -> None:
    """All of it is shown in order, and the last one is the only extremity."""
    events = await chain(meeting, 20)
    changes.clear()
    assert await receive(meeting, runs, *events) == len(events)
    stored = [meeting.world.events.cached([one.event_nid or 0]) for one in changes if one.kind is Kind.EVENT]
    assert [one.event_id for found in stored for one in found.values()] == [one.event_id for one in events]
    assert [tip.event_id for tip in await meeting.remote.head(meeting.room)] == [events[-1].event_id]
    assert await receive(meeting, runs, *events) == len(events)


@ensureDeferred
async def test_what_needs_more_ends_the_run(meeting: Meeting, runs: RunReceiver) -> None:
    """An event whose previous ones are unknown is not put into the room, nor is what comes after it."""
    events = await chain(meeting, 4)
    assert await receive(meeting, runs, events[0], events[2], events[1]) == 1
    assert await receive(meeting, runs, events[1], events[2]) == 2


@ensureDeferred
async def test_what_leans_on_a_rejected_event_ends_the_run(meeting: Meeting, runs: RunReceiver) -> None:
    """Also if the rules would allow it: `rooms.receive` says what it is."""
    state = await meeting.remote.state(meeting.joined)
    forged = meeting.remote.build(
        meeting.room, [meeting.joined.event], state, "m.room.power_levels", CAROL, {"users": {DAVE: 100}}, ""
    )
    assert (await meeting.remote.receive(meeting.room, forged)).standing is Standing.REJECTED
    state[LEVELS] = forged
    event = meeting.remote.build(meeting.room, [meeting.joined.event], state, "m.room.message", CAROL, TEXT)
    assert await receive(meeting, runs, event) == 0


@ensureDeferred
async def test_a_redaction_in_the_run_empties_its_target(meeting: Meeting, runs: RunReceiver) -> None:
    """Whether the target comes before it in the same run, or the redaction has waited."""
    said, late = await chain(meeting, 2)
    state = await meeting.remote.state(meeting.joined)
    content = {"redacts": said.event_id} if meeting.room.version.redacts_in_content else {}
    redaction = meeting.remote.build(
        meeting.room, [said], state, "m.room.redaction", CAROL, content, redacts=said.event_id
    )
    content = {"redacts": late.event_id} if meeting.room.version.redacts_in_content else {}
    early = meeting.remote.build(
        meeting.room, [redaction], state, "m.room.redaction", CAROL, content, redacts=late.event_id
    )
    assert await receive(meeting, runs, said, redaction, early, late) == 3
    assert await receive(meeting, runs, late) == 1

    def emptied(txn: Transaction) -> set[str]:
        nids = [one.nid for one in meeting.world.events.by_ids(txn, [said.event_id, late.event_id]).values()]
        found = meeting.world.events.redactions(txn, nids)
        return {one.event_id for one in found.values()}

    assert await meeting.database.read(emptied) == {redaction.event_id, early.event_id}


@ensureDeferred
async def test_a_room_that_is_being_written_to_is_stepped_over(meeting: Meeting, runs: RunReceiver) -> None:
    """Nobody waits for its lock: it gets nothing now."""
    (said,) = await chain(meeting, 1)

    def hold(txn: Transaction) -> None:
        txn.rows("SELECT FROM rooms WHERE room_nid = %s FOR UPDATE", (meeting.room.nid,))

    other = meeting.database
    connection = other._pool.acquire()
    try:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            hold(Transaction(cursor))
            assert await receive(meeting, runs, said) == 0
            cursor.execute("ROLLBACK")
    finally:
        other._pool.release(connection)
    assert await receive(meeting, runs, said) == 1


@pytest.mark.parametrize("seed", range(4))
@ensureDeferred
async def test_as_one_by_one(meeting: Meeting, runs: RunReceiver, seed: int) -> None:
    """In random histories with branches, bans and topics each event that a run takes becomes what `receive` makes of it."""
    await meeting.levels()
    random = Random(seed)
    (head,) = await meeting.remote.head(meeting.room)
    stored, taken = [head], 0
    for _ in range(STEPS):
        event = await _next(meeting, stored, random)
        by_run = await _tried(meeting, runs, event)
        one = await meeting.remote.receive(meeting.room, event)
        if by_run is not None:
            taken += 1
            assert by_run == await meeting.do(_seen, meeting, one)
        stored.append(one)
    await meeting.remote.current(meeting.room)
    assert STEPS // 5 < taken < STEPS


async def _next(meeting: Meeting, stored: list[StoredEvent], random: Random) -> Event:
    tips = await meeting.remote.head(meeting.room)
    accepted = [one for one in stored[-6:] if one.standing is Standing.ACCEPTED]
    previous = random.choice([tips, tips, random.sample(accepted, 1), random.sample(tips, 1)])
    state = await meeting.remote.state(previous[-1])
    sender = random.choice([CAROL, CAROL, DAVE])
    kind, content, state_key = random.choice(
        [
            ("m.room.message", TEXT, None),
            ("m.room.message", TEXT, None),
            ("m.room.topic", {"topic": str(random.random())}, ""),
            ("m.room.name", {"name": "by nobody"}, ""),
            ("m.room.member", {"membership": random.choice(["ban", "leave", "join"])}, DAVE),
        ]
    )
    if content.get("membership") == "join":
        sender = DAVE
    events = [one.event for one in previous]
    return meeting.remote.build(meeting.room, events, state, kind, sender, dict(content), state_key)


Seen = tuple[Any, ...]


def _seen(txn: Transaction, meeting: Meeting, stored: StoredEvent) -> Seen:
    """What the room is with the event; nids of the event itself differ from one transaction to the next."""
    head = read_head(txn, meeting.room.nid)
    assert head is not None
    ids = meeting.world.events.ids_of(txn, head.extremities)

    def state(nid: int | None) -> Mapping[StateKey, str]:
        whole = meeting.world.state.whole(txn, nid)
        names = meeting.world.events.ids_of(txn, whole.values())
        return {key: names[one] for key, one in whole.items()}

    current = txn.rows(
        "SELECT type, state_key, (SELECT event_id FROM events e WHERE e.event_nid = c.event_nid)"
        " FROM current_state c WHERE room_nid = %s ORDER BY type, state_key",
        (meeting.room.nid,),
    )
    return (
        stored.standing, stored.replaces_nid, state(stored.before_nid), state(stored.after_nid),
        sorted(ids.values()), head.depth, state(head.snapshot_nid), current,
    )  # fmt: skip


async def _tried(meeting: Meeting, runs: RunReceiver, event: Event) -> Seen | None:
    """What the run would make of the event; None: it does not take it."""

    def attempt(txn: Transaction) -> None:
        if runs.receive(txn, {meeting.room.nid: [event]})[meeting.room.nid]:
            stored = meeting.world.events.by_ids(txn, [event.event_id])[event.event_id]
            raise RolledBackError(_seen(txn, meeting, stored))

    try:
        await meeting.do(attempt)
    except RolledBackError as error:
        seen: Seen = error.args[0]
        return seen
    return None
