"""What users told the operators of, under its old numbers."""

from collections.abc import Sequence
from typing import NamedTuple

from synapse_lite.storage.database import Transaction


class ImportedEventReport(NamedTuple):
    """`event`: as servers exchange it, with its id."""

    report_nid: int
    received_ts: int
    user_id: str
    reason: str | None
    room_id: str
    event_id: str
    sender: str
    event: str
    score: int | None


class ImportedRoomReport(NamedTuple):
    report_nid: int
    received_ts: int
    user_id: str
    reason: str
    room_id: str


class ImportedUserReport(NamedTuple):
    report_nid: int
    received_ts: int
    user_id: str
    reason: str
    target_user_id: str


def add_event_reports(txn: Transaction, reports: Sequence[ImportedEventReport]) -> int:
    return _add(txn, "event_reports", ImportedEventReport._fields, reports)


def add_room_reports(txn: Transaction, reports: Sequence[ImportedRoomReport]) -> int:
    return _add(txn, "room_reports", ImportedRoomReport._fields, reports)


def add_user_reports(txn: Transaction, reports: Sequence[ImportedUserReport]) -> int:
    return _add(txn, "user_reports", ImportedUserReport._fields, reports)


def _add(txn: Transaction, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> int:
    """New ones are numbered above them from now on."""
    new = txn.fetch_values(
        f"INSERT INTO {table} ({', '.join(columns)}) OVERRIDING SYSTEM VALUE VALUES %s"
        " ON CONFLICT DO NOTHING RETURNING report_nid",
        rows,
    )
    most = max((nid for (nid,) in new), default=0)
    txn.execute(
        "SELECT setval(name, %s) FROM pg_get_serial_sequence(%s, 'report_nid') AS name"
        " WHERE coalesce(pg_sequence_last_value(name::regclass), 0) < %s",
        (most, table, most),
    )
    return len(new)
