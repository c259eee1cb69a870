"""Statements of those who watch: one task, pages of tasks, what nobody can run, and the gauges."""

from typing import Any

from synapse_lite.errors import invalid_param
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.tasks.rows import Gauges, Task, TaskFilter, Unserved

_TIMESTAMP = "CASE t.status WHEN 'scheduled' THEN t.run_at ELSE t.updated_at END"

_TASK = f"""
SELECT t.id, t.action, t.version, t.status, {_TIMESTAMP}, t.resource_id, t.params, t.result, t.error,
    t.done, t.total, t.phase, regexp_replace(t.owner, '#[^#]*$', ''), t.attempt, t.max_attempts, t.priority, t.requester, t.endpoint,
    t.cancel_requested_at IS NOT NULL, t.created_at, t.updated_at, t.finished_at,
    ARRAY(SELECT DISTINCT r.name FROM task_runner_actions a JOIN task_runners r USING (runner)
        WHERE (a.action, a.version) = (t.action, t.version) AND r.expires_at > now_ms() ORDER BY r.name),
    (SELECT s.name FROM task_actions_seen s WHERE (s.action, s.version) = (t.action, t.version)
        ORDER BY s.last_seen_at DESC LIMIT 1)
FROM scheduled_tasks t
"""

_UNSERVED = """
SELECT u.*, s.name, s.last_seen_at
FROM (SELECT t.action, t.version, count(*), min(t.run_at) FROM scheduled_tasks t
      WHERE t.status IN ('scheduled', 'active') AND NOT EXISTS (
          SELECT 1 FROM task_runner_actions a JOIN task_runners r USING (runner)
          WHERE (a.action, a.version) = (t.action, t.version) AND r.expires_at > now_ms())
      GROUP BY t.action, t.version) u
LEFT JOIN LATERAL (SELECT name, last_seen_at FROM task_actions_seen
      WHERE (action, version) = (u.action, u.version) ORDER BY last_seen_at DESC LIMIT 1) s ON true
ORDER BY u.action, u.version
"""


def read_task(txn: Transaction, task_id: str) -> Task | None:
    row = txn.row(f"{_TASK} WHERE t.id = %s", (task_id,))
    return Task(*row) if row else None


def read_tasks(
    txn: Transaction, wanted: TaskFilter, *, from_token: str | None, limit: int
) -> tuple[list[Task], str | None]:
    """A page in order of the timestamp, and the token of the next one.

    A task that changes while someone pages may be seen twice, but is not missed. There is no index on
    the timestamp, because every checkpoint would have to write it.
    """
    conditions = ["true"]
    arguments: dict[str, Any] = {"limit": limit + 1}
    if wanted.actions:
        conditions.append("t.action = ANY(%(actions)s)")
        arguments["actions"] = list(wanted.actions)
    if wanted.resource_id is not None:
        conditions.append("t.resource_id = %(resource_id)s")
        arguments["resource_id"] = wanted.resource_id
    if wanted.statuses:
        conditions.append("t.status = ANY(%(statuses)s)")
        arguments["statuses"] = [str(status) for status in wanted.statuses]
    if wanted.max_timestamp_ms is not None:
        conditions.append(f"{_TIMESTAMP} <= %(max_timestamp)s")
        arguments["max_timestamp"] = wanted.max_timestamp_ms
    if from_token is not None:
        conditions.append(f"({_TIMESTAMP}, t.id) > (%(from_timestamp)s, %(from_id)s)")
        arguments["from_timestamp"], arguments["from_id"] = _parse_token(from_token)
    rows = txn.rows(
        f"{_TASK} WHERE {' AND '.join(conditions)} ORDER BY {_TIMESTAMP}, t.id LIMIT %(limit)s", arguments
    )
    tasks = [Task(*row) for row in rows[:limit]]
    more = len(rows) > limit
    return tasks, f"{tasks[-1].timestamp_ms}_{tasks[-1].id}" if more else None


def read_unserved(txn: Transaction) -> list[Unserved]:
    """Pending tasks that no live runner registered, by action and version."""
    return [Unserved(*row) for row in txn.rows(_UNSERVED)]


def read_gauges(txn: Transaction) -> Gauges:
    counts = txn.rows("SELECT action, status, count(*) FROM scheduled_tasks GROUP BY action, status")
    waiting = txn.rows(
        "SELECT action, now_ms() - min(run_at) FROM scheduled_tasks"
        " WHERE status = 'scheduled' AND run_at <= now_ms() GROUP BY action"
    )
    return Gauges(
        counts={(action, status): count for action, status, count in counts},
        waiting_ms=dict(waiting),
        unserved=read_unserved(txn),
    )


def _parse_token(token: str) -> tuple[int, str]:
    timestamp, _, task_id = token.partition("_")
    if not timestamp.isdecimal() or not task_id.isalpha():
        raise invalid_param("Query parameter from is not a token of this list")
    return int(timestamp), task_id
