"""A database as Synapse lays it out, of a few users, in SQLite or PostgreSQL."""

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2

from synapse_lite.cli.import_synapse.checks import OLDEST_SCHEMA
from tests.builders import ALICE, BOB, SERVER
from tests.signing import Device, Identity

GUEST = f"@41:{SERVER}"
NOW = 1_700_000_000_000
PHONE = Device.of(ALICE, "PHONE")
OLD_IDENTITY, IDENTITY = Identity.of(ALICE), Identity.of(ALICE)
MASTER = IDENTITY.master.public_key

SCHEMA: Mapping[str, str] = {
    "schema_version": "version INTEGER",
    "background_updates": "update_name TEXT",
    "users": "name TEXT, password_hash TEXT, creation_ts BIGINT, admin SMALLINT, is_guest SMALLINT, appservice_id TEXT,"
    " consent_version TEXT, consent_server_notice_sent TEXT, user_type TEXT, deactivated SMALLINT, shadow_banned BOOLEAN,"
    " consent_ts BIGINT, approved BOOLEAN, locked BOOLEAN, suspended BOOLEAN",
    "profiles": "user_id TEXT, displayname TEXT, avatar_url TEXT, fields JSONB",
    "erased_users": "user_id TEXT",
    "account_validity": "user_id TEXT, expiration_ts_ms BIGINT",
    "user_threepids": "user_id TEXT, medium TEXT, address TEXT, validated_at BIGINT, added_at BIGINT",
    "user_external_ids": "auth_provider TEXT, external_id TEXT, user_id TEXT",
    "ratelimit_override": "user_id TEXT, messages_per_second BIGINT, burst_count BIGINT",
    "per_user_experimental_features": "user_id TEXT, feature TEXT, enabled BOOLEAN",
    "registration_tokens": "token TEXT, uses_allowed INT, pending INT, completed INT, expiry_time BIGINT",
    "monthly_active_users": "user_id TEXT, timestamp BIGINT",
    "user_ips": "user_id TEXT, device_id TEXT, last_seen BIGINT",
    "devices": "user_id TEXT, device_id TEXT, display_name TEXT, last_seen BIGINT, ip TEXT, user_agent TEXT, hidden BOOLEAN",
    "dehydrated_devices": "user_id TEXT, device_id TEXT, device_data TEXT",
    "refresh_tokens": "id BIGINT, user_id TEXT, device_id TEXT, token TEXT, next_token_id BIGINT, expiry_ts BIGINT,"
    " ultimate_session_expiry_ts BIGINT",
    "access_tokens": "id BIGINT, user_id TEXT, device_id TEXT, token TEXT, valid_until_ms BIGINT, puppets_user_id TEXT,"
    " last_validated BIGINT, refresh_token_id BIGINT, used BOOLEAN",
    "user_filters": "user_id TEXT, filter_id BIGINT, filter_json BYTEA",
    "e2e_device_keys_json": "user_id TEXT, device_id TEXT, key_json TEXT",
    "e2e_one_time_keys_json": "user_id TEXT, device_id TEXT, algorithm TEXT, key_id TEXT, ts_added_ms BIGINT, key_json TEXT",
    "e2e_fallback_keys_json": "user_id TEXT, device_id TEXT, algorithm TEXT, key_id TEXT, key_json TEXT, used BOOLEAN",
    "e2e_cross_signing_keys": "user_id TEXT, keytype TEXT, keydata TEXT, stream_id BIGINT,"
    " updatable_without_uia_before_ms BIGINT",
    "e2e_cross_signing_signatures": "user_id TEXT, key_id TEXT, target_user_id TEXT, target_device_id TEXT, signature TEXT",
    "e2e_room_keys_versions": "user_id TEXT, version BIGINT, algorithm TEXT, auth_data TEXT, deleted SMALLINT, etag BIGINT",
    "e2e_room_keys": "user_id TEXT, room_id TEXT, session_id TEXT, version BIGINT, first_message_index INT,"
    " forwarded_count INT, is_verified BOOLEAN, session_data TEXT",
    "device_inbox": "user_id TEXT, device_id TEXT, stream_id BIGINT, message_json TEXT",
    "device_federation_outbox": "destination TEXT, stream_id BIGINT, queued_ts BIGINT, messages_json TEXT",
    "device_lists_outbound_pokes": "user_id TEXT, device_id TEXT, sent BOOLEAN",
    "device_lists_changes_in_room": "user_id TEXT, device_id TEXT, converted_to_destinations BOOLEAN",
    "account_data": "user_id TEXT, account_data_type TEXT, content TEXT",
    "push_rules": "id BIGINT, user_name TEXT, rule_id TEXT, priority_class SMALLINT, priority INTEGER, conditions TEXT,"
    " actions TEXT",
    "push_rules_enable": "id BIGINT, user_name TEXT, rule_id TEXT, enabled SMALLINT",
    "pushers": "id BIGINT, user_name TEXT, profile_tag TEXT, kind TEXT, app_id TEXT, app_display_name TEXT,"
    " device_display_name TEXT, pushkey TEXT, ts BIGINT, lang TEXT, data TEXT, enabled BOOLEAN, device_id TEXT",
}


def user(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "creation_ts": NOW // 1000, "admin": 0, "is_guest": 0, "deactivated": 0, **more}


def key(letter: str, **more: Any) -> dict[str, Any]:
    """A one-time key has a time besides, a fallback key whether it was used."""
    value = {"key": letter * 43, "signatures": {}}
    return {
        "user_id": ALICE, "device_id": "PHONE", "algorithm": "signed_curve25519", "key_id": letter,
        "key_json": json.dumps(value), **more,
    }  # fmt: skip


def message(position: int, device_id: str = "PHONE") -> dict[str, Any]:
    content = {"sender": BOB, "type": "m.test", "content": {"n": position}}
    return {
        "user_id": ALICE,
        "device_id": device_id,
        "stream_id": position,
        "message_json": json.dumps(content),
    }


def waiting(position: int, message_id: str, **more: Any) -> dict[str, Any]:
    """A message to a device of another server's user."""
    messages = {"@far:else.test": {"PHONE": {"n": position}}}
    content = {"sender": ALICE, "type": "m.test", "message_id": message_id, "messages": messages}
    return {
        "destination": "else.test", "stream_id": position, "queued_ts": NOW, "messages_json": json.dumps(content), **more,
    }  # fmt: skip


def room_key(session: str, version: int = 2, **more: Any) -> dict[str, Any]:
    return {
        "user_id": ALICE, "room_id": f"!r:{SERVER}", "session_id": session, "version": version,
        "first_message_index": 1, "forwarded_count": 0, "is_verified": True, "session_data": '{"c": "x"}', **more,
    }  # fmt: skip


def rule(number: int, name: str, priority: int, conditions: object, actions: object) -> dict[str, Any]:
    return {
        "id": number, "user_name": ALICE, "rule_id": f"global/{name}", "priority_class": 5, "priority": priority,
        "conditions": json.dumps(conditions), "actions": json.dumps(actions),
    }  # fmt: skip


def pusher(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": number, "user_name": ALICE, "profile_tag": "", "kind": "http", "app_id": "app", "pushkey": f"key{number}",
        "app_display_name": "App", "device_display_name": "Phone", "ts": NOW, "lang": "de", "enabled": True,
        "data": '{"url": "https://push.test/_matrix/push/v1/notify"}', "device_id": "PHONE", **more,
    }  # fmt: skip


def token(number: int, text: str, **more: Any) -> dict[str, Any]:
    return {"id": number, "user_id": ALICE, "device_id": "PHONE", "token": text, **more}


Rows = dict[str, list[dict[str, Any]]]


def rows() -> Rows:
    """What of everything there may be."""
    return {
        "schema_version": [{"version": OLDEST_SCHEMA}],
        "users": [
            user(ALICE, password_hash="$2b$04$abc", admin=1, consent_version="1", consent_ts=NOW, approved=True),
            user(BOB, deactivated=1, password_hash="", user_type="bot", locked=True, shadow_banned=True),
            user(GUEST, is_guest=1, suspended=True, approved=False),
        ],
        "profiles": [
            {"user_id": "alice", "displayname": "Al", "avatar_url": "mxc://a/b", "fields": '{"m.tz": "UTC"}'}
        ],
        "erased_users": [{"user_id": BOB}],
        "account_validity": [{"user_id": ALICE, "expiration_ts_ms": NOW + 9}],
        "user_threepids": [
            {"user_id": ALICE, "medium": "email", "address": "A@x.org", "validated_at": 5, "added_at": 6}
        ],
        "user_external_ids": [{"auth_provider": "oidc", "external_id": "7", "user_id": ALICE}],
        "ratelimit_override": [{"user_id": BOB, "messages_per_second": 0}],
        "per_user_experimental_features": [{"user_id": ALICE, "feature": "msc3881", "enabled": True}],
        "registration_tokens": [{"token": "tok", "uses_allowed": 3, "pending": 1, "completed": 2}],
        "monthly_active_users": [{"user_id": ALICE, "timestamp": NOW}],
        "user_ips": [{"user_id": ALICE, "device_id": "GONE", "last_seen": NOW + 7}],
        "devices": [
            {"user_id": ALICE, "device_id": "PHONE", "display_name": "Phone", "last_seen": NOW, "ip": "::1",
             "user_agent": "App/1"},
            {"user_id": ALICE, "device_id": "WAITS", "display_name": "Dehydrated", "last_seen": NOW, "ip": "::1"},
            {"user_id": ALICE, "device_id": MASTER, "hidden": True},
        ],
        "dehydrated_devices": [{"user_id": ALICE, "device_id": "WAITS", "device_data": '{"account": "x"}'}],
        "refresh_tokens": [
            {**token(1, "syr_used"), "next_token_id": 2},
            {**token(2, "syr_old"), "next_token_id": 3},
            {**token(3, "syr_new"), "expiry_ts": NOW * 2, "ultimate_session_expiry_ts": NOW * 3},
        ],
        "access_tokens": [
            token(1, "syt_old", refresh_token_id=2, used=True, valid_until_ms=NOW),
            token(2, "syt_new", refresh_token_id=3, used=False, valid_until_ms=NOW * 2),
            token(3, "MDAxlong", last_validated=NOW),
            token(4, "syt_puppet", puppets_user_id=BOB),
        ],
        "user_filters": [
            {"user_id": "alice", "filter_id": number, "filter_json": b'{"room": {"timeline": {"limit": %d}}}' % number}
            for number in range(3)
        ] + [{"user_id": "alice", "filter_id": 3, "filter_json": b'{"room":{"timeline":{"limit":1}}}'}],
        "e2e_device_keys_json": [
            {"user_id": ALICE, "device_id": "PHONE", "key_json": json.dumps(PHONE.keys)}
        ],
        "e2e_one_time_keys_json": [key(letter, ts_added_ms=at) for letter, at in (("c", 1), ("b", 2), ("d", 2))],
        "e2e_fallback_keys_json": [key("f", used=True)],
        "e2e_cross_signing_keys": [
            {"user_id": ALICE, "keytype": "master", "stream_id": number, "keydata": json.dumps(one.key("master"))}
            for number, one in enumerate((OLD_IDENTITY, IDENTITY))
        ] + [{"user_id": "@far:else.test", "keytype": "master", "stream_id": 1, "keydata": "{}"}],
        "e2e_cross_signing_signatures": [
            {"user_id": ALICE, "key_id": "ed25519:PHONE", "target_user_id": ALICE, "target_device_id": MASTER,
             "signature": "sig"}
        ],
        "e2e_room_keys_versions": [
            {"user_id": ALICE, "version": 1, "algorithm": "alg", "auth_data": "", "deleted": 1},
            {"user_id": ALICE, "version": 2, "algorithm": "alg", "auth_data": '{"k": 1}', "deleted": 0, "etag": 8},
        ],
        "e2e_room_keys": [room_key(name) for name in "abc"],
        "device_inbox": [message(position) for position in (90, 70, 80)] + [message(95, "GONE")],
        "device_federation_outbox": [waiting(4, "b"), waiting(3, "a"), {**waiting(3, "c"), "destination": "far.test"}],
        "device_lists_outbound_pokes": [
            {"user_id": ALICE, "device_id": "PHONE", "sent": False},
            {"user_id": BOB, "device_id": "TOLD", "sent": True},
        ],
        "account_data": [
            {"user_id": ALICE, "account_data_type": "m.direct", "content": '{"b": 1.5, "a": []}'},
            {"user_id": BOB, "account_data_type": "x.y", "content": "{}"},
        ],
        "push_rules": [
            rule(1, "override/low", 0, [], ["notify"]),
            rule(2, "override/high", 1, [], []),
            rule(3, "content/word", 0, [{"kind": "event_match", "key": "content.body", "pattern": "x*"}], ["notify"]),
            rule(4, f"room/!r:{SERVER}", 0, [{"kind": "event_match", "key": "room_id"}], []),
            {**rule(5, "underride/.m.rule.message", 1, [], ["notify"]), "priority_class": -1},
        ],
        "push_rules_enable": [
            {"id": 1, "user_name": ALICE, "rule_id": "global/override/high", "enabled": 0},
            {"id": 2, "user_name": ALICE, "rule_id": "global/override/.m.rule.master", "enabled": 1},
            {"id": 3, "user_name": ALICE, "rule_id": "global/override/low", "enabled": 1},
        ],
        "pushers": [pusher(1), pusher(2, kind="email", data=None, device_id=None, enabled=None)],
    }  # fmt: skip


def write_sqlite(path: Path, found: Rows, schema: Mapping[str, str] = SCHEMA) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for table, columns in schema.items():
            connection.execute(f"CREATE TABLE {table} ({columns})")
            for row in found.get(table, ()):
                marks = ", ".join("?" for _ in row)
                connection.execute(
                    f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values())
                )


def write_postgresql(arguments: Mapping[str, Any], found: Rows) -> None:
    """Into a schema `synapse` of the database."""
    with (
        closing(psycopg2.connect(**arguments)) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("CREATE SCHEMA synapse; SET search_path TO synapse")
        for table, columns in SCHEMA.items():
            cursor.execute(f"CREATE TABLE {table} ({columns})")
            for row in found.get(table, ()):
                marks = ", ".join("%s" for _ in row)
                cursor.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values()))
