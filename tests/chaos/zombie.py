"""A worker that wakes up inside a step of a task that has long been another's, and finishes the step."""

import time

from tests.chaos.actions import AppendParams
from tests.chaos.ledger import Ledger
from tests.chaos.workers import Workers
from tests.processes.harness import wait_until

FIRST, SECOND = "first", "second"
ABILITIES = {FIRST: ("copy",), SECOND: ("copy",)}
ITEMS = 10  # two steps
LEASE = 60.0  # seconds: it ends by hand, and no other does


def wake_a_zombie(workers: Workers, ledger: Ledger, *, patience: float) -> tuple[str, bool]:
    """The id of the task, complete; and whether it was taken over while the first step was still open.

    The first worker freezes in the middle of a statement of its step, and its lease ends; the database has no
    idle transaction to end. For `patience` seconds the second may take the task over
    all the same. Else the statement ends, and with it, after a while, the transaction.
    """
    with ledger.gate() as open_gate:
        workers.start(FIRST)
        task_id = ledger.enqueue("copy", AppendParams(items=ITEMS, held=FIRST), announce=False)
        wait_until(ledger.is_at_gate, "a step inside the gate")
        workers.freeze(FIRST)
        ledger.expire(FIRST)
        workers.start(SECOND)
        wait_until(lambda: ledger.is_alive(SECOND), "the second worker")
        was_open = _ends_within(ledger, task_id, patience)
        if not was_open:
            open_gate()
            wait_until(lambda: ledger.has_ended(task_id), "the takeover")
        workers.thaw(FIRST)
        open_gate()
        wait_until(lambda: _is_through(workers, task_id), "the zombie's last word")
    workers.stop()
    return task_id, was_open


def _ends_within(ledger: Ledger, task_id: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not (has_ended := ledger.has_ended(task_id)) and time.monotonic() < deadline:
        ledger.announce()
        time.sleep(0.05)
    return has_ended


def _is_through(workers: Workers, task_id: str) -> bool:
    log = workers.log(FIRST)
    return any(f"task {task_id}{end}" in log for end in (" is no longer ours", " is dropped", ": done"))
