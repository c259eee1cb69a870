"""Takes the content of redacted events off the disk."""

from synapse_lite.canonical_json import decode_exact, dump
from synapse_lite.matrix.redaction import redact
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.storage.database import Transaction

_KEPT = """
SELECT r.target_nid, t.json, rooms.version, greatest(e.received_ts, t.received_ts) < %s
FROM (SELECT event_nid, room_nid, target_nid FROM redactions
    WHERE applied AND NOT erased AND target_nid > %s ORDER BY target_nid FETCH FIRST %s ROWS WITH TIES) AS r
    LEFT JOIN events e USING (event_nid) LEFT JOIN rooms ON rooms.room_nid = r.room_nid
    LEFT JOIN events t ON t.event_nid = r.target_nid
ORDER BY r.target_nid
"""


def erase_redacted(txn: Transaction, before_ms: int, after_nid: int, limit: int) -> tuple[int, int | None]:
    """Erase events that were redacted before a time; (erased, where to go on).

    Looks at the redactions of the next `limit` events after `after_nid` that are not erased yet.
    """
    rows = txn.rows(_KEPT, (before_ms, after_nid, limit))
    due = {target: (json, version) for target, json, version, is_due in rows if is_due}
    if due:
        erased = {
            target: dump(redact(decode_exact(json), ROOM_VERSIONS[version])).decode()
            for target, (json, version) in due.items()
            if json is not None
        }
        txn.insert(
            "UPDATE events SET json = erased.json FROM (VALUES %s) AS erased (event_nid, json)"
            " WHERE events.event_nid = erased.event_nid",
            list(erased.items()),
        )
        txn.execute(
            "UPDATE redactions SET erased = true WHERE applied AND target_nid = ANY(%s)", (list(due),)
        )
    return len(due), rows[-1][0] if len(rows) >= limit else None
