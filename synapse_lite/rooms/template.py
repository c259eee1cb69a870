"""Events that users of other servers may complete and sign (server-server API, "Joining Rooms")."""

from collections.abc import Mapping

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import not_found
from synapse_lite.matrix.event import Draft, Event
from synapse_lite.matrix.signing import SigningKey
from synapse_lite.rooms.build import build_next
from synapse_lite.rooms.heads import HeadReader
from synapse_lite.rooms.values import Write
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import StoredEvent
from synapse_lite.storage.heads import read_head

_FOR_THE_SENDER = frozenset({"event_id", "hashes", "signatures"})


def event_template(
    txn: Transaction, reader: HeadReader, signing_key: SigningKey, room_nid: int, draft: Draft
) -> JsonObject:
    """The event as it would follow the room's head; what its sender's server has to add is left out.

    Nothing is signed that leaves this server. Errors as of `next_event`.
    """
    event = next_event(txn, reader, signing_key, Write(room_nid, draft))
    return {key: value for key, value in event.pdu.items() if key not in _FOR_THE_SENDER}


def next_event(
    txn: Transaction,
    reader: HeadReader,
    signing_key: SigningKey,
    write: Write,
    targets: Mapping[str, StoredEvent] | None = None,
) -> Event:
    """The event as it would follow the room's head, signed, and not stored; `targets`: what it redacts, by id.

    Raises `AuthError` when the rules of the room forbid it, and 404 for a room that is gone.
    """
    row = read_head(txn, write.room_nid)
    head = None if row is None else reader.read(txn, [write], [row]).of(write)
    if head is None or head.is_blocked:
        raise not_found("Unknown room")
    event, _ = build_next(head, write, targets or {}, signing_key)
    return event
