"""Where stored events belong, without reading them."""

from collections.abc import Collection
from typing import NamedTuple

from synapse_lite.matrix.event import StateKey
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import Standing


class Outline(NamedTuple):
    """`key` None: it is no state event."""

    nid: int
    room_nid: int
    standing: Standing
    key: StateKey | None


def read_outlines(txn: Transaction, event_ids: Collection[str]) -> dict[str, Outline]:
    """By event id; an unknown id is absent."""
    rows = txn.rows(
        "SELECT event_id, event_nid, room_nid, standing, type, state_key FROM events WHERE event_id = ANY(%s)",
        (list(event_ids),),
    )
    return {
        event_id: Outline(nid, room_nid, Standing(standing), None if state_key is None else (kind, state_key))
        for event_id, nid, room_nid, standing, kind, state_key in rows
    }
