"""Tasks whose steps only write down what they did, into a ledger that forbids nothing."""

from attrs import frozen
from pydantic import PositiveInt

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import Kind
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.outcome import Done, Later, Next, Outcome
from synapse_lite.tasks.specs import TaskSpec, TaskView

ACTIONS = ("copy", "move", "tidy")
NOBODYS = "unknown"
ITEMS_PER_STEP = 5
GATE = 4711
"""An advisory lock: whoever holds it keeps the steps inside that wait for it."""

REST_SECONDS = 0.05
ROOMS = ("anna", "ben", "cleo", "dora", "first", "second")
"""A room for each worker, by its index."""


class AppendParams(TaskModel):
    """`pause`: seconds that a statement takes, in each step, after its items are written.

    `lock`: at most one active task for each. `rests`: the task gives its slot back now and then.
    `held`: name of the worker whose steps wait at the gate.
    """

    items: PositiveInt
    pause: float = 0
    lock: str | None = None
    rests: bool = False
    held: str | None = None


class AppendCursor(TaskModel):
    """The next item."""

    item: int


def spec(action: str) -> TaskSpec[AppendParams, AppendCursor]:
    """Never given up: ten processes in a row may be killed at the same step."""
    return TaskSpec(
        action=action,
        version=1,
        params=AppendParams,
        cursor=AppendCursor,
        lock=lambda params: params.lock,
        max_attempts=1000,
        needs_admin=False,
    )


def _send_event(txn: Transaction, task_id: str, worker: str) -> None:
    """As much of an event as a follower looks at."""
    event_nid = txn.value("SELECT nextval('event_nids')")
    txn.execute(
        "INSERT INTO events (event_nid, room_nid, event_id, type, sender, depth, origin_server_ts, received_ts,"
        " before_nid, after_nid, json) VALUES (%s, %s, %s, 'm.room.message', %s, 1, %s, %s, 0, 0, %s)",
        (event_nid, ROOMS.index(worker), f"${event_nid}", f"@{worker}:x", event_nid, event_nid, task_id),
    )
    txn.publish(Kind.EVENT, room_nid=ROOMS.index(worker), event_nid=event_nid)


@frozen
class Append:
    """Appends the items of a task to the ledger, as `worker`."""

    action: str
    worker: str

    def step(self, txn: Transaction, task: TaskView[AppendParams, AppendCursor]) -> Outcome:
        params = task.params
        first = 0 if task.cursor is None else task.cursor.item
        after = min(first + ITEMS_PER_STEP, params.items)
        items = range(first, after)
        txn.insert(
            "INSERT INTO ledger (task_id, item, action, worker) VALUES %s",
            [(task.id, item, self.action, self.worker) for item in items],
        )
        _send_event(txn, task.id, self.worker)
        if params.held == self.worker:
            txn.execute("SELECT pg_advisory_xact_lock_shared(%s)", (GATE,))
        txn.execute("SELECT pg_sleep(%s)", (params.pause,))
        if after == params.items:
            return Done(done=len(items))
        if params.rests and after % (2 * ITEMS_PER_STEP) == 0:
            return Later(AppendCursor(item=after), REST_SECONDS, done=len(items))
        return Next(AppendCursor(item=after), done=len(items), total=params.items)
