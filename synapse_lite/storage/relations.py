"""Which event relates to which. Redacted events relate to nothing; parents are named by their ids."""

from collections.abc import Collection, Sequence

from attrs import frozen

from synapse_lite.matrix.relations import ANNOTATION, THREAD, Relation
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import StoredEvent
from synapse_lite.storage.stream import Place


@frozen
class Annotation:
    """What nobody says twice of an event."""

    parent_id: str
    sender: str
    type: str
    key: str


@frozen
class RelationFilter:
    """Which children count; None: all of them."""

    rel_type: str | None = None
    event_type: str | None = None


def insert_relations(txn: Transaction, relations: Sequence[tuple[StoredEvent, Relation]]) -> None:
    if relations:
        txn.insert(
            "INSERT INTO relations (event_nid, room_nid, parent_id, rel_type, key, type, sender, origin_server_ts,"
            " is_state) VALUES %s",
            [
                (
                    stored.nid, stored.room_nid, relation.parent_id, relation.rel_type, relation.key,
                    stored.event.type, stored.event.sender, stored.event.origin_server_ts, stored.event.is_state,
                )
                for stored, relation in relations
            ],
        )  # fmt: skip


def delete_relations(txn: Transaction, event_nids: Collection[int]) -> None:
    if event_nids:
        txn.later("DELETE FROM relations WHERE event_nid = ANY(%s)", (list(event_nids),))


def is_related(txn: Transaction, event_nid: int) -> bool:
    """Whether the event relates to another one."""
    return txn.row("SELECT FROM relations WHERE event_nid = %s", (event_nid,)) is not None


MAIN_THREAD = "main"


def thread_of(txn: Transaction, room_nid: int, event_id: str) -> str | None:
    """The id of the root of the event's thread, `MAIN_THREAD` for one in none; None for an unknown event.

    What relates to an event in a thread (a reaction, an edit) is in it, too.
    """
    row = txn.row(
        "WITH RECURSIVE up AS ("
        "  SELECT r.rel_type, r.parent_id, 1 AS height FROM events e LEFT JOIN relations r USING (event_nid)"
        "  WHERE e.event_id = %s AND e.room_nid = %s"
        "  UNION ALL SELECT r.rel_type, r.parent_id, height + 1 FROM up JOIN events e ON e.event_id = up.parent_id"
        f"  JOIN relations r USING (event_nid) WHERE up.rel_type <> '{THREAD}' AND e.room_nid = %s AND height < 5"
        ") SELECT rel_type, parent_id FROM up ORDER BY height DESC LIMIT 1",
        (event_id, room_nid, room_nid),
    )
    if row is None:
        return None
    rel_type, parent_id = row
    return str(parent_id) if rel_type == THREAD else MAIN_THREAD


def has_children(txn: Transaction, room_nid: int, parent_id: str) -> bool:
    found = txn.row(
        "SELECT FROM relations WHERE parent_id = %s AND room_nid = %s LIMIT 1", (parent_id, room_nid)
    )
    return found is not None


def known_annotations(txn: Transaction, annotations: Collection[Annotation]) -> set[Annotation]:
    """Those that have been said already, and were not redacted since."""
    if not annotations:
        return set()
    rows = txn.fetch_values(
        "SELECT w.* FROM (VALUES %s) AS w (parent_id, sender, type, key) WHERE EXISTS (SELECT FROM relations r"
        f" WHERE r.rel_type = '{ANNOTATION}' AND r.parent_id = w.parent_id AND r.sender = w.sender"
        " AND r.type = w.type AND r.key = w.key OFFSET 0)",
        [(one.parent_id, one.sender, one.type, one.key) for one in annotations],
    )
    return {Annotation(*row) for row in rows}


_DIRECT = "SELECT event_nid FROM relations WHERE parent_id = %(parent)s AND room_nid = %(room)s"
_RELATED = f"""
WITH RECURSIVE related AS (
    SELECT event_nid, 1 AS depth FROM ({_DIRECT}) AS direct
    UNION SELECT child.event_nid, related.depth + 1 FROM related
        CROSS JOIN LATERAL (SELECT event_id FROM events e WHERE e.event_nid = related.event_nid OFFSET 0) AS e
        CROSS JOIN LATERAL (SELECT event_nid FROM relations
            WHERE parent_id = e.event_id AND room_nid = %(room)s OFFSET 0) AS child
    WHERE related.depth < %(depth)s)
SELECT s.position, s.minor, r.event_nid FROM (SELECT DISTINCT event_nid FROM related) AS found
    CROSS JOIN LATERAL (SELECT * FROM relations WHERE event_nid = found.event_nid OFFSET 0) AS r
    CROSS JOIN LATERAL (SELECT position, minor FROM stream WHERE event_nid = found.event_nid OFFSET 0) AS s
WHERE (%(rel_type)s::text IS NULL OR r.rel_type = %(rel_type)s)
    AND (%(event_type)s::text IS NULL OR r.type = %(event_type)s)
    AND (s.position, s.minor) > %(after)s AND (s.position, s.minor) <= %(upto)s
"""


def children(
    txn: Transaction,
    room_nid: int,
    parent_id: str,
    wanted: RelationFilter,
    span: tuple[Place, Place],
    limit: int,
    *,
    depth: int,
    backwards: bool,
) -> list[tuple[Place, int]]:
    """Place and nid of the events of that room that relate to the parent, in the order of the room.

    `span`: at places after < place <= upto. `depth`: over so many relations, 1 is directly.
    """
    direction = "DESC" if backwards else "ASC"
    rows = txn.rows(
        f"{_RELATED} ORDER BY s.position {direction}, s.minor {direction} LIMIT %(limit)s",
        {
            "parent": parent_id,
            "room": room_nid,
            "depth": depth,
            "rel_type": wanted.rel_type,
            "event_type": wanted.event_type,
            "after": tuple(span[0]),
            "upto": tuple(span[1]),
            "limit": limit,
        },
    )
    return [(Place(position, minor), nid) for position, minor, nid in rows]


def threads(
    txn: Transaction, room_nid: int, participant: str | None, upto: Place, limit: int
) -> list[tuple[Place, int]]:
    """The place of the newest event of each thread, at most `upto`, and the nid of its root; newest first.

    `participant`: only threads into which this user sent something, or whose root they sent.
    """
    rows = txn.rows(
        "SELECT t.place[1], t.place[2], root.event_nid FROM ("
        "  SELECT r.parent_id, max(ARRAY[s.position, s.minor]) AS place FROM relations r CROSS JOIN LATERAL ("
        "   SELECT position, minor FROM stream WHERE event_nid = r.event_nid OFFSET 0) AS s"
        f"  WHERE r.room_nid = %(room)s AND r.rel_type = '{THREAD}' GROUP BY r.parent_id) AS t"
        " CROSS JOIN LATERAL (SELECT event_nid, sender FROM events WHERE event_id = t.parent_id"
        "  AND room_nid = %(room)s OFFSET 0) AS root"
        " WHERE t.place <= %(upto)s::bigint[] AND (%(user)s::text IS NULL OR root.sender = %(user)s OR EXISTS ("
        f"  SELECT FROM relations r WHERE r.parent_id = t.parent_id AND r.rel_type = '{THREAD}'"
        "   AND r.room_nid = %(room)s AND r.sender = %(user)s))"
        " ORDER BY t.place DESC LIMIT %(limit)s",
        {"room": room_nid, "user": participant, "upto": list(upto), "limit": limit},
    )
    return [(Place(position, minor), nid) for position, minor, nid in rows]
