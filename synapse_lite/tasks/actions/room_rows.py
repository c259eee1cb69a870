"""The walk over all rows of a room, to count or to delete them: what several tasks have in common."""

from collections.abc import Callable
from functools import partial

from pydantic import Field

from synapse_lite.storage import purge
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.purge import TABLES, Key, Slice, Table
from synapse_lite.tasks.actions.pace import ROWS_AT_ONCE, rest
from synapse_lite.tasks.model import TaskModel

MAX_ROWS = 1000  # deleted in one step
COUNTED_AT_ONCE = 8  # as many times the rows that could be deleted meanwhile

Visit = Callable[[Table, Key, int], Slice]


class Walk(TaskModel):
    """How far it has come: in `TABLES[table]` up to the key `after`. `rows` counts by table."""

    table: int = 0
    after: tuple[int | str, ...] = ()
    rows: dict[str, int] = Field(default_factory=dict)

    @property
    def has_ended(self) -> bool:
        return self.table == len(TABLES)

    @property
    def total(self) -> int:
        return sum(self.rows.values())

    def again(self) -> "Walk":
        """From the start, counting on."""
        return Walk(rows=self.rows)


def count_rows(txn: Transaction, walk: Walk, room_nid: int, budget: int) -> Walk:
    """Go on counting; `budget` is what could be deleted meanwhile."""
    rows = min(budget, MAX_ROWS) * COUNTED_AT_ONCE
    return _advance(walk, rows, ROWS_AT_ONCE * COUNTED_AT_ONCE, partial(_count, txn, room_nid))


def delete_rows(txn: Transaction, walk: Walk, room_nid: int, budget: int, server_name: str) -> Walk:
    """Go on deleting, at most `budget` rows and those that follow them."""

    def delete(table: Table, after: Key, limit: int) -> Slice:
        return purge.delete_slice(txn, table, room_nid, after, limit, server_name)

    return _advance(walk, min(budget, MAX_ROWS), ROWS_AT_ONCE, delete)


def _count(txn: Transaction, room_nid: int, table: Table, after: Key, limit: int) -> Slice:
    return purge.count_slice(txn, table, room_nid, after, limit)


def _advance(walk: Walk, budget: int, at_once: int, visit: Visit) -> Walk:
    left = budget
    while left > 0 and not walk.has_ended:
        table = TABLES[walk.table]
        found = visit(table, walk.after, min(left, at_once))
        rows = {name: walk.rows.get(name, 0) + count for name, count in found.rows.items()}
        walk = Walk(
            table=walk.table if found.last else walk.table + 1,
            after=found.last or (),
            rows={**walk.rows, **{name: count for name, count in rows.items() if count}},
        )
        left -= found.rows.get(table.name, 0)
        if found.last:
            rest()
    return walk
