"""Pages of what administrators list, on a large server."""

import asyncio
from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.client import ADMIN, Metrics, User, check, percentile
from benchmarks.listed import RARE, seed_listed

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
SYNAPSE_REPORTS = ("event_reports", "user_reports")
FEW = 3  # pages of a list of a server that takes seconds for one

SEARCHES = {
    "few": ("listed14999", "name 14321", RARE),  # the last one has two characters only
    "many": ("listed", "e 1", "9", "me"),
}
SEARCHES_EACH = 3


async def admin_lists(bench: Bench) -> Metrics:
    """1,000,000 users, 100,000 rooms and 1,000,000 reports of each kind: pages of all orders, from first to last.

    `first_`: the page that is asked for before anything is known of the list in that order. The next one waits for the survey.
    `search_`: first pages of users that have a text in their names, which few or many have. A server that is slow is asked for fewer pages.
    """
    is_ours = bench.server.seed is not None
    admin = await bench.admin()
    await asyncio.to_thread(seed_listed, bench.server.connection_arguments(), bench.sizes, is_ours=is_ours)
    metrics: Metrics = {}
    numbers = range(0, PAGES, 1 if is_ours else PAGES // FEW)
    for title, paths in lists(is_ours):
        firsts, surveys, pages = [], [], []
        for path in paths:
            total, first = await timed_page(admin, path, 0)
            firsts.append(first)
            surveys.append((await timed_page(admin, path, total - LIMIT))[1])
            for number in numbers:
                _, seconds = await timed_page(admin, path, (total - LIMIT) * number // (PAGES - 1))
                pages.append(seconds)
        metrics[f"{title}_first_max_ms"] = 1000 * max(firsts)
        metrics[f"{title}_survey_max_ms"] = 1000 * max(surveys)
        metrics[f"{title}_p50_ms"] = 1000 * percentile(pages, 0.5)
        metrics[f"{title}_max_ms"] = 1000 * max(pages)
    for title, texts in SEARCHES.items():
        seconds_of = [await timed_search(admin, text) for text in texts for _ in range(SEARCHES_EACH)]
        metrics[f"search_{title}_p50_ms"] = 1000 * percentile(seconds_of, 0.5)
        metrics[f"search_{title}_max_ms"] = 1000 * max(seconds_of)
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
    for kind in REPORTS if is_ours else SYNAPSE_REPORTS:
        yield kind, [f"v1/{kind}?dir={direction}" for direction in both]


async def timed_page(admin: User, path: str, offset: int) -> tuple[int, float]:
    """How many rows there are, and the seconds that the answer took."""
    answer, seconds = await admin.timed("GET", f"{ADMIN}/{path}&from={offset}&limit={LIMIT}")
    rows = next(value for value in answer.values() if isinstance(value, list))
    total = answer["total_rooms"] if "total_rooms" in answer else answer["total"]
    check(len(rows) == min(LIMIT, total - offset), f"{path}: {len(rows)} rows from {offset} of {total}")
    return int(total), seconds


async def timed_search(admin: User, text: str) -> float:
    """The seconds that the first page of users took who have the text in their names."""
    answer, seconds = await admin.timed("GET", f"{ADMIN}/v2/users", name=text, limit=LIMIT)
    check(len(answer["users"]) == min(LIMIT, answer["total"]) > 0, f"{text}: {len(answer['users'])} users")
    return seconds
