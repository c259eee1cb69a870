"""Deleting the past of a room: its events (`purge_boundary`), and the state snapshots that nothing needs then.

State events stay, for the state of what remains is made of them; they, and what else stays, get the
kind KEPT in the stream: no page shows them, so that pagination ends at the edge.
"""

from collections.abc import Collection, Sequence

from attrs import frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.event_transactions import keep_event_ids
from synapse_lite.storage.planner import keeping_to_indexes
from synapse_lite.storage.purge_boundary import Place
from synapse_lite.storage.stream import Kind


@keeping_to_indexes
def delete_events(txn: Transaction, nids: Sequence[int]) -> None:
    """Delete events, with all that belongs to single events."""
    keep_event_ids(txn, nids)
    for statement in (
        "DELETE FROM redactions WHERE redacts = ANY(ARRAY(SELECT event_id FROM events WHERE event_nid = ANY(%s)))",
        "DELETE FROM redactions WHERE event_nid = ANY(%s)",
        "DELETE FROM relations WHERE event_nid = ANY(%s)",
        "DELETE FROM notices WHERE event_nid = ANY(%s)",
        "DELETE FROM room_gaps WHERE event_nid = ANY(%s)",
        "DELETE FROM stream WHERE event_nid = ANY(%s)",
        "DELETE FROM events WHERE event_nid = ANY(%s)",
        "DELETE FROM event_search WHERE event_nid = ANY(%s)",  # the last: who is adding to it holds the events
    ):
        txn.execute(statement, (list(nids),))


@keeping_to_indexes
def hide_events(txn: Transaction, nids: Collection[int]) -> None:
    """Take events out of the pages, and their snapshots from state events that others have replaced.

    Of the past of a user who is not joined, the snapshots stay: what they may still read is decided by them.
    """
    # Who is adding to the search holds them, and looks again at what was held.
    txn.later("SELECT FROM events WHERE event_nid = ANY(%s) ORDER BY event_nid FOR UPDATE", (list(nids),))
    txn.execute(
        f"UPDATE stream SET kind = {Kind.KEPT:d} WHERE event_nid = ANY(%s) AND kind = {Kind.EVENT:d}",
        (list(nids),),
    )
    txn.execute("DELETE FROM notices WHERE event_nid = ANY(%s)", (list(nids),))
    txn.execute("DELETE FROM event_search WHERE event_nid = ANY(%s)", (list(nids),))
    txn.execute(
        "UPDATE events e SET before_nid = NULL, after_nid = NULL WHERE event_nid = ANY(%s) AND after_nid IS NOT NULL"
        " AND state_key IS NOT NULL AND (type <> 'm.room.member' OR (membership = 'join' AND EXISTS ("
        "  SELECT FROM memberships m WHERE (m.room_nid, m.user_id, m.membership)"
        "  = (e.room_nid, e.state_key, 'join')))) AND NOT EXISTS (SELECT FROM current_state c"
        "  WHERE (c.room_nid, c.type, c.state_key) = (e.room_nid, e.type, e.state_key)"
        "  AND c.event_nid = e.event_nid)",
        (list(nids),),
    )


# Snapshots: all of the room are candidates, those in use are taken off the list, the rest goes. What is
# made meanwhile is on no list, and builds on snapshots that are in use: the rooms' heads, or events' own.


@frozen
class Candidates:
    """The list of one task."""

    room_nid: int
    task_id: str


@keeping_to_indexes
def clear_candidates(txn: Transaction, room_nid: int, limit: int) -> int:
    """Forget the lists of tasks that were cancelled; how many entries."""
    return txn.execute(
        "DELETE FROM snapshot_candidates WHERE (room_nid, task_id, snapshot_nid) IN"
        " (SELECT room_nid, task_id, snapshot_nid FROM snapshot_candidates WHERE room_nid = %s LIMIT %s)",
        (room_nid, limit),
    )


@keeping_to_indexes
def list_candidates(txn: Transaction, candidates: Candidates, after_nid: int, limit: int) -> int | None:
    """Put the next snapshots of the room on the list; the last of them, None when there are no more."""
    rows = txn.rows(
        "INSERT INTO snapshot_candidates (room_nid, task_id, snapshot_nid)"
        " SELECT room_nid, %s, snapshot_nid FROM state_snapshots WHERE room_nid = %s AND snapshot_nid > %s"
        " ORDER BY snapshot_nid LIMIT %s ON CONFLICT DO NOTHING RETURNING snapshot_nid",
        (candidates.task_id, candidates.room_nid, after_nid, limit),
    )
    return max(nid for (nid,) in rows) if len(rows) == limit else None


def spare_head(txn: Transaction, candidates: Candidates) -> None:
    """The snapshot of the current state is in use, with all that it builds on."""
    snapshot_nid = txn.value("SELECT snapshot_nid FROM rooms WHERE room_nid = %s", (candidates.room_nid,))
    _spare(txn, candidates, [snapshot_nid or 0])


@keeping_to_indexes
def spare_used(txn: Transaction, candidates: Candidates, after: Place, limit: int) -> Place | None:
    """So are those of the next events; the last of them, None when there are no more."""
    rows = txn.rows(
        "SELECT depth, event_nid, before_nid, after_nid, point_nid FROM events"
        " WHERE room_nid = %s AND (depth, event_nid) > (%s, %s) ORDER BY depth, event_nid LIMIT %s",
        (candidates.room_nid, *after, limit),
    )
    _spare(txn, candidates, {nid for row in rows for nid in row[2:] if nid})
    return rows[-1][:2] if len(rows) == limit else None


@keeping_to_indexes
def free_candidates(txn: Transaction, candidates: Candidates, limit: int) -> int:
    """Delete snapshots that are still on the list; how many."""
    rows = txn.rows(
        "DELETE FROM snapshot_candidates WHERE ctid = ANY(ARRAY(SELECT ctid FROM snapshot_candidates"
        " WHERE room_nid = %s AND task_id = %s ORDER BY snapshot_nid LIMIT %s FOR UPDATE)) RETURNING snapshot_nid",
        (candidates.room_nid, candidates.task_id, limit),
    )
    nids = [nid for (nid,) in rows]
    return txn.execute("DELETE FROM state_snapshots WHERE snapshot_nid = ANY(%s)", (nids,))


def _spare(txn: Transaction, candidates: Candidates, snapshot_nids: Collection[int]) -> None:
    # OFFSET 0: looked up for each that is used. Joined otherwise, the snapshots of all rooms are read.
    txn.execute(
        "DELETE FROM snapshot_candidates WHERE room_nid = %s AND task_id = %s AND snapshot_nid = ANY(ARRAY("
        " WITH RECURSIVE used AS ("
        "  SELECT unnest(%s::bigint[]) AS snapshot_nid"
        "  UNION SELECT base.base_nid FROM used, LATERAL (SELECT s.base_nid FROM state_snapshots s"
        "   WHERE s.snapshot_nid = used.snapshot_nid AND s.base_nid <> 0 OFFSET 0) AS base"
        " ) SELECT snapshot_nid FROM used))",
        (candidates.room_nid, candidates.task_id, list(snapshot_nids)),
    )
