"""How users last ceased to be in a room."""

from collections.abc import Collection

from attrs import frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.nids import nid_array


@frozen
class LastLeave:
    """The member event by which a user last ceased to be joined, and the state after it."""

    event_nid: int
    after_nid: int


def last_leave(txn: Transaction, member_nid: int) -> LastLeave | None:
    """`member_nid` is the user's current member event, no join. None for who was never joined."""
    return last_leaves(txn, [member_nid]).get(member_nid)


def last_leaves(txn: Transaction, member_nids: Collection[int]) -> dict[int, LastLeave]:
    """As `last_leave`, by the current member event; who was never joined is absent."""
    if not member_nids:
        return {}
    rows = txn.rows(
        "WITH RECURSIVE past AS ("
        "  SELECT event_nid AS member_nid, event_nid, after_nid, replaces_nid, membership, 0 AS age"
        "  FROM events WHERE event_nid = ANY(%s::bigint[])"
        "  UNION ALL SELECT member_nid, e.event_nid, e.after_nid, e.replaces_nid, e.membership, age + 1"
        "  FROM past JOIN events e ON e.event_nid = past.replaces_nid WHERE past.membership <> 'join'"
        ") SELECT member_nid, event_nid, after_nid, membership FROM past ORDER BY age",
        (nid_array(member_nids),),
    )
    earliest, found = {}, {}
    for member_nid, event_nid, after_nid, membership in rows:
        if membership != "join":
            earliest[member_nid] = LastLeave(event_nid, after_nid)
        elif member_nid in earliest:
            found[member_nid] = earliest[member_nid]
    return found
