"""Totals of long lists: counted once for all who ask, and old by half a minute at the most."""

from functools import partial
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.handlers import long_lists
from synapse_lite.handlers.long_lists import FRESH_MS, LongLists
from synapse_lite.storage import user_admin
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.long_lists import SHORT, LongList, count_rows
from synapse_lite.storage.user_admin import UserSearch
from tests.http.memory import ManualClock

LIMIT = 20


def add_users(txn: Transaction, first: int, last: int) -> None:
    """Every fifth a guest."""
    txn.execute(
        "INSERT INTO users (user_id, created_ts, is_guest) SELECT '@n' || n || ':hs', n, n %% 5 = 0"
        " FROM generate_series(%s, %s) n",
        (first, last),
    )


@ensureDeferred
async def test_a_survey_serves_until_the_next_one(database: Database) -> None:
    """A short list is counted each time; the total of a long one may be half a minute old, and one page older."""
    clock = ManualClock()
    pages = LongLists(database, clock)
    wanted = user_admin.long_list(UserSearch(), "name", backwards=False)

    async def total(offset: int = 0) -> int:
        read: Any = partial(user_admin.list_users, offset=offset, limit=1)
        return (await pages.page(wanted, offset, read))[1]

    await database.transact(add_users, 1, 10)
    assert await total() == 10
    await database.transact(add_users, 11, SHORT + 1)
    assert await total(SHORT // 2) == SHORT + 1  # far from both ends of a long list: a survey is waited for
    await database.transact(add_users, SHORT + 2, SHORT + 2)
    assert await total() == SHORT + 1
    clock.advance(FRESH_MS / 1000 + 1)
    assert await total() == SHORT + 1
    while await total() == SHORT + 1:  # the new survey is taken behind the answer
        pass
    assert await total() == SHORT + 2


@ensureDeferred
async def test_the_total_is_counted_once_for_all_orders(database: Database) -> None:
    """The first page in another order of a long list counts nothing; of other rows it does."""
    await database.transact(add_users, 1, SHORT + 1)
    pages = LongLists(database, ManualClock())

    async def page(search: UserSearch, order: str) -> int:
        wanted = user_admin.long_list(search, order, backwards=False)

        read: Any = partial(user_admin.list_users, offset=0, limit=LIMIT)
        return (await pages.page(wanted, 0, read))[1]

    assert await page(UserSearch(), "name") == SHORT + 1
    await database.transact(lambda txn: txn.execute("DELETE FROM users WHERE user_id = '@n1:hs'"))
    assert await page(UserSearch(), "creation_ts") == SHORT + 1
    assert await page(UserSearch(guests=False), "creation_ts") == SHORT - SHORT // 5


@pytest.mark.parametrize("users", [SHORT - 1, SHORT + 1])
@ensureDeferred
async def test_who_asks_at_the_same_moment_does_not_count_again(
    database: Database, monkeypatch: pytest.MonkeyPatch, users: int
) -> None:
    """Clients ask for a list again while its first answer is on its way; what is short is counted by each, side by side."""
    await database.transact(add_users, 1, users)
    counted = list[int]()

    def count(txn: Transaction, wanted: LongList) -> int:
        counted.append(count_rows(txn, wanted))
        return counted[-1]

    monkeypatch.setattr(long_lists, "count_rows", count)
    pages = LongLists(database, ManualClock())
    read: Any = partial(user_admin.list_users, offset=0, limit=LIMIT)
    asked = [
        Deferred.fromCoroutine(
            pages.page(user_admin.long_list(UserSearch(), order, backwards=False), 0, read)
        )
        for order in ("name", "name", "creation_ts")
    ]
    assert [total for _, total in await gatherResults(asked)] == [users] * 3
    assert counted == [users] * (1 if users > SHORT else 3)
