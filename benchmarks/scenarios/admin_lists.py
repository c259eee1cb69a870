"""Pages of what administrators list, on a large server."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import psycopg2

from benchmarks.bench import Bench
from benchmarks.client import ADMIN, Metrics, MissingFeatureError, User, check, percentile
from benchmarks.sizes import Sizes

PAGES = 20  # of each list in each order, from the first to the last
LIMIT = 100
USER_ORDERS = (
    *("name", "is_guest", "admin", "user_type", "deactivated", "shadow_banned", "displayname", "avatar_url"),
    *("creation_ts", "last_seen_ts", "locked"),
)
ROOM_ORDERS = (
    *(
        "name",
        "canonical_alias",
        "joined_members",
        "joined_local_members",
        "version",
        "creator",
        "encryption",
    ),
    *("federatable", "public", "join_rules", "guest_access", "history_visibility", "state_events"),
)
REPORTS = ("event_reports", "room_reports", "user_reports")

_SEED = """
CREATE TEMP TABLE seeded AS SELECT n, nextval(pg_get_serial_sequence('rooms', 'room_nid')) AS nid
    FROM generate_series(1, {rooms}) n;
CREATE INDEX ON seeded (n);
INSERT INTO users (user_id, created_ts, displayname, avatar_url, user_type, is_admin, is_guest, deactivated,
    shadow_banned) SELECT '@listed' || n || ':bench.test', n, 'Name ' || n % 100000,
    CASE WHEN n % 2 > 0 THEN 'mxc://bench.test/' || n END, CASE WHEN n % 20 = 0 THEN 'bot' END,
    n % 1000 = 0, n % 50 = 0, n % 30 = 0, n % 900 = 0 FROM generate_series(1, {users}) n ON CONFLICT DO NOTHING;
INSERT INTO user_last_seen SELECT user_id, CASE WHEN created_ts % 3 > 0 THEN created_ts END FROM users
    ON CONFLICT DO NOTHING;
INSERT INTO rooms (room_nid, room_id, version, creator, created_ts, is_public) OVERRIDING SYSTEM VALUE
    SELECT nid, '!listed' || nid, 10, '@listed' || n || ':bench.test', n, n % 5 = 0 FROM seeded;
INSERT INTO room_summary (room_nid, name, canonical_alias, join_rule, joined, joined_local, state_events)
    SELECT nid, CASE WHEN n % 3 > 0 THEN 'Room ' || n % 30000 END, CASE WHEN n % 4 = 0 THEN '#a' || n || ':bench.test' END,
    'invite', n % 700, n % 300, n % 900 FROM seeded;
INSERT INTO event_reports (received_ts, room_id, event_id, sender, event, user_id, reason)
    SELECT n, '!listed' || nid, '$' || i, '@listed' || i || ':bench.test', '{{}}', '@listed1:bench.test', 'spam'
    FROM generate_series(1, {reports}) i JOIN seeded ON n = 1 + i % {rooms};
INSERT INTO room_reports (received_ts, room_id, user_id, reason)
    SELECT n, '!listed' || nid, '@listed1:bench.test', 'spam' FROM generate_series(1, {reports}) i JOIN seeded ON n = 1 + i % {rooms};
INSERT INTO user_reports (received_ts, target_user_id, user_id, reason)
    SELECT n, '@listed' || n || ':bench.test', '@listed1:bench.test', 'spam' FROM generate_series(1, {reports}) n
"""


async def admin_lists(bench: Bench) -> Metrics:
    """1,000,000 users, 100,000 rooms and 1,000,000 reports of each kind: pages of all orders, from first to last.

    `first_`: the page that is asked for before anything is known of the list in that order. The next one waits for the survey.
    """
    if bench.server.seed is None:
        raise MissingFeatureError
    admin = await bench.admin()
    await asyncio.to_thread(seed, bench.server.connection_arguments(), bench.sizes)
    metrics: Metrics = {}
    for title, paths in lists():
        firsts, surveys, pages = [], [], []
        for path in paths:
            total, first = await timed_page(admin, path, 0)
            firsts.append(first)
            surveys.append((await timed_page(admin, path, total - LIMIT))[1])
            for number in range(PAGES):
                _, seconds = await timed_page(admin, path, (total - LIMIT) * number // (PAGES - 1))
                pages.append(seconds)
        metrics[f"{title}_first_max_ms"] = 1000 * max(firsts)
        metrics[f"{title}_survey_max_ms"] = 1000 * max(surveys)
        metrics[f"{title}_p50_ms"] = 1000 * percentile(pages, 0.5)
        metrics[f"{title}_max_ms"] = 1000 * max(pages)
    return metrics


def lists() -> Iterator[tuple[str, list[str]]]:
    """What to page through, by the beginning of its paths."""
    both = ("f", "b")
    yield (
        "users",
        [f"v2/users?order_by={order}&dir={direction}" for order in USER_ORDERS for direction in both],
    )
    yield (
        "rooms",
        [f"v1/rooms?order_by={order}&dir={direction}" for order in ROOM_ORDERS for direction in both],
    )
    for kind in REPORTS:
        yield kind, [f"v1/{kind}?dir={direction}" for direction in both]


async def timed_page(admin: User, path: str, offset: int) -> tuple[int, float]:
    """How many rows there are, and the seconds that the answer took."""
    start = time.perf_counter()
    answer = await admin.call("GET", f"{ADMIN}/{path}&from={offset}&limit={LIMIT}")
    seconds = time.perf_counter() - start
    rows = next(value for value in answer.values() if isinstance(value, list))
    total = answer["total_rooms"] if "total_rooms" in answer else answer["total"]
    check(len(rows) == min(LIMIT, total - offset), f"{path}: {len(rows)} rows from {offset} of {total}")
    return int(total), seconds


def seed(arguments: dict[str, Any], sizes: Sizes) -> None:
    connection = psycopg2.connect(**arguments)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(
            _SEED.format(users=sizes.listed_users, rooms=sizes.listed_rooms, reports=sizes.listed_reports)
        )
        cursor.execute("VACUUM ANALYZE")
    connection.close()
