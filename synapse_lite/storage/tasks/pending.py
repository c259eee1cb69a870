"""Statements of those who ask: enqueue and cancel."""

from attrs import asdict

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.tasks.records import record_transition
from synapse_lite.storage.tasks.rows import NewTask, Transition

_INSERT = """
INSERT INTO scheduled_tasks (id, action, version, requester, endpoint, resource_id, unique_key, lock_key,
    priority, max_attempts, params, run_at, created_at, updated_at)
VALUES (%(id)s, %(action)s, %(version)s, %(requester)s, %(endpoint)s, %(resource_id)s, %(unique_key)s,
    %(lock_key)s, %(priority)s, %(max_attempts)s, %(params)s, coalesce(%(run_at_ms)s, now_ms()), now_ms(), now_ms())
ON CONFLICT (action, unique_key) WHERE status IN ('scheduled', 'active')
    DO UPDATE SET unique_key = excluded.unique_key -- changes nothing, but returns the row
RETURNING id
"""

# A task that has begun is left to a live runner, if there is one, so that its handler can tidy up.
_CANCEL = """
WITH before AS (
    SELECT t.id, t.status, t.status = 'active' OR t.cursor IS NOT NULL AND EXISTS (
        SELECT 1 FROM task_runner_actions a JOIN task_runners r USING (runner)
        WHERE (a.action, a.version) = (t.action, t.version) AND r.expires_at > now_ms()) AS begun
    FROM scheduled_tasks t WHERE t.id = %(id)s AND t.status IN ('scheduled', 'active')
    FOR NO KEY UPDATE)
UPDATE scheduled_tasks t SET cancel_requested_at = coalesce(cancel_requested_at, now_ms()), updated_at = now_ms(),
    run_at = least(run_at, now_ms()),
    status = CASE WHEN before.begun THEN t.status ELSE 'cancelled' END,
    finished_at = CASE WHEN before.begun THEN NULL ELSE now_ms() END
FROM before WHERE t.id = before.id
RETURNING t.status
"""


def enqueue(txn: Transaction, task: NewTask) -> str:
    """The task's id; another one when a task of its action and unique key is pending already."""
    task_id: str = txn.value(_INSERT, asdict(task))
    if task_id == task.id:
        record_transition(
            txn, task_id, Transition.ENQUEUED, detail=f"{task.requester} through {task.endpoint}"
        )
    return task_id


def request_cancel(txn: Transaction, task_id: str) -> None:
    """Cancel a pending task, at once or at its next step; nothing for others."""
    status = txn.value(_CANCEL, {"id": task_id})
    if status is not None:
        cancelled = status == "cancelled"
        record_transition(txn, task_id, Transition.CANCELLED if cancelled else Transition.CANCEL_REQUESTED)
