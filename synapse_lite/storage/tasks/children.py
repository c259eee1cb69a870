"""Statements about tasks that are parts of another one: counted for it, cancelled with it, and it is told of their end."""

from collections.abc import Collection

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.tasks.rows import Children

_COUNT = """
SELECT count(*) FILTER (WHERE status IN ('scheduled', 'active')), count(*) FILTER (WHERE status = 'complete'),
    count(*) FILTER (WHERE status = 'failed'), count(*) FILTER (WHERE status = 'cancelled')
FROM scheduled_tasks WHERE parent_id = %s
"""

# A parent that is locked looks again by itself: whoever cancels it waits for its children, and so must not be waited for.
_WAKE_PARENTS = """
UPDATE scheduled_tasks SET run_at = least(run_at, now_ms()) WHERE id IN (
    SELECT p.id FROM scheduled_tasks c JOIN scheduled_tasks p ON p.id = c.parent_id
    WHERE c.id = ANY(%s) AND p.status = 'scheduled' FOR NO KEY UPDATE OF p SKIP LOCKED)
"""

# Of what is an object, the sum of the numbers in it; of what is the report of a part, what that has counted, by name.
_SUM_RESULTS = """
SELECT f.key, sum(CASE json_typeof(f.value) WHEN 'number' THEN (f.value #>> '{}')::numeric ELSE
    (SELECT coalesce(sum((i.value #>> '{}')::numeric), 0) FROM json_each(f.value) i
        WHERE json_typeof(i.value) = 'number') END)::bigint
FROM scheduled_tasks t
CROSS JOIN json_each(CASE json_typeof(t.result) WHEN 'object' THEN t.result ELSE '{}'::json END) e
CROSS JOIN LATERAL (
    SELECT e.key, e.value WHERE json_typeof(e.value -> 'result') IS DISTINCT FROM 'object'
    UNION ALL SELECT * FROM json_each(CASE json_typeof(e.value -> 'result') WHEN 'object' THEN e.value -> 'result' END)) f
WHERE t.parent_id = %s AND json_typeof(f.value) IN ('number', 'object') GROUP BY f.key ORDER BY f.key
"""


def count_children(txn: Transaction, parent_id: str) -> Children:
    return Children(*txn.rows(_COUNT, (parent_id,))[0])


def sum_results(txn: Transaction, parent_id: str) -> dict[str, int]:
    """What the parts have counted in their results, added up by name."""
    return dict(txn.rows(_SUM_RESULTS, (parent_id,)))


def pending_children(txn: Transaction, parent_ids: Collection[str]) -> list[str]:
    rows = txn.rows(
        "SELECT id FROM scheduled_tasks WHERE parent_id = ANY(%s) AND status IN ('scheduled', 'active') ORDER BY id",
        (list(parent_ids),),
    )
    return [task_id for (task_id,) in rows]


def wake_parents(txn: Transaction, task_ids: Collection[str]) -> None:
    """The tasks have ended: their parents, where they wait, count again."""
    txn.execute(_WAKE_PARENTS, (list(task_ids),))
