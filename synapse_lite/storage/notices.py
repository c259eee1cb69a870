"""Which events notify, how far somebody has read, and how many notices come after that."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import orjson
from attrs import frozen

from synapse_lite.matrix.push_rules.notices import Notice
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.relations import MAIN_THREAD
from synapse_lite.storage.stream import ROOM_ORDER_BACK, Kind, Position, room_span

ALL_THREADS = ""
"""As a thread id: of what is read wherever it is."""

Marks = Mapping[str, int]  # thread id (or ALL_THREADS) to the position up to which it is read


@frozen
class PlacedNotice:
    """A notice with the event that it is about."""

    notice: Notice
    sender: str
    thread_id: str


@frozen
class Count:
    """Of unread notices of a thread; `last` is the position of the newest of them."""

    notifications: int = 0
    highlights: int = 0
    last: int = 0

    def plus(self, position: int, *, highlight: bool) -> "Count":
        """With one notice more."""
        return self.with_more(Count(1, int(highlight), position))

    def with_more(self, later: "Count") -> "Count":
        """With those that came after them."""
        return Count(self.notifications + later.notifications, self.highlights + later.highlights, later.last)


@frozen
class Reader:
    """Whose notices are counted, without those of senders whom they ignore."""

    user_id: str
    ignored: Collection[str] = ()


def dump_notice(placed: PlacedNotice) -> str:
    """For the stream, where those who follow it in memory find it."""
    notice = placed.notice
    parts = [placed.sender, placed.thread_id, notice.notifies, notice.highlights, notice.mentioned]
    return orjson.dumps(parts).decode()


def load_notice(content: str) -> PlacedNotice:
    sender, thread_id, notifies, highlights, mentioned = orjson.loads(content)
    return PlacedNotice(Notice(notifies, highlights, tuple(mentioned)), sender, thread_id)


def insert_notice(
    txn: Transaction, position: Position, room_nid: int, event_nid: int, placed: PlacedNotice
) -> None:
    """Under the lock of the stream (see `Transaction.publish`)."""
    notice = placed.notice
    txn.insert_row(
        "INSERT INTO notices (room_nid, position, event_nid, sender, thread_id, notifies, highlights, mentioned)"
        " VALUES %s",
        (
            room_nid, position, event_nid, placed.sender, placed.thread_id, notice.notifies, notice.highlights,
            list(notice.mentioned) or None,
        ),
    )  # fmt: skip


def delete_notices(txn: Transaction, event_nids: Collection[int]) -> None:
    if event_nids:
        txn.later("DELETE FROM notices WHERE event_nid = ANY(%s)", (list(event_nids),))


def put_own_read(txn: Transaction, position: Position, room_nid: int, user_id: str, thread_id: str) -> None:
    """The user has read the thread up to there, because they wrote there; under the lock of the stream."""
    txn.later(
        "INSERT INTO own_reads (room_nid, user_id, thread_id, position) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT (room_nid, user_id, thread_id) DO UPDATE SET position = excluded.position",
        (room_nid, user_id, thread_id, position),
    )


_MARKS = """
SELECT r.user_id, r.room_nid, m.thread_id, max(m.position)
FROM unnest(%s::text[], %s::bigint[]) AS r (user_id, room_nid)
CROSS JOIN LATERAL (
    SELECT thread_id, coalesce(position, (SELECT s.position FROM stream s WHERE s.event_nid = (
        SELECT e.event_nid FROM events e WHERE e.event_id = receipts.event_id AND e.room_nid = r.room_nid))) AS position
    FROM receipts WHERE room_nid = r.room_nid AND user_id = r.user_id
    UNION ALL SELECT thread_id, position FROM own_reads
    WHERE room_nid = r.room_nid AND user_id = r.user_id OFFSET 0) AS m
WHERE m.position IS NOT NULL GROUP BY 1, 2, 3
"""


def read_marks(txn: Transaction, user_id: str, room_nids: Collection[int]) -> Mapping[int, Marks]:
    """How far the user has read, by room: by receipts, by what they wrote, by joining."""
    return read_marks_of(txn, {user_id: room_nids})[user_id]


def read_marks_of(
    txn: Transaction, room_nids: Mapping[str, Collection[int]]
) -> Mapping[str, Mapping[int, Marks]]:
    """As `read_marks`, of several users, each with their rooms."""
    marks: dict[str, dict[int, dict[str, int]]] = {
        user_id: {nid: {} for nid in nids} for user_id, nids in room_nids.items()
    }
    pairs = [(user_id, nid) for user_id, nids in marks.items() for nid in nids]
    rows = txn.rows(_MARKS, ([user_id for user_id, _ in pairs], [nid for _, nid in pairs]))
    for user_id, room_nid, thread_id, position in rows:
        marks[user_id][room_nid][thread_id] = position
    return marks


# Clients mostly read in threads: the main one from its own mark on, the others from that of all threads on. The main
# one of each room is counted as it is read: to sort hundred thousand notices takes twice as long, and goes to the disk.
_COUNTED = (
    "count(*) FILTER (WHERE n.notifies OR %(user)s = ANY(n.mentioned)),"
    " count(*) FILTER (WHERE n.highlights OR %(user)s = ANY(n.mentioned)), max(n.position) AS last"
)
_OF_OTHERS = "n.sender <> %(user)s AND n.sender <> ALL (%(ignored)s)"
_COUNTS = f"""
SELECT r.room_nid, '{MAIN_THREAD}', counted.* FROM unnest(%(rooms)s::bigint[], %(main)s::bigint[]) AS r (room_nid, after)
CROSS JOIN LATERAL (SELECT {_COUNTED} FROM notices n WHERE n.room_nid = r.room_nid
    AND n.position > r.after AND n.position <= %(upto)s AND n.thread_id = '{MAIN_THREAD}' AND {_OF_OTHERS}) AS counted
WHERE counted.last IS NOT NULL
UNION ALL
SELECT n.room_nid, n.thread_id, {_COUNTED} FROM (
    SELECT t.* FROM unnest(%(rooms)s::bigint[], %(others)s::bigint[]) AS r (room_nid, after)
    CROSS JOIN LATERAL (SELECT * FROM notices n WHERE n.room_nid = r.room_nid
        AND n.position > r.after AND n.position <= %(upto)s AND n.thread_id <> '{MAIN_THREAD}' OFFSET 0) AS t
) AS n LEFT JOIN unnest(%(read_rooms)s::bigint[], %(read_threads)s::text[], %(read_upto)s::bigint[])
    AS read (room_nid, thread_id, position) ON (read.room_nid, read.thread_id) = (n.room_nid, n.thread_id)
WHERE n.position > coalesce(read.position, 0) AND {_OF_OTHERS}
GROUP BY 1, 2
"""


def count_notices(
    txn: Transaction, reader: Reader, marks: Mapping[int, Marks], upto: int
) -> dict[int, dict[str, Count]]:
    """By room and thread, what comes after the marks and not after `upto`; by the predefined rules."""
    counts: dict[int, dict[str, Count]] = {nid: {} for nid in marks}
    if not marks:
        return counts
    read = [
        (nid, thread_id, position)
        for nid, of_room in marks.items()
        for thread_id, position in of_room.items()
        if thread_id not in {ALL_THREADS, MAIN_THREAD}
    ]
    rows = txn.rows(
        _COUNTS,
        {
            "user": reader.user_id,
            "ignored": list(reader.ignored),
            "upto": upto,
            "rooms": list(marks),
            "main": [mark_of(of_room, MAIN_THREAD) for of_room in marks.values()],
            "others": [of_room.get(ALL_THREADS, 0) for of_room in marks.values()],
            **_columns(read, ("read_rooms", "read_threads", "read_upto")),
        },
    )
    for room_nid, thread_id, *numbers in rows:
        if numbers[0]:
            counts[room_nid][thread_id] = Count(*numbers)
    return counts


def member_steps(txn: Transaction, room_nid: int, after: int) -> list[tuple[int, int]]:
    """How the number of joined members changed after a position: position and difference, newest first."""
    return txn.rows(
        "SELECT position, sum((coalesce(now.membership, '') = 'join')::int"
        "  - (coalesce(before.membership, '') = 'join')::int) FROM state_deltas d"
        " LEFT JOIN events now ON now.event_nid = d.event_nid"
        " LEFT JOIN events before ON before.event_nid = d.previous_nid"
        " WHERE d.room_nid = %s AND d.position > %s AND d.type = 'm.room.member'"
        " GROUP BY position ORDER BY position DESC",
        (room_nid, after),
    )


def mark_of(marks: Marks, thread_id: str) -> int:
    """Up to where that thread is read."""
    return max(marks.get(ALL_THREADS, 0), marks.get(thread_id, 0))


def _columns(rows: Sequence[tuple[object, ...]], names: Iterable[str]) -> dict[str, list[object]]:
    return {name: [row[index] for row in rows] for index, name in enumerate(names)}


# The newest ones of all rooms, for pages of notifications

_NOTICED = (
    "SELECT position, event_nid FROM notices n WHERE (n.room_nid, n.position) > (r.room_nid, r.after)"
    " AND (n.room_nid, n.position) < (r.room_nid, %s) ORDER BY n.room_nid DESC, n.position DESC"
)
_SENT = (
    "SELECT s.position, s.event_nid FROM stream s WHERE"
    f" {room_span('r.room_nid', f'{Kind.EVENT:d}', 'r.after', '%s::bigint - 1')} AND s.minor = 0"
    f" ORDER BY {ROOM_ORDER_BACK}"
)


def newest_before(
    txn: Transaction, rooms: Mapping[int, int], before: int, limit: int, *, even_quiet: bool
) -> list[tuple[int, int]]:
    """Position and nid of the newest notices of these rooms (each after a position of its own), newest first.

    `even_quiet`: of all events, also of those that notify nobody by the predefined rules, or are redacted.
    """
    of_room = _SENT if even_quiet else _NOTICED
    return txn.rows(
        "SELECT n.position, n.event_nid FROM unnest(%s::bigint[], %s::bigint[]) AS r (room_nid, after)"
        f" CROSS JOIN LATERAL ({of_room} LIMIT %s) AS n"
        " ORDER BY n.position DESC LIMIT %s",
        (list(rooms), list(rooms.values()), before, limit, limit),
    )


def joined_at(txn: Transaction, user_id: str, room_nids: Collection[int]) -> dict[int, int]:
    """When the user came into the rooms, as a position; rooms where that is unknown are absent."""
    rows = txn.rows(
        "SELECT o.room_nid, o.position FROM unnest(%s::bigint[]) AS r (room_nid) CROSS JOIN LATERAL ("
        f" SELECT room_nid, position FROM own_reads WHERE room_nid = r.room_nid AND user_id = %s"
        f"  AND thread_id = '{ALL_THREADS}' OFFSET 0) AS o",
        (list(room_nids), user_id),
    )
    return dict(rows)
