"""Pages of lists that may have millions of rows, by offset: every one is about as quick as the first."""

import logging
from collections.abc import Callable
from typing import TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred

from synapse_lite.clock import Clock
from synapse_lite.storage.cache import Cache
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.long_lists import (
    NEAR,
    SHORT,
    LongList,
    Survey,
    count_rows,
    is_near_end,
    survey_list,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")
REMEMBERED = 64
FRESH_MS = 30_000

ReadPage = Callable[[Transaction, LongList, Survey], T]
"""Reads a page by `read_page`, and whatever else belongs to it."""


@frozen
class _Taken:
    survey: Survey
    at_ms: int


class LongLists:
    """Reads pages, and remembers surveys of long lists: those of one kind of rows, for it tells them apart by their conditions.

    The total of a long list is counted once, for all orders and all who ask meanwhile. A survey is taken behind the first answer, unless that is far from both ends of the list. One that is older than half a minute
    still serves, while a new one is taken. So the total of a list of more than 10,000 rows may be that old, and a page
    may begin as many rows off as came and went since.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._surveys: Cache[LongList, _Taken] = Cache(REMEMBERED)
        self._totals: Cache[str, int] = Cache(REMEMBERED)  # of long lists, in whatever order
        self._waiting: dict[LongList, list[Deferred[None]]] = {}  # for a survey that is being taken
        self._counting: dict[str, list[Deferred[None]]] = {}

    async def page(self, wanted: LongList, offset: int, read: ReadPage[T]) -> tuple[T, int]:
        """What `read` returns, and how many rows the list has. `offset`: of the first row that is read."""
        rows = _rows(wanted)
        if (counting := self._counting.get(rows)) is not None:
            await _turn(counting)
        known = self._surveys.get(wanted)
        if known is None:
            counted = await self._count_and_read(wanted, rows, offset, read)
            if counted is not None:
                if counted[1] > SHORT:
                    self._survey_later(wanted)
                return counted
            known = await self._survey(wanted)
        elif known.at_ms + FRESH_MS < self._clock.now_ms():
            self._survey_later(wanted)
        return await self._database.snapshot(read, wanted, known.survey), known.survey.total

    async def _count_and_read(
        self, wanted: LongList, rows: str, offset: int, read: ReadPage[T]
    ) -> tuple[T, int] | None:
        total = self._totals.get(rows)
        if total is not None or rows in self._counting:
            return await self._database.snapshot(_count_and_read, wanted, total, offset, read)
        self._counting[rows] = []
        try:
            counted = await self._database.snapshot(_count_and_read, wanted, None, offset, read)
            if counted is not None and counted[1] > SHORT:
                self._totals.put(rows, counted[1])
            return counted
        finally:
            _let_go(self._counting.pop(rows))

    def _survey_later(self, wanted: LongList) -> None:
        if wanted not in self._waiting:
            Deferred.fromCoroutine(self._survey(wanted)).addErrback(
                lambda failure: logger.warning("a long list is not surveyed: %s", failure.value)
            )

    async def _survey(self, wanted: LongList) -> _Taken:
        while (waiting := self._waiting.get(wanted)) is not None:
            await _turn(waiting)
            known = self._surveys.get(wanted)
            if known is not None:
                return known
        self._waiting[wanted] = []
        try:
            taken = _Taken(await self._database.snapshot(survey_list, wanted), self._clock.now_ms())
            self._surveys.put(wanted, taken)
            self._totals.put(_rows(wanted), taken.survey.total)
            return taken
        finally:
            _let_go(self._waiting.pop(wanted))


async def _turn(waiting: list[Deferred[None]]) -> None:
    turn: Deferred[None] = Deferred()
    waiting.append(turn)
    await turn


def _let_go(waiting: list[Deferred[None]]) -> None:
    for turn in waiting:
        if not turn.called:
            turn.callback(None)


def _rows(wanted: LongList) -> str:
    """What lists of the same rows have in common."""
    return f"{wanted.condition} {sorted(wanted.arguments.items())}"


def _count_and_read(
    txn: Transaction, wanted: LongList, total: int | None, offset: int, read: ReadPage[T]
) -> tuple[T, int] | None:
    """None where counting does not do: far from both ends of a long list. `total`: when it is known from another order."""
    if total is None:
        total = count_rows(txn, wanted)
    if total > SHORT and offset >= NEAR and not is_near_end(total, offset):
        return None
    return read(txn, wanted, Survey(total)), total
