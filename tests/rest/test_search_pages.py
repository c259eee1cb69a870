"""/search over HTTP: page after page, and how many results there are."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred

from synapse_lite.storage import search
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import read_position
from tests.rest.talk import Talk, ids_in
from tests.server import TestServer


@pytest_twisted.async_yield_fixture
async def talk(server: TestServer) -> AsyncIterator[Talk]:
    alice, bob = await server.user("alice"), await server.user("bob")
    yield Talk(server, alice, bob, await server.room(alice))


@ensureDeferred
async def test_pages(talk: Talk) -> None:
    """Every hit once, in both orders, and of the same number, though more is said meanwhile."""
    events = [await talk.say(f"apple {'pie ' * number}") for number in range(7)]
    await talk.index()
    for order, expected in (("recent", events[::-1]), ("rank", events)):
        found: list[str] = []
        start = None
        while start is not None or not found:
            answer = await talk.search("apple", order_by=order, start=start, filter={"limit": 3})
            assert len(ids_in(answer)) <= 3
            assert answer["count"] == (7 if order == "recent" else 10)
            found += ids_in(answer)
            start = answer.get("next_batch")
            await talk.say("apple now")
            await talk.index()
        assert [one for one in found if one in events] == expected
        assert len(found) == len(set(found))


@ensureDeferred
@pytest.mark.parametrize("order", ["recent", "rank"])
async def test_a_page_of_none(talk: Talk, order: str) -> None:
    """It has one result: else its token would leave out what was not shown."""
    events = [await talk.say(f"apple {number}") for number in range(3)]
    await talk.index()
    start = ""
    for event in events[::-1]:
        answer = await talk.search("apple", order_by=order, start=start, filter={"limit": 0})
        assert ids_in(answer) == [event]
        start = answer.get("next_batch", "")


@ensureDeferred
@pytest.mark.parametrize("max_ranked", [20, 2000])
async def test_results_are_counted_once(talk: Talk, monkeypatch: pytest.MonkeyPatch, max_ranked: int) -> None:
    """For the first of several pages, and without their texts; there are never fewer than were given."""
    said = [await talk.say(f"tide {number}") for number in range(30)]
    last = await talk.server.database.read(read_position)
    monkeypatch.setattr(search, "SLICE", 2 * last // 5)  # the newest one is that of the last fifth
    monkeypatch.setattr(search, "MAX_RANKED", max_ranked)
    await talk.index()
    statements: list[str] = []
    rows = Transaction.rows

    def spy(txn: Transaction, sql: str, arguments: Any = ()) -> Any:
        statements.extend([sql] * ("event_search" in sql))
        return rows(txn, sql, arguments)

    monkeypatch.setattr(Transaction, "rows", spy)
    found, start, told = list[str](), None, []
    while start is not None or not found:
        statements.clear()
        answer = await talk.search("tide", start=start, filter={"limit": 4})
        assert [sql for sql in statements if "body" not in sql] == ([] if found else statements[1:])
        assert found or len(statements) > 1
        found += ids_in(answer)
        told.append(answer["count"])
        start = answer.get("next_batch")
    assert found == said[::-1]
    assert told == [max(min(30, max_ranked), 4 * page) for page in range(1, 8)] + [30]


@ensureDeferred
async def test_a_whole_result_needs_no_counting(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sees all of it sees how many there are: of what is redacted meanwhile, too."""
    seen = await talk.say("ebb")
    redacted = await talk.say("ebb")
    changes = await talk.changes()
    await talk.follow(changes)
    monkeypatch.setattr(search, "count", lambda *_: pytest.fail("counted"))
    for order in ("recent", "rank"):
        assert (await talk.search("ebb", order_by=order))["count"] == 2
    await talk.redact(redacted)
    await talk.follow(changes)
    answer = await talk.search("ebb")
    assert (answer["count"], ids_in(answer)) == (1, [seen])
