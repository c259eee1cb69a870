"""Statements of operators: what is known about each action, its pause and its limit."""

from synapse_lite.errors import SynapseLiteError
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.tasks.rows import ActionState


class ActionFullError(SynapseLiteError):
    """As many tasks of the action as may run do run."""


_ACTIONS = """
WITH known AS (
    SELECT action, version FROM task_actions_seen
    UNION SELECT action, version FROM task_runner_actions
    UNION SELECT action, version FROM scheduled_tasks WHERE status IN ('scheduled', 'active')),
actions AS (
    SELECT action, array_agg(version ORDER BY version) AS versions FROM known
    WHERE %(action)s IS NULL OR action = %(action)s GROUP BY action),
counts AS (
    SELECT action, count(*) FILTER (WHERE status = 'scheduled') AS pending,
        count(*) FILTER (WHERE status = 'active') AS active
    FROM scheduled_tasks WHERE status IN ('scheduled', 'active') GROUP BY action)
SELECT a.action, a.versions, coalesce(c.paused, false), c.max_running, coalesce(n.pending, 0), coalesce(n.active, 0),
    ARRAY(SELECT DISTINCT r.name FROM task_runner_actions m JOIN task_runners r USING (runner)
        WHERE m.action = a.action AND r.expires_at > (SELECT now_ms()) ORDER BY r.name)
FROM actions a LEFT JOIN task_controls c USING (action) LEFT JOIN counts n USING (action)
ORDER BY a.action
"""


def read_actions(txn: Transaction, action: str | None = None) -> list[ActionState]:
    """By name; one action, or all that any process has ever been able to run or that are pending."""
    return [ActionState(*row) for row in txn.rows(_ACTIONS, {"action": action})]


def lock_control(txn: Transaction, action: str) -> None:
    """Until the transaction ends nobody else changes what holds for the action."""
    txn.execute(
        "INSERT INTO task_controls (action) VALUES (%s) ON CONFLICT (action) DO UPDATE SET action = excluded.action",
        (action,),
    )


def write_control(txn: Transaction, action: str, *, paused: bool, max_running: int | None) -> None:
    txn.execute(
        "INSERT INTO task_controls (action, paused, max_running) VALUES (%s, %s, %s)"
        " ON CONFLICT (action) DO UPDATE SET paused = excluded.paused, max_running = excluded.max_running",
        (action, paused, max_running),
    )


def check_room_for_one(txn: Transaction, action: str) -> None:
    """After a claim: `ActionFullError` when another process claimed at the same moment and was first."""
    most = txn.value("SELECT max_running FROM task_controls WHERE action = %s FOR NO KEY UPDATE", (action,))
    active = txn.value(
        "SELECT count(*) FROM scheduled_tasks WHERE status = 'active' AND action = %s", (action,)
    )
    if most is not None and active > most:
        raise ActionFullError(f"{action}: {most} tasks run already")
