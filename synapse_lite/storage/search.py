"""The index of what can be searched for in events (docs/decisions/040-search.md)."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import Enum

from attrs import field, frozen

from synapse_lite.matrix.words import Term, lexeme, tsquery
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.planner import keeping_to_indexes
from synapse_lite.storage.stream import Kind, Place
from synapse_lite.storage.timeline import Entry, Selection, condition_of

MAX_RANKED = 2000
"""So many of the newest hits are compared with each other, and counted."""
FEW_ROOMS = 50  # that are asked for in the index itself
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
    """`limit` hits behind the first `skipped`: the newest ones, or (`by_rank`) the best of the newest `MAX_RANKED`."""

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
class Found:
    """A page of hits, visible or not, and how many of the newest `MAX_RANKED` are in each room, by nid."""

    hits: Sequence[Hit]
    counts: Mapping[int, int]


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
    newest, width, within = question.upto // SLICE, 1, Within.ALL
    while width <= min(MAX_SLICES, newest // 2):
        found = _find(txn, question, page, range(newest, newest - width, -1), within)
        everywhere = sum(found.counts.values())
        count = sum(found.counts.get(nid, 0) for nid in question.room_nids)
        if count == MAX_RANKED:
            return found
        if within is Within.ALL:
            within = Within.ROWS if 0 < everywhere <= MOSTLY * count else Within.INDEX
            if everywhere == MAX_RANKED:
                continue  # there are more in this slice
        # A slice may be full of what others do elsewhere.
        width = max(2 * width, 3 * MAX_RANKED * width // (2 * count)) if count else 8 * width
    if within is Within.ALL or newest > 2 * MAX_SLICES:
        within = Within.INDEX  # the newest slice does not tell where the word was common long ago
    return _find(txn, question, page, (), within)


def newest_hits(txn: Transaction, question: Question, limit: int) -> list[Hit]:
    """Without their ranks, newest first."""
    where, arguments = _where(question, (), Within.INDEX)
    rows = txn.rows(
        f"SELECT event_nid, room_nid, position, 0 FROM event_search s WHERE {where} ORDER BY position DESC LIMIT %s",
        (*arguments, limit),
    )
    return [Hit(*row) for row in rows]


def _find(txn: Transaction, question: Question, page: Page, slices: Collection[int], within: Within) -> Found:
    """Among the newest `MAX_RANKED`, in one statement; of the slices only, where there are any."""
    where, arguments = _where(question, slices, within)
    rank, words = _rank(question)
    ranked = f"SELECT event_nid, room_nid, position, {rank} AS rank FROM"
    if page.by_rank:
        hits = f"{ranked} hits ORDER BY rank DESC, position DESC OFFSET %s LIMIT %s"
    else:
        hits = f"{ranked} (SELECT * FROM hits ORDER BY position DESC OFFSET %s LIMIT %s) AS newest"
    rows = txn.rows(
        "WITH hits AS MATERIALIZED (SELECT event_nid, room_nid, position, body FROM event_search s"
        f" WHERE {where} ORDER BY position DESC LIMIT {MAX_RANKED})"
        f" ({hits}) UNION ALL SELECT NULL, room_nid, count(*), NULL FROM hits GROUP BY room_nid",
        (*arguments, *words, page.skipped, page.limit),
    )
    found = [Hit(*row) for row in rows if row[0] is not None]
    found.sort(key=lambda hit: (hit.rank if page.by_rank else 0, hit.position), reverse=True)
    return Found(found, {room_nid: count for nid, room_nid, count, _ in rows if nid is None})


def _rank(question: Question) -> tuple[str, list[object]]:
    """How often the words occur in a `body`, in relation to how much is said; and the arguments."""
    words = dict.fromkeys(term.text for term in question.terms)
    often = " + ".join("(length(body) - length(replace(body, %s, ''))) / %s" for _ in words)
    return f"({often}) / (1 + ln(1 + length(body)))", [part for word in words for part in (word, len(word))]


def _where(question: Question, slices: Collection[int], within: Within) -> tuple[str, list[object]]:
    """A condition about `event_search s`, and its arguments."""
    more, arguments = condition_of(question.selection)
    in_index = within is Within.INDEX and len(question.room_nids) <= FEW_ROOMS
    conditions: list[tuple[str, object]] = [
        ("tokens @@ %s::tsquery", _query(question, slices, in_index)),
        ("position <= %s", question.upto),
    ]
    if within is Within.ROWS:
        # Without statistics, as after much that is new, the planner would else read all of the rooms from their index.
        conditions.append(("room_nid + 0 = ANY(%s)", [*question.room_nids]))
    elif within is Within.INDEX and not in_index:
        conditions.append(("room_nid = ANY(%s)", [*question.room_nids]))
    if set(question.keys) != set(KEYS.values()):
        conditions.append(("key = ANY(%s)", [*question.keys]))
    # One token is found by the index as it is asked for.
    runs = [term.text for term in question.terms if term.is_run and len(term.tokens) > 1]
    conditions += [("strpos(body, %s) > 0", run) for run in runs]
    where = " AND ".join(condition for condition, _ in conditions)
    return f"{where}{more}", [*(argument for _, argument in conditions), *arguments]


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
