"""Migrations on a database of their own."""

from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from synapse_lite import storage
from synapse_lite.ids import random_text
from synapse_lite.storage import migrate as migrations
from synapse_lite.storage.migrate import (
    FROZEN,
    OUTSIDE,
    ForeignTablesError,
    SchemaTooNewError,
    available,
    changed_since_frozen,
    migrate,
)
from tests.databases import execute, rows

INDEX = f"{OUTSIDE}\nCREATE INDEX CONCURRENTLY IF NOT EXISTS later ON users (created_ts);\n"


@pytest.fixture
def empty(postgres: dict[str, Any]) -> Iterator[dict[str, Any]]:
    name = f"migrate_{random_text(8).lower()}"
    execute(postgres, f"CREATE DATABASE {name} TEMPLATE template0")
    yield {**postgres, "dbname": name}
    execute(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def add(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Adds migrations to those that there are."""
    files: dict[str, str] = {}
    known, text = migrations.available, migrations._text
    monkeypatch.setattr(migrations, "available", lambda: [*known(), *files])
    monkeypatch.setattr(migrations, "_text", lambda name: files.get(name) or text(name))
    return files.__setitem__


def test_a_newer_schema_is_refused(empty: dict[str, Any]) -> None:
    """The unknown migration is named, and what to do; nothing is changed."""
    assert migrate(empty) == available()
    assert migrate(empty) == []
    execute(empty, "INSERT INTO schema_migrations (name) VALUES ('9999_tomorrow.sql')")
    with pytest.raises(SchemaTooNewError, match=r"9999_tomorrow\.sql\. Start the newer program"):
        migrate(empty)


def test_a_database_of_another_program_is_left_as_it_is(empty: dict[str, Any]) -> None:
    """Who keeps `database` of a Synapse's configuration is told so before anything is written there; what comes with an
    extension is nobody's.
    """
    execute(empty, "CREATE TABLE applied_schema_deltas (); CREATE TABLE rooms ()")
    with pytest.raises(
        ForeignTablesError, match="2 tables of Synapse, such as applied_schema_deltas: give this"
    ):
        migrate(empty)
    assert rows(empty, "SELECT to_regclass('schema_migrations')") == [(None,)]
    execute(empty, "DROP TABLE applied_schema_deltas")
    with pytest.raises(ForeignTablesError, match="1 tables of another program, such as rooms"):
        migrate(empty)
    execute(empty, "DROP TABLE rooms; CREATE TABLE of_it (); ALTER EXTENSION plpgsql ADD TABLE of_it")
    assert migrate(empty) == available()


def test_a_migration_is_applied_as_a_whole(empty: dict[str, Any], add: Any) -> None:
    """What fails leaves nothing, and comes again; those before it stay."""
    add("9000_broken.sql", "CREATE TABLE half (); SELECT 1 / 0;")
    with pytest.raises(psycopg2.errors.DivisionByZero):
        migrate(empty)
    assert rows(empty, "SELECT to_regclass('half'), count(*) FROM schema_migrations") == [
        (None, len(available()))
    ]
    add("9000_broken.sql", "CREATE TABLE half ();")
    assert migrate(empty) == ["9000_broken.sql"]


def test_an_index_is_built_beside_writers(empty: dict[str, Any], add: Any) -> None:
    """CREATE INDEX CONCURRENTLY runs outside of a transaction; one that was interrupted is built again."""
    migrate(empty)
    execute(empty, "CREATE INDEX later ON users (created_ts)")
    execute(empty, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'later'::regclass")
    add("9000_index.sql", INDEX)
    assert migrate(empty) == ["9000_index.sql"]
    assert rows(empty, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'later'::regclass") == [(True,)]


def test_rooms_published_before_there_was_a_directory(empty: dict[str, Any]) -> None:
    """They are in it, as far as anybody may enter them."""
    migrate(empty)
    execute(
        empty,
        "DROP TABLE room_directory; DELETE FROM schema_migrations WHERE name LIKE '%_room_directory.sql'",
    )
    execute(
        empty,
        "INSERT INTO rooms (room_id, version, created_ts, is_public) SELECT '!' || n, '11', 1, n > 1"
        " FROM generate_series(1, 3) AS n; INSERT INTO room_summary (room_nid, joined, name, join_rule)"
        " SELECT room_nid, 2, 'Tea', CASE room_id WHEN '!2' THEN 'invite' ELSE 'public' END FROM rooms",
    )
    assert migrate(empty) == ["0046_room_directory.sql"]
    found = "SELECT room_id, listed, body FROM room_directory JOIN rooms USING (room_nid) ORDER BY 1"
    assert rows(empty, found) == [
        ("!2", False, "tea"),
        ("!3", True, "tea"),
    ]


def test_rooms_from_before_there_were_lists_by_size(empty: dict[str, Any]) -> None:
    """They are in these, with their counts."""
    migrate(empty)
    execute(
        empty,
        "DROP TABLE room_sizes; DROP INDEX room_summary_short_parts;"
        " DELETE FROM schema_migrations WHERE name LIKE '%_room_lists.sql';"
        " INSERT INTO room_summary (room_nid, joined, joined_local, state_events) VALUES (5, 3, 2, 9)",
    )
    assert migrate(empty) == ["0052_room_lists.sql"]
    assert rows(empty, "SELECT * FROM room_sizes") == [(5, 3, 2, 9)]


def test_what_a_release_has_does_not_change(tmp_path: Path) -> None:
    """A frozen migration that is edited or removed is found; `make freeze` adds those of a release."""
    schema = resources.files(storage).joinpath("schema")
    assert changed_since_frozen(schema) == []
    digests = []
    for name in ("0001_a.sql", "0002_b.sql", "0003_c.sql"):
        (tmp_path / name).write_text(name)
        digests.append(f"{migrations.checksum(tmp_path / name)}  {name}\n")
    (tmp_path / FROZEN).write_text("".join(digests))
    assert changed_since_frozen(tmp_path) == []
    (tmp_path / "0002_b.sql").write_text("edited")
    (tmp_path / "0003_c.sql").unlink()
    (tmp_path / "0004_d.sql").write_text("new")
    assert changed_since_frozen(tmp_path) == ["0002_b.sql", "0003_c.sql"]


def test_keys_of_before_their_numbers_are_given_out_in_their_order(
    empty: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`0072_key_stocks`: nothing of them is lost, whatever the order in which devices uploaded."""
    known = migrations.available()
    monkeypatch.setattr(migrations, "available", lambda: [name for name in known if name < "0072"])
    migrate(empty)
    execute(empty, "INSERT INTO users (user_id, created_ts) VALUES ('@u:hs', 1)")
    execute(
        empty,
        "INSERT INTO devices (user_id, device_id, created_ts) SELECT '@u:hs', d, 1 FROM unnest('{A,B}'::text[]) d",
    )
    execute(
        empty,
        "INSERT INTO one_time_keys (user_id, device_id, algorithm, key_id, key, json, ends_upload)"
        " SELECT '@u:hs', device, 'signed', id, id, '{}', false"
        " FROM (VALUES ('A', '9'), ('B', 'x'), ('A', '1')) AS keys (device, id)",
    )
    monkeypatch.setattr(migrations, "available", lambda: known)
    migrate(empty)
    stocks = "SELECT name, given, uploaded FROM key_stocks ORDER BY name"
    assert rows(empty, stocks) == [("@u:hs:signed:A", 0, 2), ("@u:hs:signed:B", 0, 1)]
    keys = (
        "SELECT device_id, number, key_id FROM one_time_keys JOIN key_stocks USING (stock_nid) ORDER BY 1, 2"
    )
    assert rows(empty, keys) == [("A", 1, "9"), ("A", 2, "1"), ("B", 1, "x")]
