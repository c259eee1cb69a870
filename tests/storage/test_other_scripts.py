"""Searches in a database that knows the capitals of English only, as one with the locale C does."""

from collections.abc import Iterator
from typing import Any

import pytest

from synapse_lite.storage import room_admin, user_admin
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.long_lists import LongList, Survey, count_rows, read_page
from synapse_lite.storage.migrate import migrate
from synapse_lite.storage.public_rooms import DirectorySearch, list_public
from synapse_lite.storage.room_admin import RoomSearch
from synapse_lite.storage.room_directory import refresh_listing
from synapse_lite.storage.session import Session
from synapse_lite.storage.user_admin import UserSearch
from tests.databases import execute

_FILL = """
INSERT INTO users (user_id, created_ts, displayname) VALUES ('@a:hs', 1, 'Жанна'), ('@b:hs', 1, 'Anna');
INSERT INTO rooms (room_nid, room_id, version, created_ts) OVERRIDING SYSTEM VALUE VALUES (1, '!r', '12', 1);
INSERT INTO room_summary (room_nid, name, join_rule) VALUES (1, 'Чайная', 'public')
"""


@pytest.fixture
def session(database_arguments: dict[str, Any]) -> Iterator[Session]:
    """Of a new database with that locale."""
    name = f"{database_arguments['dbname']}_c"
    execute(database_arguments, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'")
    arguments = {**database_arguments, "dbname": name}
    migrate(arguments)
    execute(arguments, _FILL)
    session = Session(arguments, {})
    yield session
    session.close()
    execute(database_arguments, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("term", ["Ж", "Жан", "анн"])
def test_users_are_found_as_they_are_written(session: Session, term: str) -> None:
    """Parts of any length."""
    assert found(session, user_admin.long_list(UserSearch(term=term), "name", backwards=False)) == ["Жанна"]


def test_english_is_found_in_whatever_case(session: Session) -> None:
    assert found(session, user_admin.long_list(UserSearch(term="aNN"), "name", backwards=False)) == ["Anna"]


@pytest.mark.parametrize("term", ["Ч", "Чайная"])
def test_rooms_are_found_as_they_are_written(session: Session, term: str) -> None:
    """As users are."""
    assert found(session, room_admin.long_list(RoomSearch(term=term), "name", turned=False)) == ["Чайная"]


@pytest.mark.parametrize(
    ("term", "names"), [("чай", ["Чайная"]), ("ЧАЙ", ["Чайная"]), ("айн", ["Чайная"]), ("чаю", [])]
)
def test_published_rooms_are_found_in_whatever_case(session: Session, term: str, names: list[str]) -> None:
    def read(txn: Transaction) -> list[str | None]:
        txn.execute("UPDATE rooms SET is_public = TRUE")
        txn.execute("UPDATE room_summary SET joined = 1")
        refresh_listing(txn, 1)
        return [one.name for one in list_public(txn, DirectorySearch(term=term), None, 9)]

    assert session.transact(read) == names


def found(session: Session, wanted: LongList) -> list[str]:
    """The names of all of them."""
    name = "u.displayname" if wanted.source == "users u" else "s.name"

    def read(txn: Transaction) -> list[str]:
        survey = Survey(count_rows(txn, wanted))
        return [row[0] for row in read_page(txn, name, wanted, survey, offset=0, limit=9)]

    return session.transact(read)
