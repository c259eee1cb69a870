"""What tables keep of one user, for an export: which rows, and of which tables deliberately none."""

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.storage.database import Transaction

_ROOM_ID = "(SELECT room_id FROM rooms r WHERE r.room_nid = t.room_nid) AS room_id"


@frozen
class Exported:
    """`columns` of the rows of `table` whose `owner` is the user, in the order of `key`, which tells them apart."""

    table: str
    owner: str
    columns: str
    key: str


EXPORTED: Mapping[str, Exported] = {
    "account": Exported(
        "users",
        "user_id",
        "created_ts, user_type, is_admin, is_guest, deactivated, erased, locked, suspended, expires_ts,"
        " consent_version, consent_ts",
        "user_id",
    ),
    "threepids": Exported(
        "user_threepids", "user_id", "medium, address, validated_ts, added_ts", "medium, address"
    ),
    "external_ids": Exported(
        "user_external_ids", "user_id", "auth_provider, external_id", "auth_provider, external_id"
    ),
    "pushers": Exported(
        "pushers",
        "user_id",
        "app_id, kind, app_display_name, device_display_name, profile_tag, lang, enabled, created_ts",
        "app_id, pushkey",
    ),
    "filters": Exported("filters", "user_id", "json::json AS filter", "filter_nid"),
    "receipts": Exported(
        "receipts",
        "user_id",
        f"{_ROOM_ID}, receipt_type, thread_id, event_id, ts",
        "room_nid, receipt_type, thread_id",
    ),
    "thread_subscriptions": Exported(
        "thread_subscriptions",
        "user_id",
        f"{_ROOM_ID}, root_id AS thread_root, subscribed, automatic",
        "room_nid, root_id",
    ),
    "delayed_events": Exported(
        "delayed_events",
        "user_id",
        f"{_ROOM_ID}, type, state_key, redacts, content::json AS content, delay_ms, due_ts, outcome",
        "delay_id",
    ),
    "event_reports": Exported(
        "event_reports",
        "user_id",
        "received_ts, room_id, event_id, sender, event::json AS event, reason, score",
        "report_nid",
    ),
    "room_reports": Exported("room_reports", "user_id", "received_ts, room_id, reason", "report_nid"),
    "user_reports": Exported("user_reports", "user_id", "received_ts, target_user_id, reason", "report_nid"),
    "presence": Exported("presence", "user_id", "state, status_msg, last_active_ts", "user_id"),
}
"""By the name of the file."""

ELSEWHERE = frozenset({"devices", "account_data", "memberships", "stripped_state", "events", "media"})
"""Tables that `handlers/user_export.py` reads in ways of their own."""

_SECRETS = "opens the account, or its messages"
_DERIVED = "made from what is exported"
_OPERATORS = "of who runs the server: what they did, not what they are"
_PASSING = "gone within minutes"
LEFT_OUT: Mapping[str, str] = {
    **dict.fromkeys(("access_tokens", "refresh_tokens", "login_tokens", "openid_tokens"), _SECRETS),
    **dict.fromkeys(("key_backups", "key_backup_sessions"), _SECRETS),
    **dict.fromkeys(("device_keys", "key_stocks", "key_uploads", "fallback_keys"), _SECRETS),
    **dict.fromkeys(("cross_signing_keys", "key_signatures", "device_inbox"), _SECRETS),
    **dict.fromkeys(
        ("user_stats", "user_directory", "user_last_seen", "own_reads", "active_users"), _DERIVED
    ),
    **dict.fromkeys(("relations", "notices", "room_aliases", "rooms", "uploads"), _DERIVED),
    **dict.fromkeys(("stream", "push_queue", "typing", "presence_claims", "sliding_connections"), _PASSING),
    "sent_knocks": _PASSING,
    **dict.fromkeys(("scheduled_tasks", "task_requests", "blocked_rooms", "audit_log"), _OPERATORS),
    **dict.fromkeys(("media_quarantine", "media_quarantined_hashes"), _OPERATORS),
    **dict.fromkeys(("rate_limit_overrides", "experimental_features", "server_notice_rooms"), _OPERATORS),
    "remote_keys": "of users of other servers",
}
"""Tables with a column for a user, and why there is nothing of them."""


def read_exported(
    txn: Transaction, what: Exported, user_id: str, after: tuple[Any, ...] | None, limit: int
) -> tuple[list[JsonObject], tuple[Any, ...] | None]:
    """The next rows as JSON, and behind which to go on, None at the end."""
    keys = what.key.split(", ")
    behind = "" if after is None else f" AND ({what.key}) > ({', '.join(['%s'] * len(keys))})"
    rows = txn.rows(
        f"SELECT (SELECT row_to_json(found) FROM (SELECT {what.columns}) AS found), {what.key}"
        f" FROM {what.table} t WHERE {what.owner} = %s{behind} ORDER BY {what.key} LIMIT %s",
        (user_id, *(after or ()), limit),
    )
    return [row[0] for row in rows], rows[-1][1:] if len(rows) == limit else None
