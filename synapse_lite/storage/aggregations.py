"""What is known of the events that relate to others: edits, threads, references.

Conditions on rows of `relations` name the parent, so that only its own children are read.
"""

from collections.abc import Collection, Sequence

from attrs import frozen

from synapse_lite.matrix.relations import REFERENCE, REPLACE, THREAD
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import StoredEvent
from synapse_lite.storage.stream import Place
from synapse_lite.storage.timeline import Entry

MAX_REFERENCES = 100
MAX_JUDGED = 5000
"""So many relations to some parents are looked at one by one."""
MAX_JUDGED_OF_ONE = 1000  # of them are to the same parent, the newest ones


@frozen
class Summary:
    """By nids: the newest edit, the latest event of the thread, what refers to the parent (in order).

    `participated`: the reader sent something into the thread, or its root.
    """

    edit_nid: int | None
    thread_count: int
    latest_nid: int | None
    participated: bool
    reference_nids: Sequence[int]


_CHILD = "r.parent_id = p.event_id AND r.room_nid = p.room_nid AND r.rel_type = '{}'"
_SHOWN = (
    " AND r.sender <> ALL (%(ignored)s)"
    " AND (%(among)s::bigint[] IS NULL OR r.event_nid = ANY (%(among)s::bigint[]))"
)

_SUMMARIES = f"""
SELECT p.event_nid,
    (SELECT r.event_nid FROM relations r WHERE {_CHILD.format(REPLACE)} {_SHOWN}
        AND r.sender = p.sender AND r.type = p.type AND NOT r.is_state
        ORDER BY r.origin_server_ts DESC, (SELECT event_id FROM events e WHERE e.event_nid = r.event_nid) DESC LIMIT 1),
    (SELECT count(*) FROM relations r WHERE {_CHILD.format(THREAD)} {_SHOWN}),
    (SELECT r.event_nid FROM relations r CROSS JOIN LATERAL (
            SELECT position, minor FROM stream WHERE event_nid = r.event_nid OFFSET 0) AS s
        WHERE {_CHILD.format(THREAD)} {_SHOWN} ORDER BY s.position DESC, s.minor DESC LIMIT 1),
    p.sender = %(reader)s OR EXISTS (SELECT FROM relations r WHERE {_CHILD.format(THREAD)} AND r.sender = %(reader)s),
    ARRAY(SELECT r.event_nid FROM relations r WHERE {_CHILD.format(REFERENCE)} {_SHOWN}
        ORDER BY r.event_nid LIMIT {MAX_REFERENCES})
FROM unnest(%(nids)s::bigint[], %(ids)s::text[], %(rooms)s::bigint[], %(senders)s::text[], %(types)s::text[])
    AS p (event_nid, event_id, room_nid, sender, type)
WHERE EXISTS (SELECT FROM relations r WHERE r.parent_id = p.event_id OFFSET 0)
"""


def read_summaries(
    txn: Transaction,
    parents: Sequence[StoredEvent],
    reader: str,
    ignored: Collection[str] = (),
    among: Collection[int] | None = None,
) -> dict[int, Summary]:
    """By nid, of those of the parents to which something relates, in one statement: to plan it takes long, and most
    events are no parents, so ask (`EventStore.views`) before.

    What those in `ignored` sent does not count, nor (unless None) what is not `among` these events.
    """
    if not parents:
        return {}
    rows = txn.rows(
        _SUMMARIES,
        {
            "nids": [parent.nid for parent in parents],
            "ids": [parent.event_id for parent in parents],
            "rooms": [parent.room_nid for parent in parents],
            "senders": [parent.event.sender for parent in parents],
            "types": [parent.event.type for parent in parents],
            "reader": reader,
            "ignored": list(ignored),
            "among": None if among is None else list(among),
        },
    )
    return {nid: Summary(*summary) for nid, *summary in rows}


_RELATED = f"""
SELECT r.room_nid, s.position, s.minor, r.event_nid
FROM (SELECT p.room_nid, r.event_nid FROM unnest(%(ids)s::text[], %(rooms)s::bigint[]) AS p (event_id, room_nid)
    CROSS JOIN unnest(%(types)s::text[]) AS wanted (rel_type)
    CROSS JOIN LATERAL (SELECT event_nid FROM relations
        WHERE parent_id = p.event_id AND room_nid = p.room_nid AND rel_type = wanted.rel_type
        ORDER BY event_nid DESC LIMIT {MAX_JUDGED_OF_ONE}) AS r
    LIMIT {MAX_JUDGED}) AS r
CROSS JOIN LATERAL (SELECT position, minor FROM stream WHERE event_nid = r.event_nid OFFSET 0) AS s
"""


def related_entries(txn: Transaction, parents: Sequence[StoredEvent]) -> list[tuple[int, Entry]]:
    """What `read_summaries` tells of, the newest of it, with the nid of its room; in no order."""
    arguments = {
        "ids": [parent.event_id for parent in parents],
        "rooms": [parent.room_nid for parent in parents],
        "types": [REPLACE, THREAD, REFERENCE],
    }
    rows = txn.rows(_RELATED, arguments) if parents else []
    return [(room_nid, (Place(position, minor), nid)) for room_nid, position, minor, nid in rows]
