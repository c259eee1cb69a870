"""`import-synapse`, the accounts' side, from a database as Synapse lays it out."""

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import yaml
from click.testing import CliRunner, Result

from synapse_lite.cli import main
from synapse_lite.cli.import_synapse import command, target
from synapse_lite.cli.import_synapse.checks import OLDEST_SCHEMA
from synapse_lite.cli.import_synapse.target import Import
from synapse_lite.storage.synapse import database
from synapse_lite.storage.synapse.rooms import NUMBERED, newest_position
from tests.builders import ALICE, BOB, SERVER
from tests.cli import synapse_accounts as synapse
from tests.cli.synapse_accounts import GUEST, MASTER, NOW, Rows

OURS = tuple(part for part in command.PARTS if part[0] != "rooms")
EXPECTED: dict[str, list[tuple[Any, ...]]] = {
    "SELECT user_id, password_hash, is_admin, is_guest, deactivated, locked, suspended, shadow_banned, erased, user_type,"
    " created_ts, consent_version, consent_ts, expires_ts, displayname, avatar_url, profile_fields, last_seen_ts"
    ' FROM users JOIN user_last_seen USING (user_id) ORDER BY user_id COLLATE "C"': [
        (GUEST, None, False, True, False, True, True, False, False, None, NOW, None, None, None, None, None, "{}", None),
        (ALICE, "$2b$04$abc", True, False, False, False, False, False, False, None, NOW, "1", NOW, None,
         "Al", "mxc://a/b", '{"m.tz":"UTC"}', NOW + 7),
        (BOB, None, False, False, True, True, False, True, True, "bot", NOW, None, None, None, None, None, "{}", None),
    ],
    "SELECT * FROM user_threepids": [("email", "a@x.org", ALICE, 5, 6)],
    "SELECT * FROM user_external_ids": [("oidc", "7", ALICE)],
    "SELECT * FROM rate_limit_overrides": [(BOB, 0, 0)],
    "SELECT * FROM experimental_features": [(ALICE, "msc3881", True)],
    "SELECT * FROM registration_tokens": [("tok", 3, 2, None)],
    "SELECT * FROM active_users": [(ALICE, NOW)],
    "SELECT user_id, device_id, display_name, last_seen_ts, last_seen_ip, last_seen_user_agent, dehydrated"
    " FROM devices ORDER BY device_id": [
        (ALICE, "PHONE", "Phone", NOW, "::1", "App/1", None),
        (ALICE, "WAITS", "Dehydrated", None, None, None, '{"account":"x"}'),
    ],
    "SELECT t.user_id, t.device_id, t.valid_until_ts, t.session_until_ts, encode(p.token_hash, 'hex')"
    " FROM refresh_tokens t LEFT JOIN refresh_tokens p ON p.refresh_nid = t.replaces_nid ORDER BY t.refresh_nid": [
        (ALICE, "PHONE", None, None, None),
        (ALICE, "PHONE", NOW * 2, NOW * 3, hashlib.sha256(b"syr_old").hexdigest()),
    ],
    "SELECT a.user_id, a.device_id, a.valid_until_ts, encode(r.token_hash, 'hex') FROM access_tokens a"
    " LEFT JOIN refresh_tokens r USING (refresh_nid) ORDER BY 3, 1": [
        (ALICE, "PHONE", NOW, hashlib.sha256(b"syr_old").hexdigest()),
        (ALICE, "PHONE", NOW * 2, hashlib.sha256(b"syr_new").hexdigest()),
        (ALICE, "PHONE", None, None),
        (BOB, None, None, None),
    ],
    "SELECT user_id, filter_nid, json FROM filters ORDER BY 2": [
        (ALICE, number, f'{{"room":{{"timeline":{{"limit":{limit}}}}}}}') for number, limit in enumerate((0, 1, 2, 1))
    ],
    "SELECT user_id, device_id, json::jsonb FROM device_keys": [(ALICE, "PHONE", synapse.PHONE.keys)],
    "SELECT user_id, device_id, number - given, key_id FROM one_time_keys JOIN key_stocks USING (stock_nid) ORDER BY 3": [
        (ALICE, "PHONE", number, letter) for number, letter in enumerate("cbd", 1)
    ],
    "SELECT user_id, device_id, key_id, used FROM fallback_keys": [(ALICE, "PHONE", "f", True)],
    "SELECT user_id, usage, public_key FROM cross_signing_keys": [(ALICE, "master", MASTER)],
    "SELECT * FROM key_signatures": [(ALICE, MASTER, ALICE, "ed25519:PHONE", "sig", None)],
    "SELECT version, algorithm, auth_data, etag, count, deleted FROM key_backups ORDER BY 1": [
        (1, "alg", "{}", 0, 0, True),
        (2, "alg", '{"k":1}', 8, 3, False),
    ],
    "SELECT version, session_id, is_verified, first_message_index, session_data FROM key_backup_sessions ORDER BY 2": [
        (2, name, True, 1, '{"c":"x"}') for name in "abc"
    ],
    "SELECT device_id, position, sender, type, content FROM device_inbox ORDER BY position": [
        ("PHONE", position, BOB, "m.test", f'{{"n":{position}}}') for position in (70, 80, 90)
    ],
    "SELECT server_name, json::jsonb -> 'content' ->> 'message_id', json::jsonb -> 'content' #> '{messages,@far:else.test,PHONE,n}',"
    " json::jsonb ->> 'edu_type', pending FROM outgoing_edus JOIN destinations USING (server_name) ORDER BY server_name, edu": [
        ("else.test", "a", 3, "m.direct_to_device", True),
        ("else.test", "b", 4, "m.direct_to_device", True),
        ("far.test", "c", 3, "m.direct_to_device", True),
    ],
    "SELECT user_id, room_nid, type, json::jsonb FROM account_data ORDER BY type": [
        (ALICE, 0, "m.direct", {"a": [], "b": 1.5}),
        (ALICE, 0, "m.push_rules", {
            "own": {
                "override": [
                    {"rule_id": "high", "enabled": False, "actions": [], "conditions": []},
                    {"rule_id": "low", "enabled": True, "actions": ["notify"], "conditions": []},
                ],
                "content": [{"rule_id": "word", "enabled": True, "actions": ["notify"], "pattern": "x*"}],
                "room": [{"rule_id": f"!r:{SERVER}", "enabled": True, "actions": []}],
            },
            "changed": {
                "underride": {".m.rule.message": {"actions": ["notify"]}},
                "override": {".m.rule.master": {"enabled": True}},
            },
        }),
        (BOB, 0, "x.y", {}),
    ],
    "SELECT user_id, pushkey, device_id, kind, profile_tag, lang, enabled, created_ts, data::jsonb,"
    " pushed_upto = (SELECT position - (SELECT count(*) FROM stream WHERE kind = 8) FROM stream_position)"
    " FROM pushers ORDER BY pushkey": [
        (ALICE, "key1", "PHONE", "http", None, "de", True, NOW, {"url": "https://push.test/_matrix/push/v1/notify"}, True),
        (ALICE, "key2", None, "email", None, "de", True, NOW, {}, True),
    ],
    "SELECT user_id, key, content FROM stream WHERE kind = 8": [(ALICE, "devices", '["PHONE"]')],
}  # fmt: skip


class Move:
    """From one server to the other."""

    def __init__(self, directory: Path, arguments: dict[str, Any]) -> None:
        self.arguments = arguments
        self.source = str(directory / "homeserver.db")
        self.config = directory / "homeserver.yaml"
        options = {"server_name": SERVER, "database": {"name": "psycopg2", "args": arguments}}
        self.config.write_text(yaml.safe_dump(options))

    def write(self, rows: Rows) -> None:
        Path(self.source).unlink(missing_ok=True)
        synapse.write_sqlite(Path(self.source), rows)

    def run(self) -> Result:
        return CliRunner().invoke(main, ["import-synapse", "-c", str(self.config), "--database", self.source])

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(psycopg2.connect(**self.arguments)) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()

    def execute(self, sql: str) -> None:
        with (
            closing(psycopg2.connect(**self.arguments)) as connection,
            connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(sql)

    def content(self) -> dict[str, list[tuple[Any, ...]]]:
        return {sql: self.rows(sql) for sql in EXPECTED}


@pytest.fixture
def move(tmp_path: Path, database_arguments: dict[str, Any], monkeypatch) -> Move:
    monkeypatch.setattr(command, "PARTS", OURS)
    return Move(tmp_path, database_arguments)


def test_everything_is_taken_over(move: Move) -> None:
    """And counted; the next guest gets a number that nobody has, the next filter one that its user does not have."""
    move.write(synapse.rows())
    result = move.run()
    assert result.exit_code == 0, result.output
    assert move.content() == EXPECTED
    assert "not valid" not in result.output
    assert {"users: 3", "one-time keys: 3", "access tokens: 4"} <= set(result.stdout.splitlines())
    assert move.rows("SELECT nextval('numbered_users')") == [(42,)]
    move.execute(f"INSERT INTO filters (user_id, digest, json) VALUES ('{ALICE}', '', '{{}}')")
    assert move.rows("SELECT filter_nid FROM filters WHERE json = '{}'") == [(4,)]


def test_it_goes_on_where_it_was_interrupted(move: Move, monkeypatch) -> None:
    """Killed after whatever transaction, again and again: what comes is the same."""
    monkeypatch.setattr(database, "PAGE", 2)
    monkeypatch.setattr(target, "BATCH", 2)
    move.write(synapse.rows())
    begin = Import.transaction
    left = 0

    def die_later(self: Import) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return begin(self)

    monkeypatch.setattr(Import, "transaction", die_later)
    for allowed in range(1, 100):
        left = allowed
        if move.run().exit_code == 0:
            break
    assert allowed > 10
    assert move.content() | {LISTS: []} == EXPECTED | {LISTS: []}
    assert set(move.rows(LISTS)) == set(EXPECTED[LISTS])


LISTS = next(sql for sql in EXPECTED if sql.endswith("kind = 8"))
"""Of these other servers may be told twice."""


def test_from_postgresql(move: Move) -> None:
    """Its types are others."""
    rows = synapse.rows()
    synapse.write_postgresql(move.arguments, rows)
    place = "&".join(f"{name}={value}" for name, value in move.arguments.items())
    move.source = f"postgresql:///?{place}&options=-csearch_path%3Dsynapse"
    try:
        result = move.run()
        assert result.exit_code == 0, result.output
        assert move.content() == EXPECTED
    finally:
        move.execute("DROP SCHEMA synapse CASCADE")


def test_what_is_faulty_is_left_out(move: Move) -> None:
    """And named; what stands beside it comes."""
    rows = synapse.rows()
    for table, faulty in FAULTY.items():
        rows[table] = [*faulty[:1], *rows.get(table, ()), *faulty[1:]]
    move.write(rows)
    result = move.run()
    assert result.exit_code == 0, result.output
    assert move.content() == EXPECTED
    assert sorted(line for line in result.stderr.splitlines() if "not valid" in line) == sorted(NAMED)
    assert "users: not valid: 3" in result.stdout


FAR = "@far:else.test"
FAULTY: Rows = {
    "users": [synapse.user(FAR), synapse.user("bob"), synapse.user(f"@nul\0:{SERVER}")],
    "profiles": [{"user_id": "far", "fields": "{"}],
    "user_threepids": [{"user_id": ALICE, "medium": "e\0", "address": "x", "validated_at": 1, "added_at": 1}],
    "ratelimit_override": [{"user_id": ALICE, "messages_per_second": 2**40, "burst_count": 1}],
    "devices": [{"user_id": f"@nobody:{SERVER}", "device_id": "X"}, {"user_id": ALICE, "device_id": "N\0"}],
    "access_tokens": [synapse.token(9, "syt_secret", device_id="NONE")],
    "user_filters": [
        {"user_id": "alice", "filter_id": 7, "filter_json": b"[]"},
        {"user_id": "alice", "filter_id": 8, "filter_json": b'{"room": 5}'},
    ],
    "e2e_device_keys_json": [{"user_id": ALICE, "device_id": "WAITS", "key_json": '{"keys": {}}'}],
    "e2e_one_time_keys_json": [synapse.key("z", ts_added_ms=5, key_json="{}")],
    "e2e_room_keys": [synapse.room_key("d", 9), synapse.room_key("e", session_data="x")],
    "device_inbox": [{**synapse.message(91), "message_json": "[]"}],
    "device_federation_outbox": [
        synapse.waiting(7, "y", messages_json='{"message_id": "y"}'),
        synapse.waiting(8, "z", messages_json="["),
        synapse.waiting(9, "x", destination="no server"),
        synapse.waiting(9, "x", destination=SERVER),
    ],
    "account_data": [{"user_id": ALICE, "account_data_type": "m.x", "content": "{"}],
    "push_rules": [synapse.rule(9, "wrong/x", 0, [], []), synapse.rule(8, "override/x", 0, [5], [])],
    "pushers": [synapse.pusher(8, device_id="NONE"), synapse.pusher(9, data='{"url": "x"}')],
}
NAMED = [
    f"users: not valid: {FAR}",
    "users: not valid: bob",
    f"users: not valid: @nul\\x00:{SERVER}",
    "third-party ids: not valid: e\\x00 x",
    f"rate limits: not valid: {ALICE}",
    f"devices: not valid: @nobody:{SERVER} X",
    f"devices: not valid: {ALICE} N\\x00",
    f"access tokens: not valid: 9 {ALICE}",
    "filters: not valid: alice 7",
    "filters: not valid: alice 8",
    f"device keys: not valid: {ALICE} WAITS",
    f"one-time keys: not valid: {ALICE} PHONE signed_curve25519 z",
    f"backed up keys: not valid: {ALICE} 9 !r:{SERVER} d",
    f"backed up keys: not valid: {ALICE} 2 !r:{SERVER} e",
    f"waiting messages: not valid: {ALICE} PHONE 91",
    "messages to other servers: not valid: else.test 7",
    "messages to other servers: not valid: else.test 8",
    "messages to other servers: not valid: no server 9",
    f"messages to other servers: not valid: {SERVER} 9",
    f"account data: not valid: {ALICE} m.x",
    f"push rules: not valid: {ALICE} global/wrong/x",
    f"push rules: not valid: {ALICE} global/override/x",
    f"pushers: not valid: {ALICE} app 8",
    f"pushers: not valid: {ALICE} app 9",
]


def test_what_is_no_text(move: Move) -> None:
    """SQLite holds bytes that no text has: that row is left out, not all that is read with it."""
    move.write(synapse.rows())
    with closing(sqlite3.connect(move.source)) as connection, connection:
        connection.execute(f"INSERT INTO account_data VALUES ('{ALICE}', CAST(x'61ff' AS TEXT), '{{}}')")
    result = move.run()
    assert result.exit_code == 0, result.output
    assert f"account data: not valid: {ALICE} a\\udcff" in result.stderr
    assert move.content() == EXPECTED


def test_what_is_done_is_not_done_again(move: Move) -> None:
    """A session that has ended since, a key that was given out: they do not come back."""
    move.write(synapse.rows())
    assert move.run().exit_code == 0
    move.execute("DELETE FROM access_tokens; DELETE FROM one_time_keys; DELETE FROM key_stocks")
    result = move.run()
    assert result.exit_code == 0, result.output
    assert "sessions: done before" in result.stderr
    assert move.rows("SELECT FROM access_tokens UNION ALL SELECT FROM one_time_keys") == []


def test_keys_of_a_device_that_has_some_are_left_alone(move: Move) -> None:
    """In a part that was interrupted, too: which of them were given out is not known."""
    move.write(synapse.rows())
    assert move.run().exit_code == 0
    move.execute(
        "DELETE FROM imported_parts; DELETE FROM one_time_keys; UPDATE key_stocks SET given = uploaded"
    )
    result = move.run()
    assert result.exit_code == 0
    assert "not valid" not in result.output
    assert move.rows("SELECT given, uploaded FROM key_stocks") == [(3, 3)]


def test_our_stream_begins_behind_all_of_theirs(move: Move) -> None:
    """A message that waits at a later position would be shown to nobody."""
    move.write(synapse.rows())
    with closing(sqlite3.connect(move.source)) as connection, connection:
        for table, column in NUMBERED:
            connection.execute(f"CREATE TABLE IF NOT EXISTS {table} ({column} BIGINT)")
        connection.execute("INSERT INTO events VALUES (7)")
    with database.SynapseDatabase.open(move.source) as source:
        assert newest_position(source) == 95
    with closing(sqlite3.connect(move.source)) as connection, connection:
        connection.execute("INSERT INTO stream_positions VALUES (99)")
    with database.SynapseDatabase.open(move.source) as source:
        assert newest_position(source) == 99


@pytest.mark.parametrize(
    ("table", "rows", "says"),
    [
        ("schema_version", [{"version": OLDEST_SCHEMA - 1}], "the oldest that is understood"),
        ("background_updates", [{"update_name": "slow_one"}], "slow_one"),
        ("users", [synapse.user(FAR)], f"its users are none of {SERVER}"),
    ],
)
def test_what_cannot_be_taken_over(move: Move, table: str, rows: list[Any], says: str) -> None:
    """It is said before anything is written."""
    move.write({**synapse.rows(), table: rows})
    result = move.run()
    assert result.exit_code != 0
    assert says in result.output
    assert move.rows("SELECT FROM users UNION ALL SELECT FROM imported_parts") == []


def test_a_server_that_runs(move: Move) -> None:
    """It must be stopped."""
    move.write(synapse.rows())
    move.execute("INSERT INTO task_runners VALUES ('main#1', 'main', now_ms(), now_ms() + 60000)")
    result = move.run()
    assert result.exit_code == 3
    assert "this server is running (main)" in result.stderr
    move.execute("UPDATE task_runners SET expires_at = now_ms() - 1")
    assert move.run().exit_code == 0


def test_an_error_says_in_which_database_it_is(move: Move) -> None:
    """Theirs and ours may both be PostgreSQL."""
    move.write(synapse.rows())
    move.execute("ALTER TABLE user_last_seen RENAME TO user_last_gone")
    try:
        result = move.run()
        assert result.exit_code == 3
        assert "user_last_seen" in result.stderr
        assert "Synapse's database" not in result.stderr
    finally:
        move.execute("ALTER TABLE user_last_gone RENAME TO user_last_seen")
    with closing(sqlite3.connect(move.source)) as connection, connection:
        connection.execute("DROP TABLE profiles")
    assert "Synapse's database: no such table: profiles" in move.run().stderr


def test_another_servers_database(move: Move) -> None:
    """Ours must be ours."""
    move.write(synapse.rows())
    move.execute("INSERT INTO server_identity VALUES (TRUE, 'else.test', 'ed25519:a', 'key')")
    assert "belongs to else.test" in move.run().output


def test_accounts_that_expire(move: Move) -> None:
    """Where the configuration says that they do."""
    options = yaml.safe_load(move.config.read_text())
    options["account_validity"] = {"enabled": True, "period": "6w"}
    move.config.write_text(yaml.safe_dump(options))
    move.write(synapse.rows())
    assert move.run().exit_code == 0
    assert move.rows("SELECT user_id, expires_ts FROM users WHERE expires_ts IS NOT NULL") == [
        (ALICE, NOW + 9)
    ]
