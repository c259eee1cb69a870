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
    history_edge,
    purge,
    redactions,
    retention,
    rooms,
    timeline,
)
from synapse_lite.storage import stream as changes
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.redactions import Redactable
from synapse_lite.storage.state import StateStore
from synapse_lite.storage.timeline import Selection, Span
from tests.storage.reading import MESSAGE, rows_read

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
_ROWS = (  # table, columns, condition
    (
        "events",
        f"n, room, '$' || n, 'm.room.member', sender, 'join', sender, number, n, n, NULL, n - 1, n, '{MESSAGE}'",
        "joins",
    ),
    (
        "events",
        f"n, room, '$' || n, {_TYPE}, NULL, NULL, sender, number, n, n, NULL, 1, 1, '{MESSAGE}'",
        "NOT joins",
    ),
    ("redactions", "n, room, '$' || before, before, TRUE", "redacts AND NOT joins"),
    ("stream", "n, 1, room, n, CASE WHEN joins THEN sender END", "TRUE"),
    ("memberships", "sender, room, 'join', sender, n", "joins"),
    ("current_state", "room, 'm.room.member', sender, n", "joins"),
    ("state_snapshots", "n, room, 0, n, ARRAY[n], ARRAY[n]", "TRUE"),
    ("event_transactions", "sender || ' d', room, n, n, n", "TRUE"),
    ("receipts", "room, sender, 'm.read', '', '$' || n, 1", "joins"),
)


class Everything(Selection):
    types = None
    not_types = ()
    senders = None
    not_senders = ()
    contains_url = None


class Messages(Everything):
    types = ("m.room.m*",)


def _all(room: int) -> Span:
    return room, 0, EVENTS


def _nids(first: int) -> range:
    return range(first, first + LIMIT)


STATEMENTS: dict[str, Callable[[Transaction], object]] = {
    "page back, old": lambda t: timeline.page(t, _all(OLD), SHORT, Everything(), backwards=True),
    "page back, old, messages": lambda t: timeline.page(t, _all(OLD), SHORT, Messages(), backwards=True),
    "page forth, new": lambda t: timeline.page(t, _all(NEW), SHORT, Everything(), backwards=False),
    "page forth, new, messages": lambda t: timeline.page(t, _all(NEW), SHORT, Messages(), backwards=False),
    "window, old": lambda t: timeline.windows(t, [_all(OLD)], SHORT, Everything()),
    "window, old, messages": lambda t: timeline.windows(t, [_all(OLD)], SHORT, Messages()),
    "windows": lambda t: timeline.windows(t, [_all(r + 1) for r in range(ROOMS)], SHORT, Everything()),
    "windows, messages": lambda t: timeline.windows(
        t, [_all(r + 1) for r in range(ROOMS)], SHORT, Messages()
    ),
    "state changes": lambda t: timeline.state_changes(
        t, [(r + 1, EVENTS - 200, EVENTS) for r in range(ROOMS)]
    ),
    "positions": lambda t: timeline.positions_of(t, _nids(1)),
    "own memberships, old": lambda t: timeline.own_memberships(t, OLD_USER, 0, EVENTS),
    "changes": lambda t: changes.read_changes(t, EVENTS - 100, LIMIT),
    "quiet changes": lambda t: changes.quiet_changes(t, OLD_USER, range(1, ROOMS), 0, EVENTS),
    "snapshot at, old": lambda t: rooms.snapshot_at(t, OLD, EVENTS),
    "members, old": lambda t: rooms.members(t, OLD, ["join"]),
    "count members": lambda t: rooms.count_members(t, range(1, 30)),
    "heroes": lambda t: rooms.heroes(t, range(1, 20), "@x:hs", 5),
    "departures": lambda t: rooms.departures(t, [1, 2, 3]),
    "memberships": lambda t: rooms.memberships_of(t, OLD_USER, ["join"]),
    "event at a time": lambda t: history_edge.event_at_time(t, OLD, EVENTS),
    "aging rooms": lambda t: retention.aging_rooms(t, 0, LIMIT),
    "receipts": lambda t: ephemeral.receipts(t, range(1, 20), OLD_USER, None),
    "erase": lambda t: erasure.erase_redacted(t, 0, 0, LIMIT),
    "trim the stream": lambda t: expiry.trim_stream(t, 0, EVENTS, LIMIT),
    "out of purged rooms": lambda t: purge.departures(t, OLD_USER, 0, EVENTS),
    "load events": lambda t: EventStore(0).load(t, _nids(1)),
    "views": lambda t: EventStore(0).views(t, _nids(1)),
    "events by id": lambda t: EventStore(0).by_ids(t, [f"${n}" for n in _nids(50_000)]),
    "redactions of events": lambda t: EventStore(0).redactions(t, _nids(50_000)),
    "current state": lambda t: StateStore(0).current_of_rooms(t, range(1, 20), None),
    "states": lambda t: StateStore(0).at_each(t, _nids(1), [("m.room.member", OLD_USER)]),
    "to redact, old": lambda t: redactions.to_redact(t, Redactable(OLD_USER), OLD, None, LIMIT),
    "to redact, old, later": lambda t: redactions.to_redact(t, Redactable(OLD_USER), OLD, OLDEST // 2, LIMIT),
    "newest to redact, old": lambda t: redactions.newest_since(t, Redactable(OLD_USER), OLD, LIMIT),
    "to redact since, old": lambda t: redactions.to_redact(
        t, Redactable(OLD_USER, since=1), OLD, None, LIMIT
    ),
    "count to redact": lambda t: redactions.count_to_redact(t, Redactable(OLD_USER), [], None),
    "count to redact in rooms": lambda t: redactions.count_to_redact(t, Redactable(OLD_USER), ["!1:hs"], 50),
    "count left to redact": lambda t: redactions.count_left(t, Redactable(OLD_USER), OLD),
    "last stay, old": lambda t: redactions.last_stay(t, OLD_USER, OLD),
    "next room, new": lambda t: redactions.next_room(t, NEW_USER, 0, ()),
    "next room, old": lambda t: redactions.next_room(t, OLD_USER, 0, ()),
}


@pytest.mark.parametrize("analyzed", [False, True])
@ensureDeferred
async def test_no_statement_reads_the_past_of_the_server(database: Database, analyzed: bool) -> None:
    await database.transact(_fill)
    if analyzed:
        await database.transact(lambda txn: txn.execute("ANALYZE"))
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
    before = rows_read(txn)
    assert run(txn) is not None
    return rows_read(txn) - before
