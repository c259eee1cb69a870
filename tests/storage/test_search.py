"""How much of the index a search reads."""

from pytest_twisted import ensureDeferred

from synapse_lite.handlers.filters import EventFilter
from synapse_lite.matrix.words import terms
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.search import (
    KEYS,
    MAX_SLICES,
    SLICE,
    Found,
    Page,
    Question,
    SearchRow,
    count,
    find,
    index_events,
)
from tests.storage.reading import rows_read

OURS, OTHERS = 1, 2
SAID = 5000
NOW = 4 * MAX_SLICES * SLICE


def say(nid: int, room_nid: int, position: int, word: str = "tide") -> SearchRow:
    return SearchRow(nid, room_nid, position, "@a:hs", KEYS["m.room.message"], word, [word])


@ensureDeferred
async def test_what_others_said_long_ago_is_not_read(database: Database) -> None:
    """The newest hit is ours; that says nothing about the years before."""

    def seed(txn: Transaction) -> None:
        index_events(txn, [say(nid, OTHERS, nid) for nid in range(1, SAID + 1)])
        index_events(txn, [say(nid, OURS, nid, "else") for nid in range(SAID + 1, 5 * SAID)])
        index_events(txn, [say(5 * SAID, OURS, 5 * SAID), say(NOW, OURS, NOW)])

    def search(txn: Transaction) -> tuple[Found, int]:
        before = rows_read(txn)
        found = find(txn, Question(terms("tide"), [OURS], KEYS.values(), EventFilter(), NOW), Page(10))
        return found, rows_read(txn) - before

    await database.transact(seed)
    await database.transact(lambda txn: txn.execute("ANALYZE event_search"))
    found, read = await database.snapshot(search)
    assert [hit.position for hit in found.hits] == [NOW, 5 * SAID]
    assert read < SAID / 10


@ensureDeferred
async def test_what_else_is_said_in_the_rooms_is_not_read(database: Database) -> None:
    """Also right after much was said in new rooms, of which the planner has no statistics yet."""
    rooms, rare, last = range(11, 19), SAID // 10, 4 * SAID

    def seed(txn: Transaction) -> None:
        rows = [say(nid, rooms[nid % 8], nid, "else" if nid % rare else "ebb") for nid in range(1, last + 1)]
        index_events(txn, rows)

    def search(txn: Transaction) -> tuple[Found, int]:
        before = rows_read(txn)
        found = find(txn, Question(terms("ebb"), rooms, KEYS.values(), EventFilter(), last), Page(10))
        return found, rows_read(txn) - before

    await database.transact(seed)
    found, read = await database.snapshot(search)
    assert sum(found.counts.values()) == last // rare
    assert read < SAID / 10


@ensureDeferred
async def test_a_plain_question_is_planned_once(database: Database) -> None:
    """By a connection: for other words, in other rooms, too; right after the table was empty as well as later."""

    def search(txn: Transaction, nid: int) -> int:
        index_events(txn, [say(number, OURS, number, f"word{nid}") for number in range(nid, nid + 5)])
        question = Question(terms(f"word{nid}"), [OURS, nid], KEYS.values(), EventFilter(), nid + 10)
        found = find(txn, question, Page(2))
        assert [hit.event_nid for hit in found.hits] == [nid + 4, nid + 3]
        assert sum(count(txn, question, found).values()) == 5
        return rows_read(txn)

    plans = (
        "SELECT sum(generic_plans), sum(custom_plans) FROM pg_prepared_statements WHERE name LIKE 'search%'"
    )
    for nid in range(10, 10 + 10 * SAID, SAID):
        await database.transact(search, nid)
    generic, custom = await database.transact(lambda txn: txn.row(plans)) or (0, 0)
    assert generic >= 10
    assert custom == 0


@ensureDeferred
async def test_a_page_has_hits_of_its_rooms(database: Database) -> None:
    """Though the newest slice is looked into for what is said anywhere; so are the numbers."""

    def seed(txn: Transaction) -> None:
        index_events(txn, [say(NOW - nid, (OURS, OTHERS)[nid % 2], NOW - nid) for nid in range(40)])
        index_events(txn, [say(nid, OURS, nid) for nid in range(1, 31)])

    def search(txn: Transaction) -> tuple[Found, int]:
        question = Question(terms("tide"), [OURS], KEYS.values(), EventFilter(), NOW + 1000)
        found = find(txn, question, Page(10))
        return found, sum(count(txn, question, found).values())

    await database.transact(seed)
    found, number = await database.snapshot(search)
    assert [hit.position for hit in found.hits] == [NOW - nid for nid in range(0, 20, 2)]
    assert found.counts == {OURS: 20}
    assert number == 50
