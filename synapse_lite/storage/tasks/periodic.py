"""Statements of periodic tasks, and of the end of what is no longer of interest."""

from attrs import evolve

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.tasks.pending import enqueue
from synapse_lite.storage.tasks.rows import NewTask

KEPT_RUNS = 5  # of each periodic task
_KEEP_DEAD_MS = 3_600_000

# The row lock makes one of many processes the first; a slot that was taken once is never free again.
_NEXT_SLOT = """
INSERT INTO periodic_tasks (action, slot)
SELECT %(periodic)s, (now_ms() / %(every)s + 1) * %(every)s
WHERE NOT EXISTS (SELECT FROM scheduled_tasks WHERE action = %(action)s AND status IN ('scheduled', 'active')
    AND lock_key IS NOT DISTINCT FROM %(lock_key)s)
ON CONFLICT (action) DO UPDATE SET slot = excluded.slot WHERE periodic_tasks.slot < excluded.slot
RETURNING slot
"""

_PRUNE_RUNS = """
DELETE FROM scheduled_tasks WHERE id IN (
    SELECT id FROM scheduled_tasks WHERE resource_id IS NULL AND action = %s AND finished_at IS NOT NULL
    AND lock_key IS NOT DISTINCT FROM %s ORDER BY finished_at DESC, id OFFSET %s)
"""

_PRUNE_ITEMS = """
DELETE FROM task_items WHERE ctid = ANY (ARRAY(
    SELECT i.ctid FROM scheduled_tasks t JOIN task_items i ON i.task_id = t.id
    WHERE t.finished_at < (SELECT now_ms()) - %s LIMIT %s))
"""

_PRUNE_TASKS = """
DELETE FROM scheduled_tasks WHERE id IN (
    SELECT id FROM scheduled_tasks t WHERE finished_at < (SELECT now_ms()) - %s
        AND NOT EXISTS (SELECT FROM task_items WHERE task_id = t.id)
    ORDER BY finished_at LIMIT %s FOR UPDATE SKIP LOCKED)
"""


def schedule_periodic(txn: Transaction, task: NewTask, name: str, every_ms: int) -> bool:
    """Make a row for the next slot, unless one is pending or was there already.

    Slots are the multiples of `every_ms` since 1970. The oldest runs are forgotten. Periodic tasks of one action
    have different names and lock keys.
    """
    periodic = f"{task.action} {name}".rstrip()
    arguments = {"periodic": periodic, "action": task.action, "lock_key": task.lock_key, "every": every_ms}
    slot = txn.value(_NEXT_SLOT, arguments)
    if slot is None:
        return False
    enqueue(txn, evolve(task, unique_key=f"{slot} {name}".rstrip(), run_at_ms=slot))
    txn.execute(_PRUNE_RUNS, (task.action, task.lock_key, KEPT_RUNS))
    return True


def prune_items(txn: Transaction, retention_ms: int, limit: int) -> int:
    """Delete items of tasks that ended long enough ago; how many."""
    return txn.execute(_PRUNE_ITEMS, (retention_ms, limit))


def prune_tasks(txn: Transaction, retention_ms: int, limit: int) -> int:
    """Delete tasks that ended long enough ago and have no items left; how many."""
    return txn.execute(_PRUNE_TASKS, (retention_ms, limit))


def prune_runners(txn: Transaction, limit: int) -> int:
    """Forget runners who have been dead for an hour; how many."""
    return txn.execute(
        "DELETE FROM task_runners WHERE runner IN (SELECT runner FROM task_runners"
        " WHERE expires_at < (SELECT now_ms()) - %s LIMIT %s)",
        (_KEEP_DEAD_MS, limit),
    )
