"""Purging the history of a room: what goes, what stays, and that the room goes on."""

from collections.abc import Sequence
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.storage import last_leaves, purge, rooms
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import StoredEvent
from synapse_lite.storage.purge_boundary import event_at_time
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.state import NidMap
from synapse_lite.storage.stream import Kind
from synapse_lite.storage.tasks import Status, Task
from synapse_lite.tasks.actions import purge_history
from synapse_lite.tasks.actions.purge_history import PURGE_HISTORY, PurgeHistoryParams
from synapse_lite.tasks.outcome import Next
from tests.builders import ALICE, BOB, SERVER, World
from tests.tasks.remains import contents
from tests.tasks.steps import Crash, Steps

versions = pytest.mark.parametrize("version", ["10", "12"])
REMOTE = "@remote:elsewhere.test"
CAROL = f"@carol:{SERVER}"


class Past:
    """A room with a past: twenty rounds of a local message, a remote one and a topic, then an edge, then five."""

    def __init__(self, txn: Transaction, world: World, version: str) -> None:
        self.room: Room = world.room(txn, ALICE, BOB, REMOTE, CAROL, version=version)
        self.local: list[StoredEvent] = []
        self.remote: list[StoredEvent] = []
        self.topics: list[StoredEvent] = []
        for number in range(20):
            self.local.append(world.message(txn, self.room, BOB, f"ours {number}"))
            self.remote.append(world.message(txn, self.room, REMOTE, f"theirs {number}"))
            topic = {"topic": f"number {number}"}
            self.topics.append(world.send(txn, self.room, "m.room.topic", ALICE, topic, state_key=""))
        world.member(txn, self.room, CAROL, CAROL, "leave")
        self.edge: StoredEvent = world.message(txn, self.room, BOB, "the edge")
        self.later: list[StoredEvent] = [world.message(txn, self.room, BOB) for _ in range(5)]

    @property
    def depth(self) -> int:
        return self.edge.event.depth


async def past(steps: Steps, version: str = "12") -> Past:
    return await steps.do(Past, steps.world, version)


async def purge_past(steps: Steps, found: Past, batch: int = 100, **params: Any) -> Task:
    wanted = PurgeHistoryParams(room_id=found.room.room_id, depth=found.depth, **params)
    return await steps.run(PURGE_HISTORY, wanted, batch)


async def stored(steps: Steps, events: Sequence[StoredEvent]) -> list[bool]:
    nids = [event.nid for event in events]
    rows = await steps.do(
        lambda txn: txn.rows("SELECT event_nid FROM events WHERE event_nid = ANY(%s)", (nids,))
    )
    return [(nid,) in rows for nid in nids]


async def shown(steps: Steps, room: Room) -> list[int]:
    """The events that pages show, oldest first."""
    rows = await steps.do(
        lambda txn: txn.rows(
            f"SELECT event_nid FROM stream WHERE room_nid = %s AND kind = {Kind.EVENT:d} ORDER BY position",
            (room.nid,),
        )
    )
    return [nid for (nid,) in rows]


def states(txn: Transaction, room: Room) -> dict[int, tuple[NidMap, NidMap]]:
    """The state around each event that pages show, as a process without memory reads it."""
    state = World().state
    rows = txn.rows(
        "SELECT event_nid, before_nid, after_nid FROM events JOIN stream USING (event_nid)"
        f" WHERE events.room_nid = %s AND kind = {Kind.EVENT:d}",
        (room.nid,),
    )
    return {nid: (state.whole(txn, before), state.whole(txn, after)) for nid, before, after in rows}


@ensureDeferred
async def test_the_total_grows_while_it_is_counted(steps: Steps) -> None:
    """Whoever looks on sees that counting goes on."""
    found = await past(steps)
    params = PurgeHistoryParams(room_id=found.room.room_id, depth=found.depth)
    totals = await steps.totals(PURGE_HISTORY, params)
    assert len(totals) > 2
    assert totals == sorted(set(totals))


@versions
@ensureDeferred
async def test_what_goes_and_what_stays(steps: Steps, version: str) -> None:
    """Remote messages go, ours stay out of sight; state stays; the page ends at the edge."""
    found = await past(steps, version)
    before = await steps.do(states, found.room)
    task = await purge_past(steps, found)
    assert (task.status, task.error) == (Status.COMPLETE, None)
    assert task.result is not None
    assert (task.result["local_events"], task.result["remote_events"]) == (0, 20)
    assert not any(await stored(steps, found.remote))
    assert all(await stored(steps, [*found.local, *found.topics, found.edge, *found.later]))
    assert await shown(steps, found.room) == [event.nid for event in (found.edge, *found.later)]
    after = await steps.do(states, found.room)
    assert after == {nid: before[nid] for nid in after}


@versions
@ensureDeferred
async def test_local_events_and_snapshots_go_when_asked(steps: Steps, version: str) -> None:
    """With `delete_local_events` ours go too, and with them the snapshots that nobody can ask for any more."""
    found = await past(steps, version)
    count = "SELECT count(*) FROM state_snapshots"
    snapshots = await steps.do(lambda txn: txn.value(count))
    before = await steps.do(states, found.room)
    task = await purge_past(steps, found, batch=10, delete_local_events=True)
    assert task.result is not None
    assert (task.result["local_events"], task.result["remote_events"]) == (20, 20)
    assert not any(await stored(steps, [*found.local, *found.remote]))
    assert all(await stored(steps, found.topics))
    freed = task.result["freed_snapshots"]
    assert freed > 10
    assert await steps.do(lambda txn: txn.value(count)) == snapshots - freed
    assert await steps.do(lambda txn: txn.value("SELECT count(*) FROM snapshot_candidates")) == 0
    after = await steps.do(states, found.room)
    assert after == {nid: before[nid] for nid in after}
    departure = await steps.do(_departure, found.room)
    assert departure is not None
    whole = await steps.do(lambda txn: World().state.whole(txn, departure.after_nid))
    assert whole["m.room.topic", ""] == found.topics[-1].nid


@pytest.mark.parametrize("dry_run", [False, True])
@ensureDeferred
async def test_a_step_in_pieces(steps: Steps, monkeypatch: pytest.MonkeyPatch, dry_run: bool) -> None:
    """A step reads and deletes a few events at once, rests, and goes on; the last piece is not the step's last."""
    rests: list[None] = []
    monkeypatch.setattr(purge_history, "ROWS_AT_ONCE", 7)
    monkeypatch.setattr(purge_history, "rest", lambda: rests.append(None))
    found = await past(steps)
    task = await purge_past(steps, found, delete_local_events=True, dry_run=dry_run)
    assert (task.status, task.error) == (Status.COMPLETE, None)
    assert task.result is not None
    assert (task.result["local_events"], task.result["remote_events"]) == (20, 20)
    assert task.done == task.total
    assert await stored(steps, [*found.local, *found.remote]) == [dry_run] * 40
    assert all(await stored(steps, [*found.topics, found.edge, *found.later]))
    assert len(rests) >= 60 // 7


def _departure(txn: Transaction, room: Room) -> last_leaves.LastLeave | None:
    member = rooms.membership_in(txn, room.nid, CAROL)
    assert member is not None
    return last_leaves.last_leave(txn, member.event_nid)


@versions
@ensureDeferred
async def test_the_room_goes_on_meanwhile(steps: Steps, version: str) -> None:
    """Messages and state between all steps, each in a process without memory, and steps that die: all is consistent."""
    found = await past(steps, version)
    params = PurgeHistoryParams(room_id=found.room.room_id, depth=found.depth, delete_local_events=True)
    task_id = await steps.ask(PURGE_HISTORY, params)
    lease = await steps.claim(PURGE_HISTORY)
    number = 0
    outcome: Any = None
    while number == 0 or isinstance(outcome, Next):
        fresh = World(steps.clock)
        await steps.do(fresh.message, found.room, BOB)
        await steps.do(
            fresh.send, found.room, "m.room.topic", ALICE, {"topic": f"new {number}"}, state_key=""
        )
        with pytest.raises(Crash):
            await steps.step(PURGE_HISTORY, lease, 10, crash=True)
        outcome = await steps.step(PURGE_HISTORY, lease, 10)
        number += 1
    assert number > 10
    assert (await steps.task(task_id)).status is Status.COMPLETE
    after = await steps.do(states, found.room)
    assert len(after) == 6 + 2 * number
    topics = {state["m.room.topic", ""] for _, state in after.values()}
    assert len(topics) == number + 1
    await steps.do(World(steps.clock).message, found.room, BOB)


@ensureDeferred
async def test_a_dry_run_changes_nothing(steps: Steps) -> None:
    """The counts are those of the purge."""
    found = await past(steps)
    before = await steps.do(contents, found.room)
    dry = await purge_past(steps, found, batch=10, delete_local_events=True, dry_run=True)
    assert await steps.do(contents, found.room) == before
    real = await purge_past(steps, found, delete_local_events=True)
    assert dry.result is not None
    assert real.result is not None
    assert dry.result == {**real.result, "dry_run": True, "freed_snapshots": 0}


@ensureDeferred
async def test_what_was_redacted_stays_so(steps: Steps) -> None:
    """A redaction stays with what it redacts, and goes with it."""

    def make(txn: Transaction) -> tuple[Room, list[StoredEvent], int]:
        world = steps.world
        room = world.room(txn, ALICE, BOB, REMOTE)
        ours, theirs = world.message(txn, room, BOB, "secret"), world.message(txn, room, REMOTE)
        name = world.send(txn, room, "m.room.name", ALICE, {"name": "bad"}, state_key="")
        redactions = [
            world.send(txn, room, "m.room.redaction", ALICE, {}, redacts=target.event.event_id)
            for target in (ours, theirs, name)
        ]
        edge = world.message(txn, room, BOB)
        return room, [ours, theirs, name, *redactions], edge.event.depth

    room, events, depth = await steps.do(make)
    wanted = PurgeHistoryParams(room_id=room.room_id, depth=depth)
    await steps.run(PURGE_HISTORY, wanted)
    assert await stored(steps, events) == [True, False, True, True, True, True]
    applied = "SELECT target_nid FROM redactions ORDER BY 1"
    ours, _, name = events[:3]
    assert await steps.do(lambda txn: txn.rows(applied)) == [(ours.nid,), (name.nid,)]
    again = PurgeHistoryParams(room_id=room.room_id, depth=depth, delete_local_events=True)
    await steps.run(PURGE_HISTORY, again)
    assert await stored(steps, events) == [False, False, True, False, False, True]
    assert await steps.do(lambda txn: txn.rows(applied)) == [(name.nid,)]


@ensureDeferred
async def test_forward_extremities_stay(steps: Steps) -> None:
    """An event that nothing follows yet is needed, however deep it lies."""
    found = await past(steps)

    def fork(txn: Transaction) -> None:
        tip = found.remote[3].nid
        txn.execute(
            "UPDATE rooms SET extremities = extremities || %s::bigint WHERE room_nid = %s",
            (tip, found.room.nid),
        )

    await steps.do(fork)
    await purge_past(steps, found, delete_local_events=True)
    assert (await stored(steps, found.remote)).count(True) == 1
    await steps.do(World(steps.clock).message, found.room, BOB)


@ensureDeferred
async def test_by_time_what_has_no_position_goes_too(steps: Steps) -> None:
    """What was soft-failed, or only joined branches, is in no page, and stayed for ever."""
    found = await past(steps)
    unplaced = [found.remote[3], found.remote[19], found.later[0]]

    def age(txn: Transaction) -> None:
        txn.execute(
            "UPDATE events SET received_ts = 1 WHERE room_nid = %s AND depth < %s",
            (found.room.nid, found.depth),
        )
        txn.execute("DELETE FROM stream WHERE event_nid = ANY(%s)", ([one.nid for one in unplaced],))

    await steps.do(age)
    wanted = PurgeHistoryParams(room_id=found.room.room_id, received_until=1, delete_local_events=True)
    task = await steps.run(PURGE_HISTORY, wanted, 7)
    assert (task.status, task.done) == (Status.COMPLETE, task.total)
    assert await stored(steps, unplaced) == [False, False, True]
    assert await stored(steps, [*found.local, *found.remote]) == [False] * 40
    assert await stored(steps, found.topics) == [True] * 20


@ensureDeferred
async def test_an_unknown_room(steps: Steps) -> None:
    """The task fails with a reason."""
    task = await steps.run(PURGE_HISTORY, PurgeHistoryParams(room_id=f"!gone:{SERVER}", depth=5))
    assert (task.status, task.error) == (Status.FAILED, "The room is unknown")


@ensureDeferred
async def test_the_point_by_time(steps: Steps) -> None:
    """The last event that was received until then, among those of other rooms."""
    found, other = await past(steps), await past(steps)
    assert found.room.nid != other.room.nid

    def look(txn: Transaction) -> None:
        rows = txn.rows(
            "SELECT e.depth, s.position, e.received_ts FROM stream s JOIN events e USING (event_nid)"
            " WHERE s.room_nid = %s ORDER BY s.position",
            (found.room.nid,),
        )
        for depth, position, received_ts in rows:
            assert event_at_time(txn, found.room.nid, received_ts) == (depth, position)
        assert event_at_time(txn, found.room.nid, rows[0][2] - 1) is None
        assert event_at_time(txn, found.room.nid, 10**15) == rows[-1][:2]

    await steps.do(look)


@ensureDeferred
async def test_the_purged_room_can_be_purged(steps: Steps) -> None:
    """What was kept below the edge goes with the room."""
    found = await past(steps)
    await purge_past(steps, found)

    def delete(txn: Transaction) -> None:
        for table in purge.TABLES:
            assert purge.delete_slice(txn, table, found.room.nid, (), 10_000, SERVER).last is None
        assert purge.delete_room(txn, found.room.nid)

    await steps.do(delete)
    assert await steps.do(lambda txn: txn.value("SELECT count(*) FROM events")) == 0
