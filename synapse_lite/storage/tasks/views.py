"""Statements of those who watch: one task, pages of tasks, what nobody can run, and the gauges."""

from typing import Any

from synapse_lite.errors import invalid_param
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.prepared import Prepared
from synapse_lite.storage.tasks.followers import read_followers
from synapse_lite.storage.tasks.rows import Gauges, Status, Task, TaskFilter, TaskOrder, Unserved

_PENDING = frozenset({Status.SCHEDULED, Status.ACTIVE})
_TIMESTAMP = "CASE t.status WHEN 'scheduled' THEN t.run_at ELSE t.updated_at END"

_PERIODIC = "(t.requester = 'periodic')"

_ORDERS = {
    "timestamp_ms": _TIMESTAMP,
    "created_ts": "t.created_at",
    **{name: f"t.{name}" for name in ("id", "action", "status", "resource_id", "error")},
    "result": "t.result::text",
}
_NULLABLE = frozenset({"resource_id", "error", "result"})

_ABLE = """
SELECT r.name FROM task_runner_actions a JOIN task_runners r USING (runner)
WHERE (a.action, a.version) = (t.action, t.version) AND r.expires_at > (SELECT now_ms())
"""

_WAITING_REASON = f"""
CASE WHEN t.finished_at IS NOT NULL THEN NULL
    WHEN EXISTS (SELECT FROM task_runners r WHERE r.runner = t.owner AND r.expires_at > (SELECT now_ms())) THEN NULL
    WHEN NOT EXISTS ({_ABLE}) THEN 'no_runner'
    WHEN EXISTS (SELECT FROM task_controls c WHERE c.action = t.action AND c.paused) THEN 'paused'
    WHEN t.status = 'active' THEN NULL
    WHEN t.run_at > (SELECT now_ms()) THEN 'backoff'
    WHEN EXISTS (SELECT FROM scheduled_tasks o WHERE o.status = 'active' AND o.lock_key = t.lock_key)
        OR EXISTS (SELECT FROM task_controls c WHERE c.action = t.action AND c.max_running <=
            (SELECT count(*) FROM scheduled_tasks o WHERE o.status = 'active' AND o.action = t.action)) THEN 'lock'
END
"""

_TASK = f"""
SELECT t.id, t.action, t.version, t.status, {_TIMESTAMP}, t.resource_id, t.params, t.result, t.error,
    t.done, t.total, t.phase, regexp_replace(t.owner, '#[^#]*$', ''), t.attempt, t.max_attempts, t.priority, t.requester, t.endpoint,
    t.cancel_requested_at IS NOT NULL, t.created_at, t.updated_at, t.finished_at, t.claimed_at, t.claimed_done,
    ARRAY(SELECT DISTINCT name FROM ({_ABLE}) AS able ORDER BY name),
    (SELECT s.name FROM task_actions_seen s WHERE (s.action, s.version) = (t.action, t.version)
        ORDER BY s.last_seen_at DESC LIMIT 1),
    {_WAITING_REASON}, t.parent_id
FROM scheduled_tasks t
"""

_ONE_TASK = Prepared("read_task", f"{_TASK} WHERE t.id = %s")  # who waits for a task asks often

_UNSERVED = """
SELECT u.*, s.name, s.last_seen_at
FROM (SELECT t.action, t.version, count(*), min(t.run_at) FROM scheduled_tasks t
      WHERE t.status IN ('scheduled', 'active') AND NOT EXISTS (
          SELECT 1 FROM task_runner_actions a JOIN task_runners r USING (runner)
          WHERE (a.action, a.version) = (t.action, t.version) AND r.expires_at > (SELECT now_ms()))
      GROUP BY t.action, t.version) u
LEFT JOIN LATERAL (SELECT name, last_seen_at FROM task_actions_seen
      WHERE (action, version) = (u.action, u.version) ORDER BY last_seen_at DESC LIMIT 1) s ON true
ORDER BY u.action, u.version
"""


def read_task(txn: Transaction, task_id: str) -> Task | None:
    row = txn.row(_ONE_TASK, (task_id,))
    return Task(*row) if row else None


def read_tasks(
    txn: Transaction, wanted: TaskFilter, *, from_token: str | None, limit: int
) -> tuple[list[Task], str | None]:
    """A page in order of the timestamp, and the token of the next one.

    A task that changes while someone pages may be seen twice, but is not missed. The timestamp of
    pending tasks has no index, because every checkpoint would have to write it; finished ones, of
    which there are many, are read in order through the index on `finished_at`.
    """
    arguments: dict[str, Any] = {"limit": limit + 1, "max_timestamp": wanted.max_timestamp_ms}
    if from_token is not None:
        arguments["from_timestamp"], arguments["from_id"] = _parse_token(from_token)
    conditions = _conditions(wanted, arguments)
    statuses = frozenset(wanted.statuses or Status)
    parts = []
    if statuses & _PENDING:
        parts.append(_ids("t.status IN ('scheduled', 'active')", _TIMESTAMP, conditions, arguments))
    if statuses - _PENDING:
        parts.append(_ids("t.finished_at IS NOT NULL", "t.finished_at", conditions, arguments))
    rows = txn.rows(
        f"{_TASK} JOIN (SELECT id, timestamp FROM ({' UNION ALL '.join(parts)}) AS found"
        " ORDER BY timestamp, id LIMIT %(limit)s) AS page USING (id) ORDER BY page.timestamp, page.id",
        arguments,
    )
    tasks = [Task(*row) for row in rows[:limit]]
    more = len(rows) > limit
    return tasks, f"{tasks[-1].timestamp_ms}_{tasks[-1].id}" if more else None


def read_sorted_tasks(
    txn: Transaction, wanted: TaskFilter, order: TaskOrder, *, offset: int, limit: int
) -> tuple[list[Task], bool]:
    """A page in another order, for those who count rows; whether there are more.

    By time they are read through indexes, from the beginning. Else the ids of all that fit the filter are sorted.
    """
    arguments: dict[str, Any] = {
        "limit": limit + 1,
        "upto": offset + limit + 1,
        "offset": offset,
        "max_timestamp": wanted.max_timestamp_ms,
    }
    conditions = _conditions(wanted, arguments)
    direction = "DESC" if order.descending else "ASC"
    nulls = " NULLS LAST" if order.column in _NULLABLE else ""  # said of other columns, it would fit no index
    sorting = f"key {direction}{nulls}, id {direction}"
    if order.column == "timestamp_ms":
        parts = [
            ("t.status IN ('scheduled', 'active')", _TIMESTAMP),
            ("t.finished_at IS NOT NULL", "t.finished_at"),
        ]
    else:
        parts = [("TRUE", _ORDERS[order.column])]
    found = " UNION ALL ".join(_keys(part, key, sorting, conditions, arguments) for part, key in parts)
    rows = txn.rows(
        f"{_TASK} JOIN (SELECT id, key FROM ({found}) AS found ORDER BY {sorting} LIMIT %(limit)s OFFSET %(offset)s)"
        f" AS page USING (id) ORDER BY page.{sorting.replace(', id', ', page.id')}",
        arguments,
    )
    return [Task(*row) for row in rows[:limit]], len(rows) > limit


def _keys(part: str, key: str, sorting: str, conditions: list[str], arguments: dict[str, Any]) -> str:
    """What the ids of a part of the tasks are sorted by, up to the end of the page."""
    timestamp = key if part != "TRUE" else _TIMESTAMP
    own = [part, *conditions]
    if arguments["max_timestamp"] is not None:
        own.append(f"{timestamp} <= %(max_timestamp)s")
    return f"(SELECT t.id, {key} AS key FROM scheduled_tasks t WHERE {' AND '.join(own)} ORDER BY {sorting} LIMIT %(upto)s)"


def _ids(part: str, timestamp: str, conditions: list[str], arguments: dict[str, Any]) -> str:
    """The page's ids and timestamps, were there only this part of the tasks."""
    own = [part, *conditions]
    if arguments["max_timestamp"] is not None:
        own.append(f"{timestamp} <= %(max_timestamp)s")
    if "from_id" in arguments:
        own.append(f"({timestamp}, t.id) > (%(from_timestamp)s, %(from_id)s)")
    return (
        f"(SELECT t.id, {timestamp} AS timestamp FROM scheduled_tasks t WHERE {' AND '.join(own)}"
        f" ORDER BY {timestamp}, t.id LIMIT %(limit)s)"
    )


def _conditions(wanted: TaskFilter, arguments: dict[str, Any]) -> list[str]:
    """All but those on the timestamp. Adds to `arguments`."""
    conditions = []
    if wanted.actions:
        conditions.append("t.action = ANY(%(actions)s)")
        arguments["actions"] = list(wanted.actions)
    if wanted.resource_id is not None:
        conditions.append("t.resource_id = %(resource_id)s")
        arguments["resource_id"] = wanted.resource_id
    if wanted.parent_id is not None:
        conditions.append("t.parent_id = %(parent_id)s")
        arguments["parent_id"] = wanted.parent_id
    if wanted.periodic is not None:
        conditions.append(_PERIODIC if wanted.periodic else f"NOT {_PERIODIC}")
    if wanted.statuses:
        conditions.append("t.status = ANY(%(statuses)s)")
        arguments["statuses"] = [str(status) for status in wanted.statuses]
    return conditions


def read_unserved(txn: Transaction) -> list[Unserved]:
    """Pending tasks that no live runner registered, by action and version."""
    return [Unserved(*row) for row in txn.rows(_UNSERVED)]


def read_gauges(txn: Transaction) -> Gauges:
    counts = txn.rows("SELECT action, status, count(*) FROM scheduled_tasks GROUP BY action, status")
    waiting = txn.rows(
        "SELECT action, now_ms() - min(run_at) FROM scheduled_tasks"
        " WHERE status = 'scheduled' AND run_at <= (SELECT now_ms()) GROUP BY action"
    )
    return Gauges(
        counts={(action, status): count for action, status, count in counts},
        waiting_ms=dict(waiting),
        unserved=read_unserved(txn),
        followers=read_followers(txn),
    )


def _parse_token(token: str) -> tuple[int, str]:
    timestamp, _, task_id = token.partition("_")
    if not timestamp.isdecimal() or not task_id.isalpha():
        raise invalid_param("Query parameter from is not a token of this list")
    return int(timestamp), task_id
