"""Pages of what a search finds, and the tokens that stand for the next one."""

import re
from collections.abc import Callable, Collection, Sequence

from attrs import evolve, frozen

from synapse_lite.errors import invalid_param
from synapse_lite.storage import search
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.search import Found, Hit, Page, Question

HIDDEN_PAGE = 100  # how many hits are read at once when some are hidden,
MAX_HIDDEN_PAGES = 10  # and how often, before the client is told to go on from there
RECENT, RANK = "recent", "rank"
_TOKEN = re.compile(r"(\d{1,18})_(\d{1,6})_(\d{1,9})_(\d{1,9})")
Visible = Callable[[Found], Collection[int]]
"""Which of the hits the reader may see, by the numbers of their events."""


@frozen
class Cursor:
    """From where on: at most at a position, and behind so many of the best.

    `given` results were in the pages before, which told that there are `count`; None before the first page.
    """

    upto: int
    skipped: int = 0
    given: int = 0
    count: int | None = None

    def behind(self, hit: Hit, order: str) -> "Cursor":
        upto, skipped = (hit.position - 1, self.skipped) if order == RECENT else (self.upto, self.skipped + 1)
        return Cursor(upto, skipped, self.given, self.count)


@frozen
class HitPage:
    """Hits that the reader may see, each with where to go on behind it. `end`: where to go on, None at the end.

    `found` is what was read first.
    """

    hits: Sequence[tuple[Hit, Cursor]]
    found: Found
    end: Cursor | None = None

    def first(self, count: int) -> "HitPage":
        """Only so many; at least one."""
        kept = self.hits[:count]
        return evolve(self, hits=kept, end=kept[-1][1]) if len(kept) < len(self.hits) else self


def read_page(
    txn: Transaction, question: Question, limit: int, order: str, start: Cursor, visible: Visible
) -> HitPage:
    """Up to `limit` hits, and at least one unless there are none."""
    limit, cursor = max(1, limit), start
    hits: list[tuple[Hit, Cursor]] = []
    read: list[Found] = []
    for size in (limit + 1, *[HIDDEN_PAGE] * MAX_HIDDEN_PAGES):
        page = Page(size, by_rank=order == RANK, skipped=cursor.skipped)
        found = search.find(txn, evolve(question, upto=min(cursor.upto, question.upto)), page)
        read.append(found)
        seen = visible(found)
        for hit in found.hits:
            cursor = cursor.behind(hit, order)
            if hit.event_nid in seen:
                hits.append((hit, cursor))
        if len(hits) > limit:
            return HitPage(hits[:limit], read[0], hits[limit - 1][1])
        if len(found.hits) < size:
            return HitPage(hits, read[0])
    return HitPage(hits, read[0], cursor)


def read_cursor(token: str) -> Cursor:
    """400 for what is no token of a search."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise invalid_param(f"Invalid next_batch: {token[:80]!r}")
    return Cursor(*map(int, match.groups()))


def write_cursor(cursor: Cursor) -> str:
    return f"{cursor.upto}_{cursor.skipped}_{cursor.given}_{cursor.count}"
