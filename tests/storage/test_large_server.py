"""What a statement reads of a server with a long past: about what it returns, wherever that lies.

Rows are counted, not time. Which plan PostgreSQL takes depends on what it knows of the tables, so that
each statement is run before and after they are analyzed.
"""

from collections.abc import Callable

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.storage import (
    ephemeral,
    erasure,
    expiry,
    last_leaves,
    notices,
    purge,
    purge_boundary,
    redact_targets,
    relations,
    retention,
    rooms,
    state_deltas,
    timeline,
)
from synapse_lite.storage import stream as changes
from synapse_lite.storage.aggregations import read_summaries
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.redact_targets import Redactable
from synapse_lite.storage.relations import Annotation, RelationFilter
from synapse_lite.storage.room_pages import read_page
from synapse_lite.storage.state import StateStore
from synapse_lite.storage.stream import START, Place
from synapse_lite.storage.timeline import LiveSpan, Selection, Span
from tests.storage.reading import MESSAGE, undone

EVENTS = 100_000  # the nid of each is its position in the stream
ROOMS = 50  # with events; and ten times as many in all
USERS = 20  # of each room
LIMIT = 100
SHORT = 10
READ = 12 * LIMIT
"""Rows of tables and entries of indexes: far from `EVENTS`, and from the 2,000 events of a room."""

OLD, NEW = 1, 2
"""A room that was forgotten long ago, and one that has just come into being. The others are in between."""
OLDEST, NEWEST = EVENTS * 6 // 100, EVENTS * 94 // 100
OLD_USER = "@1_3:hs"
NEW_USER = "@2_3:hs"

_E = f"""
WITH placed AS (
    SELECT n, CASE WHEN n <= {OLDEST} THEN {OLD} WHEN n > {NEWEST} THEN {NEW} ELSE 3 + n % {ROOMS - 2} END AS room
    FROM generate_series(1, {EVENTS}) n
), numbered AS (
    SELECT *, row_number() OVER w AS number, lag(n) OVER w AS before
    FROM placed WINDOW w AS (PARTITION BY room ORDER BY n)
), e AS (
    SELECT *, number <= {USERS} AS joins, number % 10 = 0 AS redacts,
        '@' || room || '_' || number % {USERS} || ':hs' AS sender
    FROM numbered ORDER BY n
)
"""
_TYPE = "CASE WHEN redacts THEN 'm.room.redaction' ELSE 'm.room.message' END"
_REL_TYPE = "(ARRAY['m.thread', 'm.replace', 'm.reference', 'm.annotation'])[number / 10 % 4 + 1]"
_ROWS = (  # table, columns, condition
    (
        "events",
        f"n, room, '$' || n, 'm.room.member', sender, 'join', sender, number, n, n, 0, NULL, NULL, n - 1, n, NULL, '{{}}', '{MESSAGE}'",
        "joins",
    ),
    (
        "events",
        f"n, room, '$' || n, {_TYPE}, NULL, NULL, sender, number, n, n, 0, NULL, NULL, 1, 1, NULL, '{{}}', '{MESSAGE}'",
        "NOT joins",
    ),
    ("redactions", "n, room, '$' || before, before, TRUE", "redacts AND NOT joins"),
    ("stream", "n, 0, 1, room, n, CASE WHEN joins THEN sender END", "TRUE"),
    ("memberships", "sender, room, 'join', sender, n", "joins"),
    ("state_deltas", "n, room, 'm.room.member', sender, n, NULL", "joins"),
    ("current_state", "room, 'm.room.member', sender, n", "joins"),
    ("state_snapshots", "n, room, 0, n, 1, ARRAY[n], ARRAY[n]", "TRUE"),
    ("event_transactions", "sender || ' d', room, 'send', n, n, NULL, n", "TRUE"),
    (
        "relations",
        f"n, room, '$' || before, {_REL_TYPE}, NULL, 'm.room.message', sender, n, FALSE",
        "number % 10 = 1 AND NOT joins",
    ),
    ("receipts", "room, sender, 'm.read', '', '$' || n, 1", "joins"),
    ("notices", "room, n, n, sender, 'main', TRUE, FALSE, NULL", "NOT joins"),
    ("own_reads", "room, sender, '', n", "joins"),
)


class Everything(Selection):
    types = None
    not_types = ()
    senders = None
    not_senders = ()
    rel_types = None
    not_rel_types = ()
    related_by_senders = None
    related_by_rel_types = None
    contains_url = None
    ignored = ()


class Messages(Everything):
    types = ("m.room.m*",)


def _all(room: int) -> Span:
    return room, START, Place(EVENTS)


def _live(room: int) -> LiveSpan:
    return room, 0, EVENTS


def _nids(first: int) -> range:
    return range(first, first + LIMIT)


def _in_room_10(near: int) -> int:
    return near - near % (ROOMS - 2) + 7


STATEMENTS: dict[str, Callable[[Transaction], object]] = {
    "page back, old": lambda t: timeline.page(t, _all(OLD), SHORT, Everything(), backwards=True),
    "page back, old, messages": lambda t: timeline.page(t, _all(OLD), SHORT, Messages(), backwards=True),
    "page forth, new": lambda t: timeline.page(t, _all(NEW), SHORT, Everything(), backwards=False),
    "page forth, new, messages": lambda t: timeline.page(t, _all(NEW), SHORT, Messages(), backwards=False),
    "page and access, old": lambda t: read_page(
        t, f"!{OLD}:hs", OLD_USER, START, Place(EVENTS), SHORT, Everything(), backwards=True
    ),
    "page and access, new, messages": lambda t: read_page(
        t, f"!{NEW}:hs", NEW_USER, START, Place(EVENTS), SHORT, Messages(), backwards=False
    ),
    "window, old": lambda t: timeline.windows(t, [_live(OLD)], SHORT, Everything()),
    "window, old, messages": lambda t: timeline.windows(t, [_live(OLD)], SHORT, Messages()),
    "windows": lambda t: timeline.windows(t, [_live(r + 1) for r in range(ROOMS)], SHORT, Everything()),
    "windows, messages": lambda t: timeline.windows(
        t, [_live(r + 1) for r in range(ROOMS)], SHORT, Messages()
    ),
    "positions": lambda t: timeline.places_of(t, _nids(1)),
    "state deltas": lambda t: state_deltas.deltas_in(
        t, [(r + 1, EVENTS - 200, EVENTS) for r in range(ROOMS)]
    ),
    "membership deltas, old": lambda t: state_deltas.membership_deltas(t, OLD_USER, 0, EVENTS),
    "changes": lambda t: changes.read_changes(t, EVENTS - 100, LIMIT),
    "quiet changes": lambda t: changes.quiet_changes(
        t, OLD_USER, range(1, ROOMS), list(changes.KINDS), 0, EVENTS
    ),
    "snapshot at, old": lambda t: rooms.snapshot_at(t, OLD, Place(EVENTS)),
    "members, old": lambda t: rooms.members(t, OLD, ["join"]),
    "count members": lambda t: rooms.count_members(t, range(1, 30)),
    "heroes": lambda t: rooms.heroes(t, range(1, 20), 5),
    "departures": lambda t: last_leaves.last_leaves(t, [1, 2, 3]),
    "memberships": lambda t: rooms.memberships_of(t, OLD_USER, ["join"]),
    "event at a time": lambda t: purge_boundary.event_at_time(t, OLD, EVENTS),
    "aging rooms": lambda t: retention.aging_rooms(t, 0, LIMIT),
    "receipts": lambda t: ephemeral.receipts(t, range(1, 20), OLD_USER),
    "how far one has read": lambda t: notices.read_marks(t, OLD_USER, range(1, 20)),
    "unread": lambda t: notices.count_notices(
        t, notices.Reader(OLD_USER), {nid: {"": EVENTS - 1000, "$1": 5} for nid in range(1, 20)}, EVENTS
    ),
    "newest notices": lambda t: notices.newest_before(
        t, dict.fromkeys(range(1, 20), 5), EVENTS, SHORT, even_quiet=False
    ),
    "newest to evaluate": lambda t: notices.newest_before(
        t, dict.fromkeys(range(1, 20), 5), EVENTS, SHORT, even_quiet=True
    ),
    "members since": lambda t: notices.member_steps(t, 10, EVENTS - 1000),
    "erase": lambda t: erasure.erase_redacted(t, 0, 0, LIMIT),
    "trim the stream": lambda t: expiry.trim_stream(t, 0, EVENTS, LIMIT),
    "out of purged rooms": lambda t: purge.purged_rooms(t, OLD_USER, 0, EVENTS),
    "load events": lambda t: EventStore(0).load(t, _nids(1)),
    "views": lambda t: EventStore(0).views(t, _nids(1), as_parents=True),
    "what relates to events": lambda t: read_summaries(
        t, list(EventStore(0).load(t, _nids(50_000)).values()), OLD_USER
    ),
    "children": lambda t: relations.children(
        t,
        10,
        f"${_in_room_10(50_000)}",
        RelationFilter(),
        (START, Place(EVENTS)),
        SHORT,
        depth=3,
        backwards=True,
    ),
    "threads": lambda t: relations.threads(t, 10, None, Place(EVENTS), SHORT),
    "threads of a user": lambda t: relations.threads(t, 10, "@10_3:hs", Place(EVENTS), SHORT),
    "annotations": lambda t: relations.known_annotations(
        t, {Annotation(f"${n}", OLD_USER, "m.reaction", "x") for n in _nids(50_000)}
    ),
    "events by id": lambda t: EventStore(0).by_ids(t, [f"${n}" for n in _nids(50_000)]),
    "redactions of events": lambda t: EventStore(0).redactions(t, _nids(50_000)),
    "current state": lambda t: StateStore(0).current_of_rooms(t, range(1, 20), None),
    "states": lambda t: StateStore(0).at_each(t, _nids(1), [("m.room.member", OLD_USER)]),
    "to redact, old": lambda t: redact_targets.to_redact(t, Redactable(OLD_USER), OLD, None, LIMIT),
    "to redact, old, later": lambda t: redact_targets.to_redact(
        t, Redactable(OLD_USER), OLD, OLDEST // 2, LIMIT
    ),
    "newest to redact, old": lambda t: redact_targets.newest_since(t, Redactable(OLD_USER), OLD, LIMIT),
    "to redact since, old": lambda t: redact_targets.to_redact(
        t, Redactable(OLD_USER, since=1), OLD, None, LIMIT
    ),
    "count to redact": lambda t: redact_targets.count_to_redact(t, Redactable(OLD_USER), [], None),
    "count to redact in rooms": lambda t: redact_targets.count_to_redact(
        t, Redactable(OLD_USER), ["!1:hs"], 50
    ),
    "count left to redact": lambda t: redact_targets.count_left(t, Redactable(OLD_USER), OLD),
    "places, old": lambda t: redact_targets.places(t, OLD_USER, OLD, LIMIT),
    "next room, new": lambda t: redact_targets.next_room(t, NEW_USER, 0, ()),
    "next room, old": lambda t: redact_targets.next_room(t, OLD_USER, 0, ()),
}


@pytest.mark.new_database
@ensureDeferred
async def test_no_statement_reads_the_past_of_the_server(database: Database) -> None:
    """Neither when the planner knows nothing of the tables yet, nor when it knows them."""
    await database.transact(_fill)
    for statement in ("SELECT", "ANALYZE"):
        await database.transact(Transaction.execute, statement)
        read = {name: await database.transact(_rows_read_by, run) for name, run in STATEMENTS.items()}
        assert {name: rows for name, rows in read.items() if rows > READ} == {}


def _fill(txn: Transaction) -> None:
    """The first events of each room are the joins of its users; later every tenth redacts the one before."""
    txn.execute(
        "INSERT INTO rooms (room_nid, room_id, version, creator, created_ts) OVERRIDING SYSTEM VALUE"
        f" SELECT n, '!' || n || ':hs', '11', '@0:hs', 1 FROM generate_series(1, {10 * ROOMS}) n"
    )
    for table, columns, condition in _ROWS:
        txn.execute(f"{_E} INSERT INTO {table} SELECT {columns} FROM e WHERE {condition}")
    txn.execute("UPDATE stream_position SET position = %s", (EVENTS,))


def _rows_read_by(txn: Transaction, run: Callable[[Transaction], object]) -> int:
    found, read = undone(txn, run)
    assert found is not None
    return read
