"""Redactions, by what they redact."""

from collections.abc import Collection, Sequence

from attrs import frozen

from synapse_lite.storage.database import Transaction


@frozen
class NewRedaction:
    """`target_nid` None: we do not know what it redacts. `applied`: the content of the target is gone for readers."""

    event_nid: int
    room_nid: int
    redacts: str
    target_nid: int | None
    applied: bool


def insert_redactions(txn: Transaction, redactions: Sequence[NewRedaction]) -> None:
    if redactions:
        txn.insert(
            "INSERT INTO redactions (event_nid, room_nid, redacts, target_nid, applied) VALUES %s",
            [(one.event_nid, one.room_nid, one.redacts, one.target_nid, one.applied) for one in redactions],
        )


def take_back_redactions(txn: Transaction, event_nid: int, limit: int) -> list[int | None]:
    """So many of what the event redacts it redacts no more: of each the nid of what it had emptied, if anything."""
    rows = txn.rows(
        "DELETE FROM redactions WHERE event_nid = %s AND redacts IN"
        " (SELECT redacts FROM redactions WHERE event_nid = %s LIMIT %s)"
        " RETURNING CASE WHEN applied THEN target_nid END",
        (event_nid, event_nid, limit),
    )
    return [nid for (nid,) in rows]


def waiting_redactions(txn: Transaction, room_nid: int, event_id: str) -> list[int]:
    """The redactions of an event that came before it, by nid."""
    rows = txn.rows(
        "SELECT event_nid FROM redactions WHERE redacts = %s AND room_nid = %s AND target_nid IS NULL",
        (event_id, room_nid),
    )
    return [nid for (nid,) in rows]


def targets_awaited(txn: Transaction, event_ids: Collection[str]) -> set[str]:
    """Those of the events of which a redaction came before them."""
    rows = txn.rows(
        "SELECT redacts FROM redactions WHERE redacts = ANY(%s) AND target_nid IS NULL", (list(event_ids),)
    )
    return {event_id for (event_id,) in rows}


def link_redactions(
    txn: Transaction, redaction_nids: Collection[int], target_nid: int, applying: Collection[int]
) -> None:
    """Their target has come; those in `applying` empty it."""
    txn.execute(
        "UPDATE redactions SET target_nid = %s, applied = event_nid = ANY(%s) WHERE event_nid = ANY(%s)",
        (target_nid, list(applying), list(redaction_nids)),
    )
