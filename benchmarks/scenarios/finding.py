"""What somebody looks for: messages, rooms of the directory, rooms of a space, users."""

import math
import secrets
import time
from typing import Any
from urllib.parse import quote

from benchmarks.bench import Bench
from benchmarks.client import CLIENT, Json, Metrics, check, each, latency, until_done
from benchmarks.multiply import multiply

SPEAKERS = 8
WORDS = ("kettle", "明天")
"""A word of English, and two characters inside a sentence of Chinese."""
EVERY = 100  # messages, of which one has the words
WAIT_S = 120.0
PAGE = 100
FEW = 10
WIDTH = 4


async def search(bench: Bench) -> Metrics:
    """/search for a word in one of a hundred of 100,000 messages, the newest first; `rank_` the best first, `element_`
    with what is around them, `common_` for a word of every message, `chinese_` for two characters of a sentence.
    """
    users = await bench.users(SPEAKERS)
    searcher = await bench.register()
    rooms = {await user.create_room(): user for user in users}
    mark = f"{WORDS[0]}{secrets.token_hex(4)}"
    marked = f"the {mark} whistles: 我们{WORDS[1]}去北京喝茶"
    share = max(EVERY, bench.sizes.search_messages // SPEAKERS)
    await bench.fill(
        rooms, [f"message {n} {marked}" if n % EVERY == 0 else f"message {n}" for n in range(share)]
    )
    await each(searcher.join, rooms)
    wanted = min(PAGE, SPEAKERS * math.ceil(share / EVERY))

    async def ask(word: str, limit: int = FEW, **more: Any) -> tuple[Json, float]:
        criteria = {"search_term": word, "order_by": "recent", "filter": {"limit": limit, "rooms": [*rooms]}}
        body = {"search_categories": {"room_events": {**criteria, **more}}}
        answer, seconds = await searcher.timed("POST", f"{CLIENT}/search", body)
        return answer["search_categories"]["room_events"], seconds

    async def is_found() -> bool:
        return len((await ask(mark, PAGE))[0]["results"]) == wanted

    await until_done(is_found, WAIT_S, 0.2)
    await bench.rest()
    metrics: Metrics = {}
    around = {"before_limit": 1, "after_limit": 1, "include_profile": True}
    for prefix, word, more in (
        ("", mark, {}),
        ("rank_", mark, {"order_by": "rank"}),
        ("element_", mark, {"event_context": around}),
        ("common_", "message", {}),
        ("chinese_", WORDS[1], {}),
    ):
        before = bench.server.spent()
        answers = [await ask(word, **more) for _ in range(bench.sizes.questions)]
        cost = bench.server.spent().each_ms(before, bench.sizes.questions)
        found = len(answers[-1][0]["results"])
        check(prefix == "chinese_" or found == FEW, "messages are not found")
        if found:  # who finds nothing is not quick
            metrics |= latency([seconds for _, seconds in answers], prefix)
            metrics[f"{prefix}cpu_ms"] = sum(cost.values())
    metrics["chinese_found_gain"] = found
    return metrics


async def public_rooms(bench: Bench) -> Metrics:
    """Pages of 100 of the directory of 10,000 rooms, and (`term_`) the rooms that a word finds there."""
    user = await bench.register()
    word = f"Listed{secrets.token_hex(3)}"
    body = {"preset": "public_chat", "visibility": "public", "name": f"{word} room", "topic": "tea"}
    room = str((await user.call("POST", f"{CLIENT}/createRoom", body))["room_id"])
    path = f"{CLIENT}/publicRooms"

    async def ask(term: str | None, limit: int, since: str | None = None) -> tuple[Json, float]:
        question: Json = {"limit": limit} | ({"filter": {"generic_search_term": term}} if term else {})
        return await user.timed("POST", path, question | ({"since": since} if since else {}))

    async def is_listed() -> bool:
        return len((await ask(word, 10))[0]["chunk"]) == 1

    await until_done(is_listed, WAIT_S, 0.2)
    tables = ("rooms", "room_summary", "room_directory", "room_stats_state", "room_stats_current")
    marker, _, _ = room.removeprefix("!").partition(":")
    arguments, count = bench.server.connection_arguments(), bench.sizes.public_rooms
    multiply(arguments, tables, (marker, word, word.lower()), ("room_nid",), count)
    pages, terms, since = [], [], None
    for number in range(bench.sizes.questions):
        answer, seconds = await ask(None, PAGE - number % 7, since)
        since = answer.get("next_batch")
        pages.append(seconds)
        answer, seconds = await ask(word.lower(), 20 + number)
        check(len(answer["chunk"]) == 20 + number, "rooms are missing")
        terms.append(seconds)
    return {**latency(pages), **latency(terms, "term_")}


async def user_directory(bench: Bench) -> Metrics:
    """The first ten users whose names begin with a word, of 100,000."""
    word = f"zz{secrets.token_hex(3)}"
    user = await bench.register()
    someone = await bench.account.register_as(word)
    await someone.call(
        "PUT", f"{CLIENT}/profile/{quote(someone.user_id)}/displayname", {"displayname": f"Person {word}"}
    )

    async def ask(term: str) -> tuple[Json, float]:
        return await user.timed("POST", f"{CLIENT}/user_directory/search", {"search_term": term, "limit": 10})

    async def is_listed() -> bool:
        return [one["display_name"] for one in (await ask(word))[0]["results"]] == [f"Person {word}"]

    await until_done(is_listed, WAIT_S, 0.2)
    tables = ("users", "profiles", "user_directory", "user_directory_search")
    multiply(bench.server.connection_arguments(), tables, (word,), (), bench.sizes.directory_users)
    times = []
    for number in range(bench.sizes.questions):
        answer, seconds = await ask(f"{word}{10 + number}")
        check(bool(answer["results"]), "users are missing")
        times.append(seconds)
    return latency(times)


async def hierarchy(bench: Bench) -> Metrics:
    """All rooms of a space of 200, in pages of 50, for users who have not asked before."""
    owner = await bench.register()
    space = {"preset": "public_chat", "creation_content": {"type": "m.space"}}
    root = str((await owner.call("POST", f"{CLIENT}/createRoom", space))["room_id"])
    count = bench.sizes.space_rooms

    async def add(number: int) -> None:
        room = await owner.create_room()
        path = f"{CLIENT}/rooms/{quote(root)}/state/m.space.child/{quote(room)}"
        await owner.call("PUT", path, {"via": ["bench.test"], "order": f"{number:04}"})

    await each(add, range(count), WIDTH)
    times = []
    for user in await bench.users(min(bench.sizes.questions, 20)):
        start = time.perf_counter()
        seen: list[str] = []
        query: dict[str, str | int] = {"limit": 50}
        while True:
            page = await user.call("GET", f"/_matrix/client/v1/rooms/{quote(root)}/hierarchy", **query)
            seen += [room["room_id"] for room in page["rooms"]]
            if "next_batch" not in page:
                break
            query["from"] = page["next_batch"]
        times.append(time.perf_counter() - start)
        check(len(seen) == len(set(seen)) == count + 1, f"{len(seen)} rooms")
    return latency(times)
