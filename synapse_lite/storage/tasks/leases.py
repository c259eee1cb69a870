"""Statements of those who work: claim a task, and write about it as long as it is ours.

Every write after the claim names the epoch that the claim gave. Whoever lost the task in between gets
`LeaseLostError`, and with it a rollback of all that the transaction did.
"""

from collections.abc import Collection, Mapping

from synapse_lite.errors import SynapseLiteError
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.tasks.children import wake_parents
from synapse_lite.storage.tasks.controls import check_room_for_one
from synapse_lite.storage.tasks.records import record_transition
from synapse_lite.storage.tasks.rows import Capability, Claimed, Fenced, Lease, Status, Transition


class LeaseLostError(SynapseLiteError):
    """The task belongs to another runner by now, or has ended."""


# SKIP LOCKED steps over a task whose owner is inside a step, whatever its lease. A task that this runner
# owns but does not run is one whose claim or release was answered by a broken connection.
_CLAIM = """
WITH next AS MATERIALIZED (
    SELECT t.id, t.owner FROM scheduled_tasks t
    WHERE (t.action, t.version) IN %(capabilities)s
      AND t.status IN ('scheduled', 'active')
      AND CASE t.status
          WHEN 'scheduled' THEN t.run_at <= (SELECT now_ms()) AND (t.lock_key IS NULL OR t.lock_key NOT IN (
              SELECT o.lock_key FROM scheduled_tasks o WHERE o.status = 'active' AND o.lock_key IS NOT NULL))
              AND t.action NOT IN (SELECT c.action FROM task_controls c WHERE c.max_running <= (
                  SELECT count(*) FROM scheduled_tasks o WHERE o.status = 'active' AND o.action = c.action))
          WHEN 'active' THEN t.id <> ALL (%(running)s::text[]) AND (t.owner = %(runner)s OR NOT EXISTS (
              SELECT 1 FROM task_runners r WHERE r.runner = t.owner AND r.expires_at > (SELECT now_ms())))
          END
      AND (t.cancel_requested_at IS NOT NULL
          OR t.action NOT IN (SELECT c.action FROM task_controls c WHERE c.paused))
      AND EXISTS (SELECT 1 FROM task_runners me WHERE me.runner = %(runner)s AND me.expires_at > (SELECT now_ms()))
    ORDER BY t.priority DESC, t.run_at, t.id LIMIT 1
    FOR UPDATE OF t SKIP LOCKED)
UPDATE scheduled_tasks t SET status = 'active', owner = %(runner)s, epoch = t.epoch + 1,
    attempt = t.attempt + (next.owner IS NOT NULL)::int, updated_at = now_ms(), claimed_at = now_ms(),
    claimed_done = t.done
FROM next WHERE t.id = next.id
RETURNING t.id, t.epoch, t.action, t.version, t.attempt, t.max_attempts, next.owner,
    next.owner IS NULL AND EXISTS (SELECT FROM task_controls c WHERE c.action = t.action AND c.max_running IS NOT NULL)
"""

_NEXT_DUE = """
SELECT min(due) - now_ms() FROM (
    SELECT CASE WHEN t.status = 'scheduled' THEN t.run_at ELSE r.expires_at END AS due
    FROM scheduled_tasks t LEFT JOIN task_runners r ON r.runner = t.owner
    WHERE t.status IN ('scheduled', 'active') AND (t.action, t.version) IN %(capabilities)s
      AND t.owner IS DISTINCT FROM %(runner)s) AS pending
WHERE due > (SELECT now_ms())
"""

# The connection bears the name of the task until the transaction ends: for `interrupt_cancelled`, and for
# people who look at pg_stat_activity.
_FENCE = """
SELECT set_config('application_name', 'task ' || id, true), version, params::text, cursor::text, done, total, attempt, max_attempts, requester,
    CASE WHEN u.deactivated THEN 'is deactivated' WHEN u.locked THEN 'is locked' WHEN u.is_admin THEN NULL
        ELSE 'is no longer a server admin' END,
    cancel_requested_at IS NOT NULL, EXISTS (SELECT FROM task_controls c WHERE c.action = t.action AND c.paused)
FROM scheduled_tasks t LEFT JOIN users u ON u.user_id = t.requester
WHERE id = %s AND epoch = %s AND owner = %s AND status = 'active' FOR KEY SHARE OF t
"""


def claim(
    txn: Transaction, runner: str, capabilities: Collection[Capability], running: Collection[str]
) -> Claimed | None:
    """Take the next task that may run, or whose owner is dead, among `capabilities`.

    `running` are the ids of the tasks that this process works on. `UniqueViolation` when another
    process took a task with the same lock key at the same moment, `ActionFullError` when it took the
    last place of the action: look again.
    """
    if not capabilities:
        return None
    row = txn.row(_CLAIM, {"runner": runner, "capabilities": tuple(capabilities), "running": list(running)})
    if row is None:
        return None
    task_id, epoch, action, version, attempt, max_attempts, owner, is_limited = row
    if is_limited:
        check_room_for_one(txn, action)
    transition = Transition.CLAIMED if owner is None else Transition.RESCUED
    record_transition(txn, task_id, transition, runner=runner, detail=owner and f"from {owner}")
    return Claimed(Lease(task_id, epoch, runner), action, version, attempt, max_attempts, owner)


def read_next_due(txn: Transaction, runner: str, capabilities: Collection[Capability]) -> int | None:
    """Milliseconds until the next task may run or loses its owner, as far as known now."""
    if not capabilities:
        return None
    due: int | None = txn.value(_NEXT_DUE, {"runner": runner, "capabilities": tuple(capabilities)})
    return due


def fence(txn: Transaction, lease: Lease) -> Fenced:
    """The task, protected from others until the transaction ends; a cancel request is not kept waiting."""
    row = txn.row(_FENCE, (lease.task_id, lease.epoch, lease.runner))
    if row is None:
        raise LeaseLostError(f"task {lease.task_id} is no longer ours")
    return Fenced(*row[1:])


def upgrade(txn: Transaction, lease: Lease, version: int, params: str, cursor: str | None) -> None:
    """The task is one of another version from now on. `params` and `cursor` are JSON text."""
    _write(
        txn,
        lease,
        "version = %(version)s, params = %(params)s, cursor = %(cursor)s",
        {"version": version, "params": params, "cursor": cursor},
    )


def checkpoint(
    txn: Transaction, lease: Lease, cursor: str, *, done: int, phase: str | None, total: int | None
) -> None:
    _write(
        txn,
        lease,
        "cursor = %(cursor)s, done = done + %(done)s, phase = coalesce(%(phase)s, phase),"
        " total = coalesce(%(total)s, total), attempt = 0, error = NULL",
        {"cursor": cursor, "done": done, "phase": phase, "total": total},
    )


def postpone(txn: Transaction, lease: Lease, cursor: str, *, done: int, delay_ms: int) -> None:
    _write(
        txn,
        lease,
        "status = 'scheduled', owner = NULL, cursor = %(cursor)s, done = done + %(done)s, attempt = 0,"
        " error = NULL, run_at = now_ms() + %(delay_ms)s",
        {"cursor": cursor, "done": done, "delay_ms": delay_ms},
    )
    _record(txn, lease, Transition.POSTPONED, f"for {delay_ms} ms")


def retry(txn: Transaction, lease: Lease, error: str, *, delay_ms: int) -> None:
    """Give the task back after a failure."""
    _write(
        txn,
        lease,
        "status = 'scheduled', owner = NULL, attempt = attempt + 1, error = %(error)s,"
        " run_at = now_ms() + %(delay_ms)s",
        {"error": error, "delay_ms": delay_ms},
    )
    _record(txn, lease, Transition.RETRIED, f"in {delay_ms} ms: {error}")


def release(txn: Transaction, lease: Lease, why: Transition = Transition.RELEASED) -> None:
    """Give the task back as it is, with its place in the queue."""
    _write(txn, lease, "status = 'scheduled', owner = NULL", {})
    _record(txn, lease, why, None)


def finish(
    txn: Transaction,
    lease: Lease,
    status: Status,
    *,
    result: str | None = None,
    error: str | None = None,
    done: int = 0,
) -> None:
    """End the task: complete, failed or cancelled. `result` is JSON text."""
    _write(
        txn,
        lease,
        "status = %(status)s, owner = NULL, result = %(result)s, error = %(error)s, done = done + %(done)s,"
        " finished_at = now_ms()",
        {"status": status, "result": result, "error": error, "done": done},
    )
    _record(txn, lease, Transition(status), error)
    wake_parents(txn, [lease.task_id])


def _write(txn: Transaction, lease: Lease, assignments: str, arguments: Mapping[str, object]) -> None:
    written = txn.execute(
        f"UPDATE scheduled_tasks SET {assignments}, updated_at = now_ms()"
        " WHERE id = %(id)s AND epoch = %(epoch)s AND owner = %(runner)s AND status = 'active'",
        {**arguments, "id": lease.task_id, "epoch": lease.epoch, "runner": lease.runner},
    )
    if written != 1:
        raise LeaseLostError(f"task {lease.task_id} is no longer ours")


def _record(txn: Transaction, lease: Lease, transition: Transition, detail: str | None) -> None:
    record_transition(txn, lease.task_id, transition, runner=lease.runner, detail=detail)
