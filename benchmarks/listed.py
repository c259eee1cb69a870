"""Many users, rooms and reports, put into the database of a server: what administrators list.

Each server gets the rows that it would have written itself, in the tables that its lists are read from; the same
numbers of the same names, flags and times on both.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from threading import Lock
from typing import Any

import psycopg2
from psycopg2.extensions import cursor as Cursor  # noqa: N812 (a class)

from benchmarks.sizes import Sizes

RARE = "qz"  # in the name of one user, and of one room
UPLOADER = "@listed1:bench.test"  # of a fifth of all media
SESSIONS = 2  # that fill the tables side by side

_OURS_BY_USER = """
INSERT INTO users (user_id, created_ts, displayname, avatar_url, user_type, is_admin, is_guest, deactivated,
    shadow_banned) SELECT '@listed' || n || ':bench.test', n, {name},
    CASE WHEN n % 2 > 0 THEN 'mxc://bench.test/' || n END, CASE WHEN n % 20 = 0 THEN 'bot' END,
    n % 1000 = 0, n % 50 = 0, n % 30 = 0, n % 900 = 0 FROM generate_series(1, {users}) n ON CONFLICT DO NOTHING;
INSERT INTO user_last_seen SELECT user_id, CASE WHEN created_ts % 3 > 0 THEN created_ts END FROM users
    ON CONFLICT DO NOTHING;
INSERT INTO user_reports (received_ts, target_user_id, user_id, reason)
    SELECT n, '@listed' || n || ':bench.test', '@listed1:bench.test', 'spam' FROM generate_series(1, {reports}) n;
INSERT INTO media_blobs (sha256, size, stored) VALUES ('listed', 1, TRUE);
INSERT INTO media (origin, media_id, sha256, size, user_id, media_type, upload_name, created_ts, last_access_ts, authenticated)
    SELECT 'bench.test', 'listed' || n, 'listed', n % 5000, CASE WHEN n % 5 = 0 THEN {uploader} ELSE '@listed' || n || ':bench.test' END,
    'image/png', n % 900 || '.png', n, CASE WHEN n % 2 > 0 THEN n END, TRUE FROM generate_series(1, {rooms}) n;
INSERT INTO uploads SELECT user_id, count(*), sum(size) FROM media WHERE sha256 = 'listed' GROUP BY user_id;
INSERT INTO destinations (server_name, failing_since, attempted_ts, retry_interval, sent_position)
    SELECT 'listed' || n || '.test', CASE WHEN n % 3 > 0 THEN n % 5000 END, n % 4000, n % 50, CASE WHEN n % 2 > 0 THEN n END
    FROM generate_series(1, {rooms}) n;
INSERT INTO audit_log (ts, user_id, ip, user_agent, method, path, request)
    SELECT n, '@listed' || n % 9 || ':bench.test', '', '', 'POST', '/', '{{}}' FROM generate_series(1, {rooms}) n;
INSERT INTO scheduled_tasks (id, action, version, status, requester, endpoint, priority, run_at, params, max_attempts,
    created_at, updated_at, finished_at) SELECT 'listed' || n, 'noop', 1, 'complete', '@listed1:bench.test', '', 0, n, '{{}}', 3,
    n, n, n FROM generate_series(1, {rooms}) n;
INSERT INTO registration_tokens (token, uses_allowed, completed, expiry_ts)
    SELECT 'listed' || n, n % 3, n % 2, n FROM generate_series(1, {rooms} / 100) n
"""
_OURS_BY_ROOM = """
CREATE TEMP TABLE seeded AS SELECT n, nextval(pg_get_serial_sequence('rooms', 'room_nid')) AS nid
    FROM generate_series(1, {rooms}) n;
CREATE INDEX ON seeded (n);
INSERT INTO rooms (room_nid, room_id, version, creator, created_ts, is_public) OVERRIDING SYSTEM VALUE
    SELECT nid, '!listed' || nid, 10, '@listed' || n || ':bench.test', n, n % 5 = 0 FROM seeded;
INSERT INTO room_summary (room_nid, name, canonical_alias, join_rule, joined, joined_local, state_events)
    SELECT nid, {room_name}, CASE WHEN n % 4 = 0 THEN '#a' || n || ':bench.test' END,
    'invite', n % 700, n % 300, n % 900 FROM seeded;
INSERT INTO room_sizes SELECT room_nid, joined, joined_local, state_events FROM room_summary ON CONFLICT DO NOTHING;
INSERT INTO room_stats (room_nid, events, state_events, messages, bytes, last_event_ts)
    SELECT nid, 1, 1, 0, n % 7000, n FROM seeded;
INSERT INTO event_reports (received_ts, room_id, event_id, sender, event, user_id, reason)
    SELECT n, '!listed' || nid, '$' || i, '@listed' || i || ':bench.test', '{{}}', '@listed1:bench.test', 'spam'
    FROM generate_series(1, {reports}) i JOIN seeded ON n = 1 + i % {rooms};
INSERT INTO room_reports (received_ts, room_id, user_id, reason)
    SELECT n, '!listed' || nid, '@listed1:bench.test', 'spam' FROM generate_series(1, {reports}) i JOIN seeded ON n = 1 + i % {rooms}
"""
_SYNAPSE_BY_USER = """
INSERT INTO users (name, creation_ts, admin, is_guest, user_type, deactivated, shadow_banned, approved)
    SELECT '@listed' || n || ':bench.test', n / 1000, (n % 1000 = 0)::int, (n % 50 = 0)::int,
    CASE WHEN n % 20 = 0 THEN 'bot' END, (n % 30 = 0)::int, n % 900 = 0, TRUE FROM generate_series(1, {users}) n;
INSERT INTO profiles (user_id, full_user_id, displayname, avatar_url) SELECT 'listed' || n,
    '@listed' || n || ':bench.test', {name}, CASE WHEN n % 2 > 0 THEN 'mxc://bench.test/' || n END
    FROM generate_series(1, {users}) n;
INSERT INTO user_ips (user_id, access_token, device_id, ip, user_agent, last_seen)
    SELECT '@listed' || n || ':bench.test', '', 'D', '127.0.0.1', '', n FROM generate_series(1, {users}) n WHERE n % 3 > 0;
INSERT INTO user_reports (id, received_ts, target_user_id, user_id, reason)
    SELECT 1000 + n, n, '@listed' || n || ':bench.test', '@listed1:bench.test', 'spam' FROM generate_series(1, {reports}) n
"""
_SYNAPSE_BY_ROOM = """
INSERT INTO rooms (room_id, is_public, creator, room_version, has_auth_chain_index)
    SELECT '!listed' || n, n % 5 = 0, '@listed' || n || ':bench.test', '10', TRUE FROM generate_series(1, {rooms}) n;
INSERT INTO room_stats_state (room_id, name, canonical_alias, join_rules, history_visibility, is_federatable)
    SELECT '!listed' || n, {room_name},
    CASE WHEN n % 4 = 0 THEN '#a' || n || ':bench.test' END, 'invite', 'shared', TRUE FROM generate_series(1, {rooms}) n;
INSERT INTO room_stats_current (room_id, current_state_events, joined_members, invited_members, left_members,
    banned_members, local_users_in_room, completed_delta_stream_id, knocked_members)
    SELECT '!listed' || n, n % 900, n % 700, 0, 0, 0, n % 300, 0, 0 FROM generate_series(1, {rooms}) n;
INSERT INTO events (topological_ordering, event_id, type, room_id, processed, outlier, depth, origin_server_ts,
    received_ts, sender, contains_url, instance_name, stream_ordering)
    SELECT 1, '$' || n, 'm.room.message', '!listed' || n, TRUE, FALSE, 1, n, n, '@listed' || n || ':bench.test', FALSE,
    'master', -n - 1000 FROM generate_series(1, {rooms}) n;
INSERT INTO event_json (event_id, room_id, internal_metadata, json, format_version)
    SELECT '$' || n, '!listed' || n, '{{}}', '{{}}', 3 FROM generate_series(1, {rooms}) n;
INSERT INTO event_reports (id, received_ts, room_id, event_id, user_id, reason, content)
    SELECT 1000 + i, i % {rooms}, '!listed' || 1 + i % {rooms}, '$' || 1 + i % {rooms}, '@listed1:bench.test', 'spam',
    '{{"reason": "spam", "score": null}}' FROM generate_series(1, {reports}) i
"""


_TABLES = (
    *(
        "users",
        "user_last_seen",
        "profiles",
        "user_ips",
        "rooms",
        "room_summary",
        "room_sizes",
        "room_stats_state",
    ),
    *("room_stats_current", "events", "event_json", "event_reports", "room_reports", "user_reports", "media"),
    *("room_stats", "destinations", "audit_log", "scheduled_tasks", "uploads", "registration_tokens"),
)
_SETTINGS = """
SET synchronous_commit = off;
SET session_replication_role = replica;
SET maintenance_work_mem = '512MB'
"""
_INDEXES = (
    "SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid) FROM pg_index i"
    " WHERE i.indrelid::regclass::text = ANY(%s) AND NOT EXISTS"
    " (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid) AND NOT i.indisunique"
)


def seed_listed(arguments: dict[str, Any], sizes: Sizes, *, is_ours: bool) -> None:
    """Blocks until the statistics of the tables are there, too."""
    name = f"CASE WHEN n = 4321 THEN '{RARE}' ELSE 'Name ' || n % 100000 END"
    room_name = f"CASE WHEN n = 43 THEN '{RARE}' WHEN n % 3 > 0 THEN 'Room ' || n % 30000 END"
    values = {
        "users": sizes.listed_users, "rooms": sizes.listed_rooms, "reports": sizes.listed_reports, "name": name,
        "room_name": room_name, "uploader": f"'{UPLOADER}'",
    }  # fmt: skip
    groups = (_OURS_BY_USER, _OURS_BY_ROOM) if is_ours else (_SYNAPSE_BY_USER, _SYNAPSE_BY_ROOM)
    with ExitStack() as stack:
        sessions = [stack.enter_context(_session(arguments)) for _ in range(SESSIONS)]
        tables, indexes = _drop_indexes(sessions[0])
        _share(sessions, [statements.format(**values) for statements in groups])
        _share(sessions, indexes)
        _share(sessions, [f"VACUUM ANALYZE {table}" for table in tables])
        # What is measured next would share the disk with it.
        sessions[0].execute("CHECKPOINT")


@contextmanager
def _session(arguments: dict[str, Any]) -> Iterator[Cursor]:
    """One that asks neither the disk nor foreign keys about each row; nor do triggers run, whose work is in the statements."""
    with closing(psycopg2.connect(**arguments)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(_SETTINGS)
            yield cursor


def _drop_indexes(cursor: Cursor) -> tuple[list[str], list[str]]:
    """The tables that there are of those to fill, and what makes their indexes again: at the end, which takes a fraction of
    what their entries take one by one. Those of arrays come first, as they take longest.
    """
    cursor.execute(_INDEXES, (list(_TABLES),))
    indexes = cursor.fetchall()
    for index, _ in indexes:
        cursor.execute(f"DROP INDEX {index}")
    cursor.execute(
        "SELECT name FROM unnest(%s) AS name WHERE to_regclass(name) IS NOT NULL", (list(_TABLES),)
    )
    definitions = [definition for _, definition in indexes]
    return [name for (name,) in cursor], sorted(definitions, key=lambda one: "USING gin" not in one)


def _share(sessions: Sequence[Cursor], statements: Iterable[str]) -> None:
    """Each session executes the next statement as soon as it has done its last one."""
    waiting = iter(statements)
    next_one = Lock()

    def work(cursor: Cursor) -> None:
        while True:
            with next_one:
                statement = next(waiting, None)
            if statement is None:
                return
            cursor.execute(statement)

    with ThreadPoolExecutor(len(sessions)) as threads:
        list(threads.map(work, sessions))
