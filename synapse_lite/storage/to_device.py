"""Messages to devices: the inbox of each, from which only the device itself takes."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from secrets import randbelow
from typing import NamedTuple

import orjson

from synapse_lite.canonical_json import JsonObject
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.device_changes import publish_for_devices
from synapse_lite.storage.stream import Kind, Position

MOST_WAITING = 10_000
MOST_WAITING_BYTES = 64 * 1024 * 1024
"""So much waits for a device that does not come: of more, the oldest messages go. Bounds that are looked at now and then."""

MANY = 50
"""More messages of one request are copied: under the lock of the stream that takes two round trips, and half of the work."""

TRIMMED_ONE_IN = 50
"""How many times messages are sent, until the inboxes of those who get them are measured: that reads them."""


class Waiting(NamedTuple):
    """Messages of a device, oldest first, and whether these are all."""

    messages: Sequence["InboxMessage"]
    is_all: bool


class Address(NamedTuple):
    user_id: str
    device_id: str


class InboxMessage(NamedTuple):
    """`content` is JSON."""

    position: int
    sender: str
    type: str
    content: str

    def event(self) -> JsonObject:
        """As the specification writes it."""
        return {"sender": self.sender, "type": self.type, "content": orjson.Fragment(self.content)}


def begin_transaction(txn: Transaction, session: str, message_type: str, txn_id: str, now_ms: int) -> bool:
    """False when the request was carried out before. The session tells one device's ids from another's."""
    inserted = txn.execute(
        "INSERT INTO to_device_transactions (session, type, txn_id, created_ts) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT DO NOTHING",
        (session, message_type, txn_id, now_ms),
    )
    return inserted == 1


def delete_old_transactions(txn: Transaction, before_ms: int, limit: int) -> int:
    """Nobody tries again after so long."""
    return txn.execute(
        "DELETE FROM to_device_transactions WHERE (session, type, txn_id) IN ("
        " SELECT session, type, txn_id FROM to_device_transactions WHERE created_ts < %s"
        " ORDER BY created_ts LIMIT %s FOR UPDATE SKIP LOCKED)",
        (before_ms, limit),
    )


def devices_of(txn: Transaction, user_ids: Collection[str]) -> dict[str, list[str]]:
    """The ids of the users' devices; users without any are absent."""
    found: dict[str, list[str]] = {}
    for user_id, device_id in txn.rows(
        "SELECT user_id, device_id FROM devices WHERE user_id = ANY (%s) ORDER BY user_id, device_id",
        (list(user_ids),),
    ):
        found.setdefault(user_id, []).append(device_id)
    return found


def put_messages(
    txn: Transaction, sender: str, message_type: str, contents: Sequence[tuple[Address, str]]
) -> Mapping[Address, int]:
    """Into the inboxes of those devices that exist, one for each. `contents` are JSON.

    Returns how many older messages were dropped from inboxes that are full.
    """
    addresses = [address for address, _ in contents]
    existing = _existing(txn, addresses) if len(contents) > MANY else None

    def store(txn: Transaction, position: Position) -> None:
        if existing is None:
            rows = [(*address, position, sender, message_type, content) for address, content in contents]
            txn.insert(_INSERT, rows)
        elif isinstance(position, int):
            copied = ((*address, content) for address, content in contents if address in existing)
            txn.copy_texts(_COPIED, copied, (position, sender, message_type))

    publish_for_devices(txn, Kind.TO_DEVICE, addresses, at_position=store, by_number=existing is not None)
    return _trim(txn, addresses) if contents and randbelow(TRIMMED_ONE_IN) == 0 else {}


def _existing(txn: Transaction, addresses: Sequence[Address]) -> set[tuple[str, str]]:
    """Asked for before the stream is locked. Who deletes one of them meanwhile leaves rows behind, which no device of that id
    will get: `devices.inbox_after`.
    """
    return set(
        txn.rows(
            "SELECT user_id, device_id FROM devices"
            " JOIN unnest(%s::text[], %s::text[]) AS wanted (user_id, device_id) USING (user_id, device_id)",
            _columns(addresses),
        )
    )


def _trim(txn: Transaction, addresses: Sequence[Address]) -> Mapping[Address, int]:
    """Reads the inboxes of these devices only, however many messages there are."""
    with txn.on_indexes():
        dropped = txn.rows(
            "DELETE FROM device_inbox WHERE ctid = ANY (ARRAY ("
            " SELECT place FROM unnest(%s::text[], %s::text[]) AS wanted (user_id, device_id)"
            " CROSS JOIN LATERAL ("
            "  SELECT ctid AS place, row_number() OVER newest AS messages, sum(octet_length(content)) OVER newest AS bytes"
            "  FROM device_inbox AS one WHERE (one.user_id, one.device_id) = (wanted.user_id, wanted.device_id)"
            "  WINDOW newest AS (ORDER BY position DESC)) AS waiting"
            " WHERE messages > %s OR bytes > %s)) RETURNING user_id, device_id",
            (*_columns(addresses), MOST_WAITING, MOST_WAITING_BYTES),
        )
    return Counter(Address(*row) for row in dropped)


def read_messages(
    txn: Transaction, address: Address, *, after: int, upto: int, limit: int, max_bytes: int
) -> Waiting:
    """As `read_inboxes`, of one device."""
    return read_inboxes(txn, [address], after=after, upto=upto, limit=limit, max_bytes=max_bytes)[address]


def read_inboxes(
    txn: Transaction, addresses: Sequence[Address], *, after: int, upto: int, limit: int, max_bytes: int
) -> dict[Address, Waiting]:
    """The oldest messages of each at after < position <= upto: at most `limit`, and `max_bytes` if more than one."""
    found: dict[Address, Waiting] = {address: Waiting([], True) for address in addresses}
    rows = txn.rows(
        "SELECT user_id, device_id, position, sender, type, content, waiting"
        " FROM unnest(%s::text[], %s::text[]) AS wanted (user_id, device_id)"
        " JOIN devices USING (user_id, device_id) CROSS JOIN LATERAL ("
        "  SELECT *, count(*) OVER () AS waiting, row_number() OVER oldest AS number,"
        "  sum(octet_length(content)) OVER oldest AS bytes FROM ("
        "   SELECT position, sender, type, content FROM device_inbox AS one"
        "   WHERE (one.user_id, one.device_id) = (wanted.user_id, wanted.device_id)"
        "   AND position > greatest(%s, inbox_after) AND position <= %s ORDER BY position LIMIT %s) AS first_ones"
        "  WINDOW oldest AS (ORDER BY position)) AS inbox"
        " WHERE number = 1 OR number <= %s AND bytes <= %s ORDER BY user_id, device_id, position",
        (*_columns(addresses), after, upto, limit + 1, limit, max_bytes),
    )
    for address, some in groupby(rows, key=lambda row: Address(*row[:2])):
        of_device = list(some)
        messages = [InboxMessage(*row[2:6]) for row in of_device][:limit]
        found[address] = Waiting(messages, len(messages) == of_device[0][6])
    return found


def delete_messages(
    txn: Transaction, user_id: str, device_id: str, upto: int, *, limit: int | None = None
) -> int:
    """Delete the messages up to a position, at most `limit`, oldest first; how many."""
    if limit is None:
        return txn.execute(
            "DELETE FROM device_inbox WHERE user_id = %s AND device_id = %s AND position <= %s",
            (user_id, device_id, upto),
        )
    return txn.execute(
        "DELETE FROM device_inbox WHERE (user_id, device_id, position) IN ("
        " SELECT user_id, device_id, position FROM device_inbox"
        " WHERE user_id = %s AND device_id = %s AND position <= %s ORDER BY position LIMIT %s)",
        (user_id, device_id, upto, limit),
    )


def _columns(addresses: Sequence[Address]) -> tuple[list[str], list[str]]:
    return [address.user_id for address in addresses], [address.device_id for address in addresses]


_COLUMNS = "device_inbox (user_id, device_id, position, sender, type, content)"
_COPIED = "device_inbox (user_id, device_id, content, position, sender, type)"
_INSERT = (
    f"INSERT INTO {_COLUMNS}"
    " SELECT message.* FROM (VALUES %s) AS message (user_id, device_id, position, sender, type, content)"
    " JOIN devices USING (user_id, device_id)"
)

Contents = Mapping[str, Mapping[str, JsonObject]]
"""By user and device; the device "*" stands for all of them."""
