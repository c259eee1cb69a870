"""Statements of those who ask: enqueue, cancel, and try again what has ended."""

from collections.abc import Sequence

from attrs import asdict

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.tasks.children import pending_children, wake_parents
from synapse_lite.storage.tasks.records import record_transition, record_transitions
from synapse_lite.storage.tasks.rows import NewTask, Transition

_INSERT = """
INSERT INTO scheduled_tasks (id, action, version, requester, endpoint, resource_id, unique_key, lock_key,
    priority, max_attempts, params, run_at, created_at, updated_at, parent_id)
VALUES (%(id)s, %(action)s, %(version)s, %(requester)s, %(endpoint)s, %(resource_id)s, %(unique_key)s,
    %(lock_key)s, %(priority)s, %(max_attempts)s, %(params)s, coalesce(%(run_at_ms)s, now_ms()), now_ms(), now_ms(),
    %(parent_id)s)
ON CONFLICT (action, unique_key) WHERE status IN ('scheduled', 'active')
    DO UPDATE SET unique_key = excluded.unique_key -- changes nothing, but returns the row
RETURNING id
"""

_REOPEN = """
UPDATE scheduled_tasks SET status = 'scheduled', attempt = 0, result = NULL, error = NULL, finished_at = NULL,
    cancel_requested_at = NULL, claimed_at = NULL, run_at = now_ms(), updated_at = now_ms(), requester = %s
WHERE id = ANY(%s) AND finished_at IS NOT NULL RETURNING id
"""

# A part that is pending again by another request is left to that.
_REOPENABLE_PARTS = """
SELECT id FROM scheduled_tasks p WHERE parent_id = ANY(%s) AND status IN ('failed', 'cancelled')
    AND NOT EXISTS (SELECT FROM scheduled_tasks o WHERE o.status IN ('scheduled', 'active')
        AND (o.action, o.unique_key) = (p.action, p.unique_key))
ORDER BY id
"""

_REPEAT = """
INSERT INTO scheduled_tasks (id, action, version, requester, endpoint, resource_id, unique_key, lock_key,
    priority, max_attempts, params, run_at, created_at, updated_at)
SELECT %(new_id)s, action, version, %(requester)s, %(endpoint)s, resource_id, unique_key, lock_key,
    priority, max_attempts, params, now_ms(), now_ms(), now_ms()
FROM scheduled_tasks WHERE id = %(id)s
"""

# A task that has begun is left to a live runner, if there is one, so that its handler can tidy up.
_CANCEL = """
WITH before AS (
    SELECT t.id, t.status, t.status = 'active' OR t.cursor IS NOT NULL AND EXISTS (
        SELECT 1 FROM task_runner_actions a JOIN task_runners r USING (runner)
        WHERE (a.action, a.version) = (t.action, t.version) AND r.expires_at > (SELECT now_ms())) AS begun
    FROM scheduled_tasks t WHERE t.id = ANY(%s) AND t.status IN ('scheduled', 'active')
    ORDER BY t.id FOR NO KEY UPDATE)
UPDATE scheduled_tasks t SET cancel_requested_at = coalesce(cancel_requested_at, now_ms()), updated_at = now_ms(),
    run_at = least(run_at, now_ms()),
    status = CASE WHEN before.begun THEN t.status ELSE 'cancelled' END,
    finished_at = CASE WHEN before.begun THEN NULL ELSE now_ms() END
FROM before WHERE t.id = before.id
RETURNING t.id, t.status
"""


def enqueue(txn: Transaction, task: NewTask) -> str:
    """The task's id; another one when a task of its action and unique key is pending already."""
    task_id: str = txn.value(_INSERT, asdict(task))
    if task_id == task.id:
        record_transition(
            txn, task_id, Transition.ENQUEUED, detail=f"{task.requester} through {task.endpoint}"
        )
    return task_id


def hasten(txn: Transaction, action: str, unique_key: str) -> None:
    """What waits for its time begins now."""
    txn.execute(
        "UPDATE scheduled_tasks SET run_at = now_ms(), updated_at = now_ms()"
        " WHERE action = %s AND unique_key = %s AND status = 'scheduled' AND run_at > now_ms()",
        (action, unique_key),
    )


def bring_forward(txn: Transaction, task_id: str, run_at_ms: int) -> None:
    """What waits for its time begins then, unless it begins before."""
    txn.later(
        "UPDATE scheduled_tasks SET run_at = %s, updated_at = now_ms()"
        " WHERE id = %s AND status = 'scheduled' AND run_at > %s",
        (run_at_ms, task_id, run_at_ms),
    )


def withdraw(txn: Transaction, task_id: str) -> None:
    """What has not begun is no longer to do, and was never asked for."""
    txn.later("DELETE FROM scheduled_tasks WHERE id = %s AND status = 'scheduled'", (task_id,))


def amend(txn: Transaction, action: str, unique_key: str, params: str) -> None:
    """Something else is wanted of a pending task: the params that are named (JSON). A step that is under way has the old ones."""
    txn.execute(
        "UPDATE scheduled_tasks SET params = (params::jsonb || %s::jsonb)::json, updated_at = now_ms()"
        " WHERE action = %s AND unique_key = %s AND status IN ('scheduled', 'active')",
        (params, action, unique_key),
    )


def pending_params(txn: Transaction, action: str, unique_key: str) -> str | None:
    """As JSON; None: no such task is pending."""
    params: str | None = txn.value(
        "SELECT params::text FROM scheduled_tasks"
        " WHERE action = %s AND unique_key = %s AND status IN ('scheduled', 'active')",
        (action, unique_key),
    )
    return params


def request_cancel(txn: Transaction, task_id: str) -> None:
    """Cancel a pending task with its parts, at once or at their next step; nothing for others."""
    _cancel_all(txn, [task_id])


def cancel_parts(txn: Transaction, task_id: str) -> None:
    """As `request_cancel`, the parts alone."""
    _cancel_all(txn, pending_children(txn, [task_id]))


def _cancel_all(txn: Transaction, task_ids: Sequence[str]) -> None:
    """All of one level together, since there may be thousands; then their parts."""
    while task_ids:
        statuses: dict[str, str] = dict(txn.rows(_CANCEL, (list(task_ids),)))
        cancelled = [task_id for task_id, status in statuses.items() if status == "cancelled"]
        record_transitions(txn, cancelled, Transition.CANCELLED)
        record_transitions(txn, sorted(statuses.keys() - cancelled), Transition.CANCEL_REQUESTED)
        wake_parents(txn, cancelled)
        task_ids = pending_children(txn, statuses.keys())


def interrupt_cancelled(txn: Transaction, grace_ms: int) -> list[str]:
    """Stop the statements of steps whose cancel is older than the grace period; the ids of the tasks."""
    rows = txn.rows(
        "SELECT id FROM scheduled_tasks WHERE status = 'active' AND cancel_requested_at < (SELECT now_ms()) - %s",
        (grace_ms,),
    )
    if not rows:
        return []
    names = [f"task {task_id}" for (task_id,) in rows]
    # Not as a condition: conditions are tested in any order.
    stopped = txn.rows(
        "SELECT application_name, pg_cancel_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = ANY(%s) AND state = 'active' AND datname = current_database()",
        (names,),
    )
    return [name.removeprefix("task ") for name, was_stopped in stopped if was_stopped]


def reopen(txn: Transaction, task_id: str, *, requester: str) -> None:
    """A task that has ended goes on from its cursor, on behalf of who asks now; `UniqueViolation` when its unique key is pending.

    So do those of its parts that failed or were cancelled.
    """
    task_ids = [task_id]
    while task_ids:
        reopened = [one for (one,) in txn.rows(_REOPEN, (requester, task_ids))]
        record_transitions(txn, reopened, Transition.REOPENED, detail=f"by {requester}")
        task_ids = [part_id for (part_id,) in txn.rows(_REOPENABLE_PARTS, (reopened,))]


def repeat(txn: Transaction, task_id: str, new_id: str, *, requester: str, endpoint: str) -> None:
    """A new task like that one; `UniqueViolation` when its unique key is pending."""
    arguments = {"id": task_id, "new_id": new_id, "requester": requester, "endpoint": endpoint}
    if txn.execute(_REPEAT, arguments):
        detail = f"{requester} through {endpoint}, as {task_id}"
        record_transition(txn, new_id, Transition.ENQUEUED, detail=detail)
