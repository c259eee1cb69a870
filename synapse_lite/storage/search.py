"""The index of what can be searched for in events (docs/decisions/040-search.md)."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from enum import Enum
from functools import partial
from math import ceil
from typing import Any

from attrs import field, frozen

from synapse_lite.matrix.words import Term, lexeme, tsquery
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.nids import nid_array
from synapse_lite.storage.planner import keeping_to_indexes, planned_once
from synapse_lite.storage.prepared import Prepared
from synapse_lite.storage.stream import Kind, Place
from synapse_lite.storage.timeline import Entry, Selection, condition_of

MAX_RANKED = 2000
"""So many of the newest hits are compared with each other, and counted."""
FEW_ROOMS = 50  # that are asked for in the index itself
FEW_TERMS = 3  # for each number of which a connection may plan its own statements
SLICE = 8192  # positions of the stream that share a token, so that the newest hits of a common word are found alone
MAX_SLICES = 64  # asked for at once
MOSTLY = 2  # at most half of the hits are in other rooms

KEYS: Mapping[str, str] = {
    "m.room.message": "content.body",
    "m.room.name": "content.name",
    "m.room.topic": "content.topic",
}
"""Where in the events of each type the text stands."""


@frozen
class SearchRow:
    """The text of an event, normalised, and its tokens."""

    event_nid: int
    room_nid: int
    position: int
    sender: str
    key: str
    body: str
    tokens: Sequence[str]


@frozen
class Question:
    """What is looked for, in which rooms and `keys`, up to a position."""

    terms: Sequence[Term]
    room_nids: Sequence[int]
    keys: Collection[str]
    selection: Selection
    upto: int


@frozen
class Page:
    """`limit` hits in the rooms behind the first `skipped`: the newest ones, or (`by_rank`) the best of the newest `MAX_RANKED`."""

    limit: int
    by_rank: bool = False
    skipped: int = 0


class Within(Enum):
    """Where the rooms of a question are looked at. Each costs the index as much for a hit as the hit itself does."""

    ALL = "nowhere: what is found is everybody's"
    ROWS = "in the rows that the index finds"
    INDEX = "in the index, where they are few"


@frozen
class Hit:
    event_nid: int
    room_nid: int
    position: int
    rank: float = field(converter=float)

    @property
    def entry(self) -> Entry:
        return Place(self.position), self.event_nid


@frozen
class Next:
    """How to go on looking back: into so many of the newest slices, and how for the rooms."""

    width: int
    within: Within


@frozen
class Found:
    """A page of hits, visible or not, and how many of the newest `MAX_RANKED` are in each room, by nid.

    `next`: there may be more in what nobody looked into.
    """

    hits: Sequence[Hit]
    counts: Mapping[int, int]
    next: Next | None = None


_Read = Callable[[Transaction, Question, Collection[int], Within], Found]


@keeping_to_indexes
def hold_searchable(txn: Transaction, event_nids: Collection[int]) -> list[int]:
    """Those of the events that have text and are not redacted or hidden, kept as they are until the transaction ends.

    Rooms that are being purged have none.
    """
    nids = list(event_nids)
    txn.later(
        "SELECT FROM rooms WHERE room_nid = ANY(ARRAY(SELECT room_nid FROM events WHERE event_nid = ANY(%s)))"
        " ORDER BY room_nid FOR KEY SHARE",
        (nids,),
    )
    txn.later(
        "SELECT FROM events WHERE event_nid = ANY(%s) AND type = ANY(%s) ORDER BY event_nid FOR KEY SHARE",
        (nids, [*KEYS]),
    )
    # Only a statement of its own sees what those did who held them before.
    rows = txn.rows(
        "SELECT event_nid FROM events e WHERE event_nid = ANY(%s) AND type = ANY(%s)"
        " AND (SELECT kind FROM stream s WHERE s.event_nid = e.event_nid) = %s"
        " AND NOT (SELECT purging FROM rooms r WHERE r.room_nid = e.room_nid)"
        " AND NOT EXISTS (SELECT FROM redactions r WHERE r.target_nid = e.event_nid AND applied OFFSET 0)"
        " ORDER BY event_nid",
        (nids, [*KEYS], Kind.EVENT),
    )
    return [nid for (nid,) in rows]


def index_events(txn: Transaction, rows: Sequence[SearchRow]) -> None:
    if rows:
        txn.insert(
            "INSERT INTO event_search (event_nid, room_nid, position, key, body, tokens) VALUES %s"
            " ON CONFLICT (event_nid) DO NOTHING",
            [
                (row.event_nid, row.room_nid, row.position, row.key, row.body,
                 [*row.tokens, f"#{row.room_nid}", row.sender, _slice(row.position // SLICE)])
                for row in rows
            ],
            "(%s, %s, %s, %s, %s, array_to_tsvector(%s::text[]))",
        )  # fmt: skip


def positions_of(txn: Transaction, event_nids: Collection[int]) -> dict[int, int]:
    """Of those of the events that pages show, and that are no history which was fetched later."""
    rows = txn.rows(
        "SELECT event_nid, position FROM stream WHERE event_nid = ANY(%s) AND kind = %s AND minor = 0",
        (list(event_nids), Kind.EVENT),
    )
    return dict(rows)


def forget_events(txn: Transaction, event_nids: Collection[int]) -> None:
    """What is redacted is found no more."""
    if event_nids:
        txn.later("DELETE FROM event_search WHERE event_nid = ANY(%s)", (list(event_nids),))


def find(txn: Transaction, question: Question, page: Page) -> Found:
    """What the follower has not seen redacted yet is among the hits."""
    needed = MAX_RANKED if page.by_rank else min(MAX_RANKED, page.skipped + page.limit)
    return _look(txn, question, needed, Next(1, Within.ALL), partial(_read_page, page=page))


def count(txn: Transaction, question: Question, found: Found) -> Mapping[int, int]:
    """The `counts` of everything that is older, too."""
    if found.next is None:
        return found.counts
    return _look(txn, question, MAX_RANKED, found.next, _read_counts).counts


def _look(txn: Transaction, question: Question, needed: int, how: Next, read: _Read) -> Found:
    """Look back until so many hits are found in the rooms that are asked for."""
    newest = question.upto // SLICE
    while how.width <= min(MAX_SLICES, newest // 2):
        found = read(txn, question, range(newest, newest - how.width, -1), how.within)
        everywhere = sum(found.counts.values())
        counts = {nid: found.counts[nid] for nid in question.room_nids if nid in found.counts}
        here = sum(counts.values())
        if here == MAX_RANKED:
            return Found(found.hits, counts)
        if here >= needed:
            return Found(found.hits, counts, _next(question, MAX_RANKED, how, everywhere, here))
        how = _next(question, needed, how, everywhere, here)
    # The newest slice does not tell where the word was common long ago.
    is_unknown = how.within is Within.ALL or newest > 2 * MAX_SLICES
    return read(txn, question, (), Within.INDEX if is_unknown else how.within)


def _next(question: Question, needed: int, how: Next, everywhere: int, here: int) -> Next:
    """How to look for so many hits, after so many were found everywhere, of them `here` in the rooms."""
    width, within = how.width, how.within
    if within is Within.ALL:
        within = Within.ROWS if 0 < everywhere <= MOSTLY * here else Within.INDEX
        if everywhere == MAX_RANKED:
            return Next(width, within)  # there are more in this slice
    if not here:
        return Next(8 * width, within)  # a slice may be full of what others do elsewhere
    slices = width - 1 + (question.upto % SLICE + 1) / SLICE
    return Next(max(2 * width, ceil(1.5 * needed * slices / here)), within)


def _read_page(
    txn: Transaction, question: Question, slices: Collection[int], within: Within, page: Page
) -> Found:
    """In one statement; of the slices only, where there are any. The counts are of all rooms."""
    where = _where(question, slices, within)
    rank, words = _rank(question)
    ranked = f"SELECT event_nid, room_nid, position, {rank} AS rank FROM"
    ours = "SELECT * FROM hits WHERE room_nid = ANY(%s::bigint[])"
    if page.by_rank:
        hits = f"{ranked} ({ours}) AS ours ORDER BY rank DESC, position DESC OFFSET %s LIMIT %s"
    else:
        hits = f"{ranked} ({ours} ORDER BY position DESC OFFSET %s LIMIT %s) AS newest"
    rows = _rows(
        txn,
        where,
        f"{'best' if page.by_rank else 'newest'}_{len(words)}",
        "WITH hits AS MATERIALIZED (SELECT event_nid, room_nid, position, body FROM event_search s"
        f" WHERE {where.sql} ORDER BY position DESC LIMIT {MAX_RANKED})"
        f" ({hits}) UNION ALL SELECT NULL, room_nid, count(*), NULL FROM hits GROUP BY room_nid",
        (*words, nid_array(question.room_nids), page.skipped, page.limit),
    )
    found = [Hit(*row) for row in rows if row[0] is not None]
    found.sort(key=lambda hit: (hit.rank if page.by_rank else 0, hit.position), reverse=True)
    return Found(found, {room_nid: count for nid, room_nid, count, _ in rows if nid is None})


def _read_counts(txn: Transaction, question: Question, slices: Collection[int], within: Within) -> Found:
    """As `_read_page`, without the page: half of its cost is to read the texts and to sort them."""
    where = _where(question, slices, within)
    hits = f"SELECT room_nid FROM event_search s WHERE {where.sql} LIMIT {MAX_RANKED}"
    sql = f"SELECT room_nid, count(*) FROM ({hits}) AS hits GROUP BY room_nid"
    return Found((), dict(_rows(txn, where, "counts", sql, ())))


def _rows(
    txn: Transaction, where: "_Where", name: str, sql: str, more: Sequence[object]
) -> Sequence[tuple[Any, ...]]:
    """To plan the statement takes as long as to find a hundred hits, and there is one way to do it: by the tokens."""
    arguments = (*where.arguments, *more)
    if where.name is None:
        return txn.rows(sql, arguments)
    with planned_once(txn):
        return txn.rows(Prepared(f"search_{name}_{where.name}", sql), arguments)


def _rank(question: Question) -> tuple[str, list[object]]:
    """How often the words occur in a `body`, in relation to how much is said; and the arguments."""
    words = dict.fromkeys(term.text for term in question.terms)
    often = " + ".join("(length(body) - length(replace(body, %s, ''))) / %s" for _ in words)
    return f"({often}) / (1 + ln(1 + length(body)))", [part for word in words for part in (word, len(word))]


@frozen
class _Where:
    """A condition about `event_search s`, and its arguments. `name` stands for its text; None: there are too many like it."""

    sql: str
    arguments: Sequence[object]
    name: str | None


def _where(question: Question, slices: Collection[int], within: Within) -> _Where:
    more, arguments = condition_of(question.selection)
    in_index = within is Within.INDEX and len(question.room_nids) <= FEW_ROOMS
    conditions: list[tuple[str, object]] = [
        ("tokens @@ %s::tsquery", _query(question, slices, in_index)),
        ("position <= %s", question.upto),
    ]
    is_plain = not more and len(question.terms) <= FEW_TERMS
    name = "tokens"
    if within is Within.ROWS:
        # Without statistics, as after much that is new, the planner would else read all of the rooms from their index.
        conditions.append(("room_nid + 0 = ANY(%s::bigint[])", nid_array(question.room_nids)))
        name += "_rooms"
    elif within is Within.INDEX and not in_index:
        conditions.append(("room_nid = ANY(%s::bigint[])", nid_array(question.room_nids)))
        is_plain = False
    if set(question.keys) != set(KEYS.values()):
        conditions.append(("key = ANY(%s::text[])", [*question.keys]))
        name += "_keys"
    # One token is found by the index as it is asked for.
    runs = [term.text for term in question.terms if term.is_run and len(term.tokens) > 1]
    conditions += [("strpos(body, %s) > 0", run) for run in runs]
    name += f"_{len(runs)}"
    where = " AND ".join(condition for condition, _ in conditions)
    values = [*(argument for _, argument in conditions), *arguments]
    return _Where(f"{where}{more}", values, name if is_plain else None)


def _query(question: Question, slices: Collection[int], with_rooms: bool) -> str:
    """For the index: all terms, one of the rooms, one of the senders, one of the slices."""
    more = []
    if with_rooms:
        more.append(_any(f"#{nid}" for nid in question.room_nids))
    if question.selection.senders:
        more.append(_any(question.selection.senders))
    if slices:
        more.append(_any(_slice(number) for number in slices))
    return tsquery(question.terms, *more)


def _slice(number: int) -> str:
    return f"~{number}"


def _any(tokens: Iterable[str]) -> str:
    return f"({' | '.join(lexeme(token) for token in tokens)})"
