"""What is kept about a task besides its row: its history, and what became of each item."""

from collections.abc import Collection, Iterable, Sequence

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.tasks.rows import TaskEvent, TaskItem, Transition

HISTORY_LENGTH = 50


def record_transition(
    txn: Transaction,
    task_id: str,
    transition: Transition,
    *,
    runner: str | None = None,
    detail: str | None = None,
) -> None:
    record_transitions(txn, [task_id], transition, runner=runner, detail=detail)


def record_transitions(
    txn: Transaction,
    task_ids: Sequence[str],
    transition: Transition,
    *,
    runner: str | None = None,
    detail: str | None = None,
) -> None:
    """The same of each of the tasks."""
    if not task_ids:
        return
    txn.later(
        "INSERT INTO task_events (task_id, at, kind, runner, detail)"
        " SELECT id, now_ms(), %s, %s, %s FROM unnest(%s::text[]) AS t (id)",
        (transition, runner, detail, list(task_ids)),
    )
    txn.later(
        "DELETE FROM task_events e USING unnest(%s::text[]) AS t (id) CROSS JOIN LATERAL (SELECT number"
        " FROM task_events WHERE task_id = t.id ORDER BY number DESC OFFSET %s LIMIT 1) AS last"
        " WHERE e.task_id = t.id AND e.number <= last.number",
        (list(task_ids), HISTORY_LENGTH),
    )


def read_history(txn: Transaction, task_id: str) -> list[TaskEvent]:
    """Oldest first, at most `HISTORY_LENGTH`."""
    rows = txn.rows(
        "SELECT at, kind, runner, detail FROM task_events WHERE task_id = %s ORDER BY number", (task_id,)
    )
    return [TaskEvent(*row) for row in rows]


def record_items(txn: Transaction, task_id: str, items: Iterable[TaskItem]) -> None:
    """The last word about an item stands; each item at most once a call."""
    txn.insert(
        "INSERT INTO task_items (task_id, item, outcome, detail) VALUES %s"
        " ON CONFLICT (task_id, item) DO UPDATE SET outcome = excluded.outcome, detail = excluded.detail",
        [(task_id, item.item, item.outcome, item.detail) for item in items],
    )


def read_items(
    txn: Transaction, task_id: str, *, outcome: str | None, after: str | None, limit: int
) -> list[TaskItem]:
    """In order of the item, the next `limit` after the item `after`."""
    rows = txn.rows(
        "SELECT item, outcome, detail FROM task_items WHERE task_id = %(id)s"
        + (" AND outcome = %(outcome)s" if outcome else "")
        + (" AND item > %(after)s" if after is not None else "")
        + " ORDER BY item LIMIT %(limit)s",
        {"id": task_id, "outcome": outcome, "after": after, "limit": limit},
    )
    return [TaskItem(*row) for row in rows]


def read_items_by_outcome(
    txn: Transaction, task_id: str, outcomes: Collection[str], *, limit: int
) -> dict[str, list[TaskItem]]:
    """Of each outcome the first `limit` items, in order."""
    rows = txn.rows(
        "SELECT i.item, i.outcome, i.detail FROM unnest(%s::text[]) AS o (outcome) CROSS JOIN LATERAL ("
        " SELECT item, outcome, detail FROM task_items t WHERE t.task_id = %s AND t.outcome = o.outcome"
        " ORDER BY item LIMIT %s) AS i ORDER BY i.item",
        (list(outcomes), task_id, limit),
    )
    items: dict[str, list[TaskItem]] = {outcome: [] for outcome in outcomes}
    for row in rows:
        item = TaskItem(*row)
        items[item.outcome].append(item)
    return items


def list_items(txn: Transaction, task_id: str, outcomes: Collection[str]) -> dict[str, str]:
    """By outcome all items, in order, as the text of a JSON array: there may be many, and none is looked at."""
    rows = txn.rows(
        "SELECT outcome, json_agg(item ORDER BY item)::text FROM task_items"
        " WHERE task_id = %s AND outcome = ANY(%s) GROUP BY outcome",
        (task_id, list(outcomes)),
    )
    return dict(rows)


def count_items(txn: Transaction, task_id: str) -> dict[str, int]:
    """By outcome."""
    rows = txn.rows(
        "SELECT outcome, count(*) FROM task_items WHERE task_id = %s GROUP BY outcome ORDER BY outcome",
        (task_id,),
    )
    return dict(rows)
