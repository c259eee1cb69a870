"""Auth chains: an event's auth events, theirs, and so on."""

from collections.abc import Collection, Mapping

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.nids import nid_array


def auth_chain(txn: Transaction, event_nids: Collection[int]) -> list[int]:
    """The nids of the chains of several events together, without these unless one is in another's chain."""
    rows = txn.rows(
        "WITH RECURSIVE chain (nid) AS ("
        "  SELECT DISTINCT unnest(auth_nids) FROM events WHERE event_nid = ANY (%s::bigint[])"
        "  UNION SELECT a.nid FROM chain c CROSS JOIN LATERAL ("
        "    SELECT unnest(auth_nids) AS nid FROM events WHERE event_nid = c.nid OFFSET 0) AS a"
        ") SELECT nid FROM chain ORDER BY nid",
        (nid_array(event_nids),),
    )
    return [nid for (nid,) in rows]


def lean_on(txn: Transaction, auth_nids: Mapping[int, Collection[int]]) -> None:
    """The auth events of events, by nid, of which not all were there when they were stored."""
    txn.insert(
        "UPDATE events SET auth_nids = found.auth_nids::bigint[] FROM (VALUES %s) AS found (event_nid, auth_nids)"
        " WHERE events.event_nid = found.event_nid"
        " AND cardinality(events.auth_nids) < cardinality(found.auth_nids::bigint[])",
        [(nid, nid_array(nids)) for nid, nids in auth_nids.items()],
    )
