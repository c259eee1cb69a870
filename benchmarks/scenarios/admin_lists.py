"""Pages of what administrators list, on a large server."""

import asyncio
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from benchmarks.bench import Bench
from benchmarks.client import ADMIN, Metrics, User, check, percentile
from benchmarks.listed import RARE, UPLOADER, seed_listed

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
USER_FILTERS = (
    "deactivated=false",
    "deactivated=true",
    "guests=false",
    "admins=true",
    "locked=false",
    "not_user_type=bot",
)
ROOM_FILTERS = ("public_rooms=true", "public_rooms=false", "empty_rooms=true", "empty_rooms=false")
ROOM_FILTERS_TOGETHER = ("public_rooms=true&empty_rooms=false",)
MEDIA_ORDERS = ("media_id", "upload_name", "created_ts", "last_access_ts", "media_length", "media_type")
UPLOADER_ORDERS = ("user_id", "displayname", "media_length", "media_count")
DESTINATION_ORDERS = (
    "destination",
    "retry_last_ts",
    "retry_interval",
    "failure_ts",
    "last_successful_stream_ordering",
)
UNCOUNTED = {
    "statistics": ("v1/statistics/database/rooms",),
    "tokens": ("v1/registration_tokens", "v1/registration_tokens?valid=true"),
    "audit": ("v1/audit_log", "v1/audit_log?dir=f", f"v1/audit_log?user_id={UPLOADER}"),
    "tasks": (
        *(
            "v1/scheduled_tasks",
            "v1/scheduled_tasks?order_by=timestamp_ms",
            "v1/scheduled_tasks?status=complete",
        ),
        "v1/scheduled_tasks?order_by=timestamp_ms&from=10000",
    ),
}
"""Lists that tell no total, of ours: those in full that are not paged."""
REPORTS = ("event_reports", "room_reports", "user_reports")
SYNAPSE_REPORTS = ("event_reports", "user_reports")

# By path and parameter. The last ones of what few hold have two characters and one.
USER_SEARCHES = ("v2/users", "name")
ROOM_SEARCHES = ("v1/rooms?order_by=name", "search_term")
ROOM_SEARCHES_BY_SIZE = ("v1/rooms?order_by=joined_members", "search_term")
SEARCHES = {
    "search_few": (USER_SEARCHES, ("listed14999", "name 14321", RARE, RARE[0])),
    "search_many": (USER_SEARCHES, ("listed", "e 1", "9", "me")),
    "search_rooms_few": (ROOM_SEARCHES, ("room 14321", "99", RARE, RARE[0])),
    "search_rooms_many": (ROOM_SEARCHES, ("room", "om 1", "9", "oo")),
    "search_rooms_by_size_few": (ROOM_SEARCHES_BY_SIZE, ("room 14321", "99", RARE, RARE[0])),
    "search_rooms_by_size_many": (ROOM_SEARCHES_BY_SIZE, ("room", "om 1", "9", "oo")),
}
SEARCHES_EACH = 3


async def admin_lists(bench: Bench) -> Metrics:
    """1,000,000 users, 100,000 rooms and 1,000,000 reports of each kind: pages of all orders, from first to last.

    `first_`: the page that is asked for before anything is known of the list in that order. The next one waits for the survey.
    `search_`: first pages of users or rooms that have a text in their names, which few or many have. A server that takes seconds for a page is asked for the first, a middle and the last one only.
    """
    is_ours = bench.server.seed is not None
    admin = await bench.admin()
    await asyncio.to_thread(seed_listed, bench.server.connection_arguments(), bench.sizes, is_ours=is_ours)
    metrics: Metrics = {}
    numbers = range(PAGES) if is_ours else range(PAGES // 2, PAGES // 2 + 1)
    for title, paths in lists(is_ours):
        firsts, surveys, pages = [], [], []
        for path in paths:
            total, first = await timed_page(admin, path, 0)
            firsts.append(first)
            surveys.append((await timed_page(admin, path, total - LIMIT))[1])
            pages += [] if is_ours else [firsts[-1], surveys[-1]]
            for number in numbers:
                _, seconds = await timed_page(admin, path, (total - LIMIT) * number // (PAGES - 1))
                pages.append(seconds)
        metrics[f"{title}_first_max_ms"] = 1000 * max(firsts)
        metrics[f"{title}_survey_max_ms"] = 1000 * max(surveys)
        metrics[f"{title}_p50_ms"] = 1000 * percentile(pages, 0.5)
        metrics[f"{title}_max_ms"] = 1000 * max(pages)
    for title, (where, texts) in SEARCHES.items():
        seconds_of = [await timed_search(admin, *where, text) for text in texts for _ in range(SEARCHES_EACH)]
        metrics[f"{title}_p50_ms"] = 1000 * percentile(seconds_of, 0.5)
        metrics[f"{title}_max_ms"] = 1000 * max(seconds_of)
    for title, paths in (UNCOUNTED if is_ours else {}).items():
        timed = [
            (await admin.timed("GET", f"{ADMIN}/{path}"))[1] for path in paths for _ in range(SEARCHES_EACH)
        ]
        metrics[f"{title}_p50_ms"] = 1000 * percentile(timed, 0.5)
        metrics[f"{title}_max_ms"] = 1000 * max(timed)
    return metrics


def lists(is_ours: bool) -> Iterator[tuple[str, list[str]]]:
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
    yield (
        "users_filtered",
        [f"v3/users?order_by={order}&{one}" for order in ("name", "displayname") for one in USER_FILTERS],
    )
    filters = (*ROOM_FILTERS, *ROOM_FILTERS_TOGETHER)
    yield "rooms_filtered", [f"v1/rooms?order_by={order}&{one}" for order in ROOM_ORDERS for one in filters]
    for kind in REPORTS if is_ours else SYNAPSE_REPORTS:
        yield kind, [f"v1/{kind}?dir={direction}" for direction in both]
    if is_ours:
        yield "destinations", [f"v1/federation/destinations?order_by={order}" for order in DESTINATION_ORDERS]
        yield "user_media", [f"v1/users/{UPLOADER}/media?order_by={order}" for order in MEDIA_ORDERS]
        yield "uploaders", [f"v1/statistics/users/media?order_by={order}" for order in UPLOADER_ORDERS]


async def timed_page(admin: User, path: str, offset: int) -> tuple[int, float]:
    """How many rows there are, and the seconds that the answer took."""
    answer, seconds = await admin.timed("GET", f"{ADMIN}/{path}&from={max(0, offset)}&limit={LIMIT}")
    total = count_of(answer)
    rows = next(value for value in answer.values() if isinstance(value, list))
    expected = min(LIMIT, total - max(0, offset))
    check(len(rows) == expected, f"{path}: {len(rows)} rows from {offset} of {total}")
    return total, seconds


async def timed_search(admin: User, path: str, parameter: str, text: str) -> float:
    """The seconds that the first page of those took that have the text in their names."""
    mark = "&" if "?" in path else "?"
    query = f"{mark}{parameter}={quote(text)}&limit={LIMIT}"
    answer, seconds = await admin.timed("GET", f"{ADMIN}/{path}{query}")
    rows = next(value for value in answer.values() if isinstance(value, list))
    check(len(rows) == min(LIMIT, count_of(answer)) > 0, f"{text}: {len(rows)} found")
    return seconds


def count_of(answer: dict[str, Any]) -> int:
    """The total of a list."""
    return int(answer["total_rooms"] if "total_rooms" in answer else answer["total"])
