"""What users keep on the server, and where they are told of what is new."""

from collections.abc import Sequence
from typing import NamedTuple

from synapse_lite.storage.account_data import GLOBAL
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.imported.rows import add_new


class ImportedPusher(NamedTuple):
    """`data` is JSON."""

    app_id: str
    pushkey: str
    user_id: str
    device_id: str | None
    kind: str
    app_display_name: str
    device_display_name: str
    profile_tag: str | None
    lang: str
    data: str
    enabled: bool
    created_ts: int


def add_account_data(txn: Transaction, rows: Sequence[tuple[str, str, str]]) -> int:
    """User, type and JSON of what belongs to no room."""
    whole = [(user_id, GLOBAL, data_type, json) for user_id, data_type, json in rows]
    return len(add_new(txn, "account_data", "user_id, room_nid, type, json", whole))


def add_pushers(txn: Transaction, pushers: Sequence[ImportedPusher]) -> int:
    """They push what comes after the end of the stream, once `start_pushers` has said where that is."""
    columns = (*ImportedPusher._fields, "pushed_upto")
    return len(add_new(txn, "pushers", ", ".join(columns), [(*pusher, 0) for pusher in pushers]))


def start_pushers(txn: Transaction, limit: int) -> bool:
    """Nothing that is here now is pushed by those that have not begun; False when all have."""
    started = txn.execute(
        "UPDATE pushers SET pushed_upto = position FROM stream_position WHERE position > 0"
        " AND (app_id, pushkey, user_id) IN (SELECT app_id, pushkey, user_id FROM pushers"
        " WHERE pushed_upto = 0 LIMIT %s)",
        (limit,),
    )
    return started > 0
