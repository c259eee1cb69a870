"""Takes the content of redacted events off the disk."""

import orjson

from synapse_lite.canonical_json import decode_object
from synapse_lite.matrix.redaction import redact
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.storage.database import Transaction

_KEPT = """
SELECT r.event_nid, r.target_nid, t.json, rooms.version, e.received_ts < %s AND r.target_nid IS NOT NULL
FROM (SELECT event_nid, room_nid, target_nid FROM redactions
    WHERE applied AND NOT erased AND event_nid > %s ORDER BY event_nid LIMIT %s) AS r
    LEFT JOIN events e USING (event_nid) LEFT JOIN rooms ON rooms.room_nid = r.room_nid
    LEFT JOIN events t ON t.event_nid = r.target_nid
ORDER BY r.event_nid
"""


def erase_redacted(txn: Transaction, before_ms: int, after_nid: int, limit: int) -> tuple[int, int | None]:
    """Erase events that were redacted before a time; (erased, where to go on).

    Looks at the next `limit` redactions after `after_nid` whose targets are not erased yet.
    """
    rows = txn.rows(_KEPT, (before_ms, after_nid, limit))
    due = [row[:4] for row in rows if row[4]]
    if due:
        erased = {
            target: orjson.dumps(redact(decode_object(json), ROOM_VERSIONS[version])).decode()
            for _, target, json, version in due
            if json is not None
        }
        txn.insert(
            "UPDATE events SET json = erased.json FROM (VALUES %s) AS erased (event_nid, json)"
            " WHERE events.event_nid = erased.event_nid",
            list(erased.items()),
        )
        txn.execute(
            "UPDATE redactions SET erased = true WHERE event_nid = ANY(%s)", ([nid for nid, *_ in due],)
        )
    return len(due), rows[-1][0] if len(rows) == limit else None
