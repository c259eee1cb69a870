"""Purges under faults: of a whole room, and of a room's history, with a PostgreSQL that crashes."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.seed_room import Plan
from synapse_lite.cli.demo.connection import Connection
from synapse_lite.cli.demo.reading import read_events
from synapse_lite.cli.demo.traffic import room_path
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.stream import Kind
from tests.chaos.faults import KINDS, Faults
from tests.chaos.scene import Scene
from tests.processes.site import Task
from tests.tasks.remains import contents, remains, traces

BYSTANDERS = (Plan(200, 20), Plan(300, 10, state_every=2))
ROWS_AN_EVENT = 3  # at least: itself, its position, its transaction id
KEPT_SHARE = 5  # of the history, one event of so many stays
MOST = 0.8  # of the faults
SAMPLED = 20  # of the events that stay, the state at one of so many is compared

Rows = Mapping[str, Sequence[str]]  # of each table

_TOLD = (
    "SELECT user_id, count(*) FROM stream"
    f" WHERE room_nid = %s AND kind = {Kind.ROOM_GONE:d} AND user_id IS NOT NULL GROUP BY user_id"
)
_STEPS_TOLD = f"SELECT count(*) FROM stream WHERE room_nid = %s AND kind = {Kind.AMENDED:d} AND key IS NULL"


class TooFastError(AssertionError):
    """The task had ended before enough faults fell on it: nothing was wrong, and little was shown."""


def purge_room(scene: Scene, plan: Plan, faults: Faults, count: int) -> str:
    """A summary. AssertionError unless everything of the room is gone, once, and nothing else is touched."""
    others = [scene.seeder.seed(bystander) for bystander in BYSTANDERS]
    room = scene.seeder.seed(plan)
    scene.seeder.close()
    scene.wait_for_followers()
    gone = scene.session.read(traces, room)
    before = [scene.session.read(contents, other) for other in others]

    began = time.monotonic()
    task_id = scene.ask("DELETE", f"/_synapse/admin/v2/rooms/{room.room_id}")["delete_id"]
    faults.inject(task_id, count, plan.events * ROWS_AN_EVENT)
    task = faults.settle(task_id)
    seconds = time.monotonic() - began

    assert (task.status, task.error) == ("complete", None)
    left = scene.session.read(remains, gone)
    assert left == {}, left
    after = [scene.session.read(contents, other) for other in others]
    changed = [difference for pair in zip(before, after, strict=True) for difference in _changed(*pair)]
    assert not changed, f"another room has changed: {changed}"
    assert task.result is not None
    kicked, rows = task.result["kicked"], task.result["rows"]
    items = scene.site.rows("SELECT outcome, count(*) FROM task_items WHERE task_id = %s GROUP BY 1", task_id)
    assert (kicked, task.result["failed_to_kick"], items) == (plan.members, 0, [("kicked", plan.members)])
    assert rows["events"] == plan.events + plan.members, "each member leaves once, each event goes once"
    told = dict(scene.site.rows(_TOLD, room.nid))
    assert len(told) == plan.members
    assert set(told.values()) == {1}, "members are told of their leave once"
    _check_faults(scene, faults, count)
    return _summary("a room", task, faults, seconds)


def _changed(before: Rows, after: Rows) -> Iterator[tuple[str, list[str]]]:
    """Tables, and the rows that only one of both has."""
    for table in sorted({*before, *after}):
        if rows := {*before.get(table, ())} ^ {*after.get(table, ())}:
            yield table, sorted(rows)


def purge_history(scene: Scene, plan: Plan, faults: Faults, count: int) -> str:
    """A summary. AssertionError unless the room is like one of the same plan that was purged undisturbed."""
    rooms = [scene.seeder.seed(plan) for _ in range(2)]
    scene.seeder.close()
    for room in rooms:
        scene.ask("POST", room_path(room.room_id, "join"))
    calm = scene.site.wait_for_end(_start_history(scene, rooms[0], plan))

    began = time.monotonic()
    task_id = _start_history(scene, rooms[1], plan)
    faults.inject(task_id, count, calm.done)
    task = faults.settle(task_id)
    seconds = time.monotonic() - began

    assert (task.status, task.error) == ("complete", None)
    assert calm.result is not None
    assert min(calm.result["local_events"], calm.result["kept_events"], calm.result["freed_snapshots"]) > 0
    assert (task.result, task.done) == (calm.result, calm.done)
    with scene.admin.connect() as connection:
        views = [_view(scene, connection, room) for room in rooms]
    assert views[0] == views[1]
    _check_faults(scene, faults, count)
    return _summary("a history", task, faults, seconds)


def _start_history(scene: Scene, room: Room, plan: Plan) -> str:
    edge = scene.site.value(
        "SELECT event_id FROM events WHERE room_nid = %s AND depth >= %s AND type = 'm.room.message'"
        " ORDER BY depth LIMIT 1",
        room.nid,
        plan.events - plan.events // KEPT_SHARE,
    )
    path = f"/_synapse/admin/v1/purge_history/{room.room_id}/{edge}"
    purge_id: str = scene.ask("POST", path, delete_local_events=True)["purge_id"]
    return purge_id


def _view(scene: Scene, connection: Connection, room: Room) -> tuple[object, ...]:
    """What is left of a room: the rows of each table by number, its pages, and states on the way."""
    tables = {table: len(rows) for table, rows in scene.session.read(contents, room).items()}
    tables["stream"] -= scene.site.value(_STEPS_TOLD, room.nid)  # one of each step, and these differ
    shown = list(read_events(connection, room.room_id))
    paths = [room_path(room.room_id, f"context/{event['event_id']}?limit=0") for event in shown[::SAMPLED]]
    states = [connection.call("GET", room_path(room.room_id, "state"))]
    states += [connection.call("GET", path)["state"] for path in paths]
    return tables, [_bare(event) for event in shown], [sorted(map(_bare, state)) for state in states]


def _bare(event: dict[str, Any]) -> tuple[str, ...]:
    """Without what differs between rooms of the same plan."""
    return tuple(str(event.get(name)) for name in ("type", "state_key", "sender", "content"))


def _check_faults(scene: Scene, faults: Faults, count: int) -> None:
    """They have fallen, but for a few if the task was fast, and the main process has stood them."""
    assert scene.site.processes["main"].running.poll() is None, scene.site.processes["main"].log()
    if len(faults.done) < len(KINDS) or faults.done.total() < MOST * count:
        raise TooFastError(f"the task was faster than the faults: {faults}")


def _summary(what: str, task: Task, faults: Faults, seconds: float) -> str:
    return f"purged {what}: {task.done} rows in {seconds:.1f} s and {task.epoch} claims; {faults}"
