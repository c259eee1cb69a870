"""Auth chains: an event's auth events, theirs, and so on."""

from collections.abc import Collection

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
