"""The index of what can be searched for in events (docs/decisions/040-search.md)."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from attrs import field, frozen

from synapse_lite.matrix.words import Term, lexeme, tsquery
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.planner import keeping_to_indexes
from synapse_lite.storage.stream import Kind, Place
from synapse_lite.storage.timeline import Entry, Selection, condition_of

MAX_RANKED = 2000
"""So many of the newest hits are compared with each other, and counted."""
FEW_ROOMS = 50  # that are asked for in the index itself

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
class Hit:
    event_nid: int
    room_nid: int
    position: int
    rank: float = field(converter=float)

    @property
    def entry(self) -> Entry:
        return Place(self.position), self.event_nid


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
                 [*row.tokens, f"#{row.room_nid}", row.sender])
                for row in rows
            ],
            "(%s, %s, %s, %s, %s, array_to_tsvector(%s::text[]))",
        )  # fmt: skip


def forget_events(txn: Transaction, event_nids: Collection[int]) -> None:
    """What is redacted is found no more."""
    if event_nids:
        txn.later("DELETE FROM event_search WHERE event_nid = ANY(%s)", (list(event_nids),))


def every_hit(txn: Transaction, question: Question) -> list[Hit]:
    """The newest `MAX_RANKED`, visible or not, without their ranks; newest first."""
    where, arguments = _where(question)
    rows = txn.rows(
        f"SELECT event_nid, room_nid, position, 0 FROM event_search s WHERE {where} ORDER BY position DESC LIMIT %s",
        (*arguments, MAX_RANKED),
    )
    return [Hit(*row) for row in rows]


def newest_hits(txn: Transaction, question: Question, limit: int) -> list[Hit]:
    """The newest first, with their ranks."""
    where, arguments = _where(question)
    rows = txn.rows(
        f"SELECT event_nid, room_nid, position, {_RANK} FROM (SELECT * FROM event_search s WHERE {where}"
        " ORDER BY position DESC LIMIT %s) AS hits ORDER BY position DESC",
        (_words(question), *arguments, limit),
    )
    return [Hit(*row) for row in rows]


def best_hits(txn: Transaction, question: Question, skipped: int, limit: int) -> list[Hit]:
    """The best of the newest `MAX_RANKED`, from a place among them; the newest of equals first."""
    where, arguments = _where(question)
    rows = txn.rows(
        f"SELECT event_nid, room_nid, position, {_RANK} AS rank FROM (SELECT * FROM event_search s WHERE {where}"
        " ORDER BY position DESC LIMIT %s) AS hits ORDER BY rank DESC, position DESC OFFSET %s LIMIT %s",
        (_words(question), *arguments, MAX_RANKED, skipped, limit),
    )
    return [Hit(*row) for row in rows]


# How often the words occur, in relation to how much is said.
_RANK = (
    "(SELECT sum((length(body) - length(replace(body, word, ''))) / length(word)) FROM unnest(%s::text[]) AS word)"
    " / (1 + ln(1 + length(body)))"
)


def _words(question: Question) -> list[str]:
    return [term.text for term in question.terms]


def _where(question: Question) -> tuple[str, list[object]]:
    """A condition about `event_search s`, and its arguments."""
    more, arguments = condition_of(question.selection)
    runs = [term.text for term in question.terms if term.is_run]
    # OFFSET 0: looked up for each hit, where it is asked after the index.
    where = (
        "tokens @@ %s::tsquery AND room_nid = ANY(%s) AND key = ANY(%s) AND position <= %s"
        " AND NOT EXISTS (SELECT FROM unnest(%s::text[]) AS run WHERE strpos(body, run) = 0)"
        " AND NOT EXISTS (SELECT FROM redactions r WHERE r.target_nid = s.event_nid AND applied OFFSET 0)"
        f"{more}"
    )
    rooms, keys = [*question.room_nids], [*question.keys]
    return where, [_query(question), rooms, keys, question.upto, runs, *arguments]


def _query(question: Question) -> str:
    """For the index: all terms, one of the rooms, one of the senders."""
    more = []
    if len(question.room_nids) <= FEW_ROOMS:
        more.append(_any(f"#{nid}" for nid in question.room_nids))
    if question.selection.senders:
        more.append(_any(question.selection.senders))
    return tsquery(question.terms, *more)


def _any(tokens: Iterable[str]) -> str:
    return f"({' | '.join(lexeme(token) for token in tokens)})"
