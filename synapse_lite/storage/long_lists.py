"""Long lists in pages by offset, without counting or skipping all that comes before.

A survey walks through a list once: how many rows it has, and a mark at the first and at every `STEP`th behind it. A page
begins at the last mark before it, and skips less than `STEP` rows; what comes before the first row is not read either.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from attrs import evolve, field, frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.planner import sorting
from synapse_lite.storage.statements import Row

STEP = 500
SHORT = 10_000
"""Rows of a list that is read as it is."""
NEAR = 5_000
"""A page so near to either end of a list is walked to: that is much less than a survey, which walks through all of it."""

MOST_NARROWED = 10
"""An index narrows a list that is less than one in so many rows."""

Mark = tuple[Any, ...]
"""By what a row is sorted."""


@frozen
class Order:
    """SQL expressions that are never null, the last one unique. A large list wants an index on all of them."""

    columns: tuple[str, ...]
    descending: bool = False

    def turned(self, turned: bool) -> "Order":
        """The other way round, if so."""
        return Order(self.columns, self.descending != turned)

    @property
    def sorting(self) -> str:
        """For ORDER BY."""
        direction = "DESC" if self.descending else "ASC"
        return ", ".join(f"{column} {direction}" for column in self.columns)

    def beginning_at(self, mark: Mark) -> tuple[str, dict[str, object]]:
        """A condition for that row and what comes behind it, and its arguments."""
        arguments = {f"mark_{number}": value for number, value in enumerate(mark)}
        values = ", ".join(f"%({name})s" for name in arguments)
        return f"({', '.join(self.columns)}) {'<=' if self.descending else '>='} ({values})", arguments


def nullable(column: str, instead: str) -> tuple[str, str]:
    """Columns of an order by one that may be null, which is then the greatest; `instead`: a value of its type, in SQL."""
    return f"({column} IS NULL)", f"coalesce({column}, {instead})"


def nullable_first(column: str, instead: str) -> tuple[str, str]:
    """As `nullable`, for one that is then the smallest."""
    return f"({column} IS NOT NULL)", f"coalesce({column}, {instead})"


@frozen
class Narrowing:
    """What all rows of a list fulfil, in SQL: `condition`, which an index tells, where few rows of `table` do `by_index`."""

    table: str
    by_index: str
    condition: str


@frozen
class LongList:
    """What is listed: `source` and `condition` are SQL for FROM and WHERE.

    `counted`: a smaller source of the same rows, without what only the order needs.
    """

    source: str
    condition: str
    order: Order
    arguments: Mapping[str, object] = field(factory=dict, hash=False)
    narrowing: Narrowing | None = None
    counted: str | None = None


@frozen
class Survey:
    """`marks[n]` is the row number `n * STEP` of the list, counted from 0."""

    total: int
    marks: Sequence[Mark] = ()


def is_near_end(total: int, offset: int) -> bool:
    """Whether a page is soon reached from the end of the list, and sooner than from its beginning."""
    return total - offset < min(NEAR, offset)


def read_page(
    txn: Transaction, columns: str, wanted: LongList, survey: Survey, *, offset: int, limit: int
) -> list[Row]:
    """The `columns` of `limit` rows from row `offset` on, counted from 0."""
    if offset >= survey.total:
        return []
    if not survey.marks and is_near_end(survey.total, offset):
        turned, limit = evolve(wanted, order=wanted.order.turned(True)), min(limit, survey.total - offset)
        return read_page(txn, columns, turned, survey, offset=survey.total - offset - limit, limit=limit)[
            ::-1
        ]
    mark_number = max(0, min(offset // STEP, len(survey.marks) - 1))
    condition, arguments = narrowed_condition(txn, wanted), dict(wanted.arguments)
    are_few = condition != wanted.condition and survey.total <= SHORT
    if survey.marks:
        behind, more = wanted.order.beginning_at(survey.marks[mark_number])
        condition, arguments = f"({condition}) AND {behind}", arguments | more
    with sorting(txn) if are_few else nullcontext():
        return txn.rows(
            f"SELECT {columns} FROM {wanted.source} WHERE {condition} ORDER BY {wanted.order.sorting}"
            " OFFSET %(skipped)s LIMIT %(limit)s",
            {**arguments, "skipped": offset - mark_number * STEP, "limit": limit},
        )


def count_rows(txn: Transaction, wanted: LongList) -> int:
    source, condition = wanted.counted or wanted.source, narrowed_condition(txn, wanted)
    return int(txn.value(f"SELECT count(*) FROM {source} WHERE {condition}", wanted.arguments))


def survey_list(txn: Transaction, wanted: LongList) -> Survey:
    """Walks through the whole list."""
    order = wanted.order
    marks = txn.rows(
        f"SELECT * FROM (SELECT row_number() OVER (ORDER BY {order.sorting}) AS number, {', '.join(order.columns)}"
        f" FROM {wanted.source} WHERE {narrowed_condition(txn, wanted)}) AS numbered"
        f" WHERE mod(number, {STEP}) = 1 ORDER BY number",
        wanted.arguments,
    )
    if not marks:
        return Survey(0)
    behind, arguments = order.beginning_at(marks[-1][1:])
    rest = evolve(
        wanted,
        condition=f"({wanted.condition}) AND {behind}",
        arguments={**wanted.arguments, **arguments},
        counted=None,
    )
    return Survey((len(marks) - 1) * STEP + count_rows(txn, rest), [mark[1:] for mark in marks])


def narrowed_condition(txn: Transaction, wanted: LongList) -> str:
    """The condition; with that by the index, unless many rows fulfil it: to test each of them costs more than it saves."""
    narrowing = wanted.narrowing
    if narrowing is None:
        return wanted.condition
    found = _estimate(txn, f"{narrowing.table} WHERE {narrowing.by_index}", wanted.arguments)
    if found * MOST_NARROWED > _estimate(txn, narrowing.table, {}):
        return wanted.condition
    return f"{narrowing.condition} AND ({wanted.condition})"


def _estimate(txn: Transaction, source: str, arguments: Mapping[str, object]) -> float:
    """How many rows the planner expects."""
    plan = txn.value(f"EXPLAIN (FORMAT JSON) SELECT FROM {source}", arguments)
    return float(plan[0]["Plan"]["Plan Rows"])
