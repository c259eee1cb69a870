"""Pages of long lists: those that plain offsets would give, for about as many rows read wherever they are."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from synapse_lite.errors import UnavailableError
from synapse_lite.handlers import long_lists
from synapse_lite.handlers.long_lists import LongLists
from synapse_lite.storage import destinations, reports, room_admin, user_admin
from synapse_lite.storage.audit import AuditFilter, read_audit_log
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.long_lists import (
    NEAR,
    SHORT,
    STEP,
    LongList,
    Survey,
    count_rows,
    narrowed_condition,
    read_page,
    survey_list,
)
from synapse_lite.storage.media import listing
from synapse_lite.storage.media.listing import StatisticsFilter
from synapse_lite.storage.reports import EVENT_REPORTS, ROOM_REPORTS, USER_REPORTS
from synapse_lite.storage.room_admin import RoomSearch
from synapse_lite.storage.statements import Row
from synapse_lite.storage.tasks import TaskFilter, TaskOrder, read_sorted_tasks
from synapse_lite.storage.user_admin import UserSearch
from tests.databases import execute, new_database
from tests.http.memory import ManualClock
from tests.storage.reading import rows_read

ROWS = 4 * SHORT + 1
LIMIT = 20
UPLOADERS = 4 * STEP
DEEP = (0, STEP - 1, STEP, ROWS // 2, ROWS - LIMIT)
MOST_READ = 4 * (STEP + LIMIT)
"""Rows of tables and entries of indexes: a page skips less than a step, and looks at both."""

_SEED = f"""
INSERT INTO users (user_id, created_ts, displayname, avatar_url, user_type, is_admin, is_guest, deactivated, locked,
    shadow_banned) SELECT '@u' || n || ':hs', n / 3, CASE WHEN n % 3 > 0 THEN 'Name ' || n % 5000 END,
    CASE WHEN n % 2 > 0 THEN 'mxc://hs/' || n END, CASE n % 7 WHEN 1 THEN 'bot' WHEN 2 THEN 'support' END,
    n % 11 = 0, n % 5 = 0, n % 13 = 0, n % 17 = 0, n % 19 = 0 FROM generate_series(1, {ROWS}) n;
UPDATE users SET displayname = 'qz h' WHERE user_id IN ('@u7:hs', '@u8:hs');
INSERT INTO user_last_seen SELECT user_id, CASE WHEN created_ts % 2 = 0 THEN created_ts END FROM users;
INSERT INTO rooms (room_nid, room_id, version, creator, is_public, created_ts) OVERRIDING SYSTEM VALUE
    SELECT n, '!r' || n, 1 + n % 12, CASE WHEN n % 9 > 0 THEN '@u' || n || ':hs' END, n % 4 = 0, 1
    FROM generate_series(1, {ROWS}) n;
INSERT INTO room_summary (room_nid, name, joined, joined_local, state_events, encryption)
    SELECT n, CASE WHEN n % 3 > 0 THEN 'Room ' || n % 5000 END, n % 100, n % 50, n % 70,
    CASE WHEN n % 8 > 0 THEN 'm.megolm.v1.aes-sha2' END FROM generate_series(1, {ROWS}) n;
UPDATE room_summary SET name = 'qz h' WHERE room_nid IN (7, 8);
INSERT INTO room_sizes SELECT room_nid, joined, joined_local, state_events FROM room_summary;
INSERT INTO event_reports (received_ts, room_id, event_id, sender, event, user_id)
    SELECT n, '!r' || n, '$' || n, '@u1:hs', '{{}}', '@u' || n || ':hs' FROM generate_series(1, {ROWS}) n;
INSERT INTO room_reports (received_ts, room_id, user_id, reason)
    SELECT n, '!r' || n, '@u1:hs', '' FROM generate_series(1, {ROWS}) n;
INSERT INTO user_reports (received_ts, target_user_id, user_id, reason)
    SELECT n, '@u' || n || ':hs', '@u1:hs', '' FROM generate_series(1, {ROWS}) n;
INSERT INTO destinations (server_name, failing_since, attempted_ts, retry_interval, sent_position)
    SELECT 's' || n, CASE WHEN n % 3 > 0 THEN n % 5000 END, n % 4000, n % 50, CASE WHEN n % 2 > 0 THEN n / 3 END
    FROM generate_series(1, {ROWS}) n;
INSERT INTO destination_rooms (server_name, room_nid, sent_position) SELECT 's1', n, n FROM generate_series(1, {ROWS}) n;
INSERT INTO media_blobs (sha256, size) VALUES ('x', 1);
INSERT INTO media (origin, media_id, sha256, size, user_id, media_type, upload_name, created_ts, last_access_ts,
    authenticated, protected) SELECT 'hs', 'm' || n % 1000 || '_' || n, 'x', n % 500, '@u1:hs', 'text/' || n % 9,
    CASE WHEN n % 3 > 0 THEN n % 5000 || '.txt' END, n / 3, CASE WHEN n % 2 > 0 THEN n END, TRUE, n % 7 = 0
    FROM generate_series(1, {ROWS}) n;
INSERT INTO media_quarantine SELECT origin, media_id, '@u' || media_nid % 5 || ':hs', 1 FROM media WHERE media_nid % 4 = 0
"""


ANALYZE = f"SET default_statistics_target = {ROWS // 300 + 1}; ANALYZE"
"""For each of the target 300 rows are looked at: here all of them, and no plan is a matter of chance."""


@pytest.fixture(scope="module")
def listed_arguments(postgres: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Connection arguments of a database with long lists. Making it takes longer than all that is read here."""
    with new_database(postgres, "listed") as arguments:
        execute(arguments, f"{_SEED}; {ANALYZE}")
        yield arguments


@pytest.fixture
def listed(listed_arguments: dict[str, Any]) -> Iterator[Database]:
    """A pool on it, for tests that change nothing."""
    pool = Database(reactor, listed_arguments, name="test", size=4, settings={})
    pool.start()
    yield pool
    pool.stop()


def lists() -> Iterator[tuple[LongList, bool]]:
    """Every one that administrators page through, both ways; whether it has an index."""
    for turned in (False, True):
        for order in user_admin.ORDERS:
            yield user_admin.long_list(UserSearch(), order, backwards=turned), True
            yield (
                user_admin.long_list(UserSearch(locked=False, deactivated=False), order, backwards=turned),
                True,
            )
        for order in room_admin.ORDERS:
            yield room_admin.long_list(RoomSearch(), order, turned=turned), True
        for order, search in product(("name", "size"), (RoomSearch(empty=False), RoomSearch(public=False))):
            yield room_admin.long_list(search, order, turned=turned), True
        for order in listing.ORDERS:
            yield listing.user_list("@u1:hs", order, backwards=turned), order == "created_ts"
        for order in destinations.ORDERS:
            has_index = order != "last_successful_stream_ordering"
            yield destinations.long_list("", order, backwards=turned), has_index
        yield destinations.long_list("s", "destination", backwards=turned), True
        yield destinations.long_list_of_rooms("s1", backwards=turned), False
        for kind in (EVENT_REPORTS, ROOM_REPORTS, USER_REPORTS):
            yield reports.long_list(kind, {}, newest_first=turned), True


@ensureDeferred
async def test_what_is_sent_renews_no_index_of_destinations(database: Database) -> None:
    """Neither the time of an attempt that succeeds nor what it sent is in any."""

    def send(txn: Transaction) -> int:
        txn.execute("INSERT INTO destinations (server_name) VALUES ('s')")
        txn.execute("UPDATE destinations SET attempted_ts = 5, sent_position = 5")
        return int(
            txn.value(
                "SELECT n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relid = 'destinations'::regclass"
            )
        )

    assert await database.transact(send) == 1


def searches() -> Iterator[tuple[LongList, int]]:
    """By a part of a text that few hold; about how many do."""
    part = str(ROWS - 7)
    yield user_admin.long_list(UserSearch(term=f"u{part}"), "name", backwards=False), 1
    yield user_admin.long_list(UserSearch(term="ME 4999"), "displayname", backwards=True), 6
    yield user_admin.long_list(UserSearch(id_part=f"U{part}:h"), "creation_ts", backwards=False), 1
    yield user_admin.long_list(UserSearch(term="Q"), "name", backwards=False), 2
    yield user_admin.long_list(UserSearch(term="QZ"), "creation_ts", backwards=True), 2
    yield user_admin.long_list(UserSearch(term="h"), "name", backwards=False), 2  # as all servers' names
    yield room_admin.long_list(RoomSearch(term=f"!r{part}"), "name", turned=False), 1
    yield room_admin.long_list(RoomSearch(term="oom 4999"), "size", turned=True), 6
    yield room_admin.long_list(RoomSearch(term="Q"), "name", turned=False), 2
    yield room_admin.long_list(RoomSearch(term="QZ", public=True, empty=False), "size", turned=False), 1
    yield reports.long_list(EVENT_REPORTS, {"user_id": f"u{part}"}, newest_first=True), 1
    yield reports.long_list(EVENT_REPORTS, {"room_id": f"r{part}"}, newest_first=True), 1
    yield reports.long_list(ROOM_REPORTS, {"room_id": f"r{part}", "user_id": "@u1"}, newest_first=True), 1
    yield reports.long_list(USER_REPORTS, {"target_user_id": f"u{part}"}, newest_first=False), 1


def broad_searches() -> Iterator[LongList]:
    """What most rows hold."""
    yield user_admin.long_list(UserSearch(term="name"), "name", backwards=False)
    yield user_admin.long_list(UserSearch(term="na"), "name", backwards=False)
    yield user_admin.long_list(UserSearch(id_part=":hs"), "creation_ts", backwards=False)
    yield room_admin.long_list(RoomSearch(term="room"), "name", turned=False)
    yield reports.long_list(ROOM_REPORTS, {"user_id": "@u1:hs"}, newest_first=True)


@ensureDeferred
async def test_searches_for_a_part_of_a_text_read_what_they_find(listed: Database) -> None:
    """Counting and the page: whatever the case, in whatever order; what the index finds too much is left out."""
    for wanted, most in searches():
        (total, page), read = await listed.snapshot(_counted_search, wanted)
        assert 0 < total == len(page) <= most, wanted
        assert page == await listed.read(plain_page, wanted, 0), wanted
        assert read < 30 * (most + 1), (wanted, read)


@ensureDeferred
async def test_a_part_that_most_rows_hold_is_not_looked_for_by_its_trigrams(listed: Database) -> None:
    """They would be made anew of each row; what few hold is."""
    for wanted in broad_searches():
        assert await listed.read(narrowed_condition, wanted) == wanted.condition
        assert await listed.read(count_rows, wanted) > ROWS / 2, wanted


def _counted_search(txn: Transaction, wanted: LongList) -> tuple[tuple[int, list[Row]], int]:
    before = rows_read(txn)
    total = count_rows(txn, wanted)
    page = read_page(txn, wanted.order.columns[-1], wanted, Survey(total), offset=0, limit=LIMIT)
    return (total, page), rows_read(txn) - before


def plain_page(txn: Transaction, wanted: LongList, offset: int) -> list[Row]:
    return txn.rows(
        f"SELECT {wanted.order.columns[-1]} FROM {wanted.source} WHERE {wanted.condition}"
        f" ORDER BY {wanted.order.sorting} OFFSET {offset} LIMIT {LIMIT}",
        wanted.arguments,
    )


@ensureDeferred
async def test_pages_are_those_of_plain_offsets_and_read_little(listed: Database) -> None:
    """In every order, both ways, with and without filters, at marks and between them, among nulls; the last one without marks."""
    for wanted, has_index in lists():
        survey = await listed.snapshot(survey_list, wanted)
        total = await listed.read(count_rows, wanted)
        assert (survey.total, len(survey.marks)) == (total, -(-total // STEP)), wanted
        for offset in DEEP:
            expected = await listed.read(plain_page, wanted, offset)
            page, read = await listed.snapshot(_counted, wanted, survey, offset)
            assert page == expected, (wanted, offset)
            if has_index:
                assert read < MOST_READ, (wanted, offset, read)
        last = total - LIMIT // 2
        page, read = await listed.snapshot(_counted, wanted, Survey(total), last)
        assert page == await listed.read(plain_page, wanted, last), wanted
        if has_index:
            assert read < MOST_READ, (wanted, read)


@ensureDeferred
async def test_pages_by_a_flag_that_is_the_same_of_all_are_found_by_their_mark(listed: Database) -> None:
    """In blocks of indexes: entries that are walked through and left out are not counted as read."""

    def read(txn: Transaction, wanted: LongList, survey: Survey) -> int:
        blocks = (
            "SELECT sum(pg_stat_get_xact_blocks_fetched(indexrelid)) FROM pg_index"
            " WHERE indrelid = 'users'::regclass"
        )
        before = txn.value(blocks)
        assert len(read_page(txn, "u.user_id", wanted, survey, offset=last, limit=LIMIT)) == LIMIT
        return int(txn.value(blocks) - before)

    for turned, order in product((False, True), ("deactivated", "locked")):
        same = UserSearch(locked=False, deactivated=False)
        wanted = user_admin.long_list(same, order, backwards=turned)
        survey = await listed.snapshot(survey_list, wanted)
        last = (len(survey.marks) - 2) * STEP
        assert await listed.snapshot(read, wanted, survey) < LIMIT, wanted


def seed_uploads(txn: Transaction) -> None:
    """Two files of each user."""
    txn.execute("INSERT INTO media_blobs (sha256, size) VALUES ('x', 1)")
    txn.execute(
        "INSERT INTO users (user_id, created_ts, displayname) SELECT '@u' || n || ':hs', 1,"
        " CASE WHEN n %% 3 > 0 THEN 'Name ' || n %% 50 END FROM generate_series(1, %s) n",
        (UPLOADERS,),
    )
    txn.execute(
        "INSERT INTO media (origin, media_id, sha256, size, user_id, created_ts, authenticated)"
        " SELECT 'hs', 'u' || n, 'x', n %% 700, '@u' || n / 2 || ':hs', n, TRUE FROM generate_series(2, %s) n",
        (2 * UPLOADERS + 1,),
    )


@pytest.mark.new_database
@ensureDeferred
async def test_upload_statistics(database: Database) -> None:
    """The pages of plain offsets in every order, both ways; what is kept of all is read for few users."""
    await database.transact(seed_uploads)
    await database.transact(lambda txn: txn.execute(ANALYZE))
    some = StatisticsFilter(from_ms=UPLOADERS // 9, until_ms=UPLOADERS, search_term="me 1")
    for turned, order in product((False, True), listing.USER_ORDERS):
        for asked in (StatisticsFilter(), some):
            wanted = listing.statistics_list(asked, order, backwards=turned)
            survey = await database.snapshot(survey_list, wanted)
            assert survey.total == await database.read(count_rows, wanted)
            for offset in (0, survey.total // 2, survey.total - LIMIT):
                users, read = await database.snapshot(_counted_statistics, wanted, survey, offset)
                assert users == await database.read(plain_page, wanted, offset), (wanted, offset)
                if order != "displayname" and asked is not some:
                    assert read < MOST_READ, (wanted, offset, read)


def _counted_statistics(
    txn: Transaction, wanted: LongList, survey: Survey, offset: int
) -> tuple[list[Row], int]:
    before = rows_read(txn)
    page = listing.read_statistics(txn, wanted, survey, offset=offset, limit=LIMIT)
    return [(found.user_id,) for found in page], rows_read(txn) - before


def _counted(txn: Transaction, wanted: LongList, survey: Survey, offset: int) -> tuple[list[Row], int]:
    before = rows_read(txn)
    page = read_page(txn, wanted.order.columns[-1], wanted, survey, offset=offset, limit=LIMIT)
    return page, rows_read(txn) - before


@ensureDeferred
async def test_pages_near_an_end_do_not_wait_for_a_survey(
    listed: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks for one page after the other is not held up by what is learnt about all of them."""

    def no_survey(txn: Transaction, wanted: LongList) -> Survey:
        raise UnavailableError("surveyed")

    monkeypatch.setattr(long_lists, "survey_list", no_survey)
    wanted = user_admin.long_list(UserSearch(), "displayname", backwards=True)
    for offset in (STEP, NEAR - 1, ROWS - NEAR + 1, ROWS - STEP):

        def read(txn: Transaction, rows: LongList, survey: Survey, offset: int = offset) -> list[Row]:
            return read_page(txn, rows.order.columns[-1], rows, survey, offset=offset, limit=LIMIT)

        page, total = await LongLists(listed, ManualClock()).page(wanted, offset, read)
        assert total == ROWS
        assert page == await listed.read(plain_page, wanted, offset), offset


def seed_tasks(txn: Transaction) -> None:
    txn.execute(
        "INSERT INTO scheduled_tasks (id, action, version, status, requester, endpoint, priority, run_at, params,"
        " max_attempts, created_at, updated_at, finished_at)"
        " SELECT translate(n::text, '0123456789', 'abcdefghij'), 'a', 1, 'complete', '@admin:x', 'e', 0, n, '{}', 3, n, n, n"
        f" FROM generate_series(1, {ROWS}) n"
    )
    txn.execute(
        "INSERT INTO audit_log (ts, user_id, ip, user_agent, method, path, request)"
        f" SELECT n, '@a' || n % 2, '', '', 'POST', '/x', '{{}}' FROM generate_series(1, {ROWS}) n"
    )


@pytest.mark.new_database
@ensureDeferred
async def test_by_time_tasks_and_the_audit_trail_are_read_through_indexes(database: Database) -> None:
    """The newest or the oldest, of all or up to a time: a page reads about itself, however many there are."""
    await database.transact(seed_tasks)
    await database.transact(lambda txn: txn.execute(ANALYZE))

    def tasks(txn: Transaction, column: str, backwards: bool) -> tuple[list[int], int]:
        before = rows_read(txn)
        order = TaskOrder(column, descending=backwards)
        page, _ = read_sorted_tasks(txn, TaskFilter(), order, offset=LIMIT, limit=LIMIT)
        return [task.created_at_ms for task in page], rows_read(txn) - before

    def entries(txn: Transaction, wanted: AuditFilter, backwards: bool) -> tuple[list[int], int]:
        before = rows_read(txn)
        page = read_audit_log(txn, wanted, after_nid=None, limit=LIMIT, newest_first=backwards)
        return [entry.change.ts for entry in page], rows_read(txn) - before

    last = ROWS - LIMIT
    for column in ("timestamp_ms", "created_ts"):
        for backwards, first in ((True, last), (False, LIMIT + 1)):
            found, read = await database.snapshot(tasks, column, backwards)
            assert (found[0], len(found)) == (first, LIMIT), (column, backwards)
            assert read < 40 * LIMIT, (column, backwards, read)
    for wanted, first in (
        (AuditFilter(), ROWS),
        (AuditFilter(until_ts=ROWS // 2), ROWS // 2),
        (AuditFilter(user_id="@a1", until_ts=1001), 1001),
    ):
        found, read = await database.snapshot(entries, wanted, True)
        assert (found[0], len(found)) == (first, LIMIT), wanted
        assert read < 40 * LIMIT, (wanted, read)
