"""`import-media`, from a directory and a database as Synapse lays them out."""

import hashlib
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import yaml
from click.testing import CliRunner, Result

from synapse_lite.cli import import_media, main
from synapse_lite.cli.import_media import Importer
from synapse_lite.storage.synapse import database
from tests.builders import ALICE, SERVER

SCHEMA = """
CREATE TABLE local_media_repository (media_id TEXT, media_type TEXT, media_length INTEGER, created_ts BIGINT,
    upload_name TEXT, user_id TEXT, quarantined_by TEXT, url_cache TEXT, last_access_ts BIGINT,
    safe_from_quarantine BOOLEAN NOT NULL DEFAULT false, authenticated BOOLEAN DEFAULT false NOT NULL);
CREATE TABLE remote_media_cache (media_origin TEXT, media_id TEXT, media_type TEXT, created_ts BIGINT,
    upload_name TEXT, media_length INTEGER, filesystem_id TEXT, last_access_ts BIGINT, quarantined_by TEXT);
"""
LOCAL = "INSERT INTO local_media_repository VALUES "
REMOTE = "INSERT INTO remote_media_cache VALUES "
ROWS = [
    f"{LOCAL} ('abcdPlain', 'text/plain', 5, 1000, 'a.txt', '{ALICE}', NULL, NULL, 2000, false, true)",
    f"{LOCAL} ('abcdHidden', 'image/png', 6, 1001, NULL, '{ALICE}', '@mod:x', NULL, NULL, false, false)",
    f"{LOCAL} ('abcdSticker', 'image/png', 7, 1002, NULL, '{ALICE}', NULL, NULL, NULL, true, false)",
    f"{LOCAL} ('abcdGone', 'image/png', 9, 1003, NULL, '{ALICE}', NULL, NULL, NULL, false, false)",
    f"{LOCAL} ('abcdShort', 'image/png', 9, 1003, NULL, '{ALICE}', NULL, NULL, NULL, false, false)",
    f"{LOCAL} ('../../etc', 'image/png', 9, 1003, NULL, '{ALICE}', NULL, NULL, NULL, false, false)",
    f"{LOCAL} ('abcdWaits', NULL, NULL, 1004, NULL, '{ALICE}', NULL, NULL, NULL, false, true)",
    f"{LOCAL} ('abcdPreview', 'image/png', 7, 1005, NULL, NULL, NULL, 'https://x', NULL, false, true)",
    f"{REMOTE} ('else.test:8448', 'theirs', 'image/gif', 1006, 'b.gif', 4, 'wxyzFile', 3000, NULL)",
]
FILES = {
    "local_content/ab/cd/Plain": b"plain",
    "local_content/ab/cd/Hidden": b"hidden",
    "local_content/ab/cd/Sticker": b"sticker",
    "local_content/ab/cd/Short": b"short",
    "local_content/ab/cd/Preview": b"preview",
    "remote_content/else.test:8448/wx/yz/File": b"gif!",
    "local_thumbnails/ab/cd/Plain/32-32-image-png-crop": b"thumbnail",
}
KEPT = ["Hidden", "Plain", "Sticker"]


class Move:
    """From one server to the other."""

    def __init__(self, directory: Path, database: dict[str, Any]) -> None:
        self.old = directory / "old"
        self.new = directory / "new"
        self.database = database
        for name, data in FILES.items():
            path = self.old / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        self.synapse = str(directory / "homeserver.db")
        with closing(sqlite3.connect(self.synapse)) as connection, connection:
            connection.executescript(SCHEMA + ";".join(ROWS))
        self.config = directory / "homeserver.yaml"
        options = {
            "server_name": SERVER,
            "media_store_path": str(self.new),
            "database": {"name": "psycopg2", "args": database},
        }
        self.config.write_text(yaml.safe_dump(options))

    def run(self, *words: str) -> Result:
        command = ["import-media", "-c", str(self.config), "--media-store", str(self.old)]
        return CliRunner().invoke(main, [*command, "--database", self.synapse, *words])

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(psycopg2.connect(**self.database)) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()

    def files(self) -> set[str]:
        return {path.name for path in self.new.rglob("*") if path.is_file()}


@pytest.fixture
def move(tmp_path: Path, database_arguments: dict[str, Any]) -> Move:
    return Move(tmp_path, database_arguments)


def named(*contents: bytes) -> set[str]:
    return {hashlib.sha256(data).hexdigest() for data in contents}


def test_everything_is_taken_over(move: Move) -> None:
    """With what is known of it; what cannot be is named; Synapse's files stay; the second time nothing is left to do."""
    result = move.run()
    assert result.exit_code == 3
    assert set(result.stderr.splitlines()) == {
        f"missing: mxc://{SERVER}/abcdGone",
        f"damaged: mxc://{SERVER}/abcdShort",
        f"not valid: mxc://{SERVER}/../../etc",
    }
    assert "imported: 4 (0.0 MB)" in result.stdout
    assert move.files() == named(b"plain", b"hidden", b"sticker", b"gif!")
    assert move.rows(
        "SELECT origin, media_id, size, user_id, media_type, upload_name, created_ts, last_access_ts, authenticated,"
        " protected FROM media ORDER BY media_id"
    ) == [
        (SERVER, "abcdHidden", 6, ALICE, "image/png", None, 1001, 1001, False, False),
        (SERVER, "abcdPlain", 5, ALICE, "text/plain", "a.txt", 1000, 2000, True, False),
        (SERVER, "abcdSticker", 7, ALICE, "image/png", None, 1002, 1002, False, True),
        ("else.test:8448", "theirs", 4, None, "image/gif", "b.gif", 1006, 3000, False, False),
    ]
    hidden = move.rows("SELECT origin, media_id, quarantined_by FROM media_quarantine")
    assert hidden == [(SERVER, "abcdHidden", "@mod:x")]
    assert move.rows("SELECT count(*) FROM media_blobs WHERE stored AND check_ts IS NULL") == [(4,)]
    assert {name: (move.old / name).read_bytes() for name in FILES} == FILES
    again = move.run()
    assert "already here: 4" in again.stdout
    assert "imported" not in again.stdout


def test_a_dry_run(move: Move) -> None:
    """It tells the same and changes nothing; copies of others' can be left out."""
    result = move.run("--dry-run", "--local-only")
    assert "would be imported: 3" in result.stdout
    assert "missing: 1" in result.stdout
    assert move.rows("SELECT 1 FROM media") == []
    assert not move.new.exists()


def test_it_goes_on_where_it_was_interrupted(move: Move, monkeypatch) -> None:
    """Whatever it died of, and wherever: the next one completes it, and nothing is left over."""
    write = Importer._write
    calls: list[str] = []

    def die(self: Importer, txn: Any, media: Any, received: Any) -> None:
        calls.append(media.media_id)
        write(self, txn, media, received)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Importer, "_write", die)
    assert move.run("--local-only").exit_code != 0
    assert move.rows("SELECT count(*) FROM media") == [(1,)]
    monkeypatch.setattr(Importer, "_write", write)
    result = move.run("--local-only")
    assert "already here: 1" in result.stdout
    assert move.rows("SELECT media_id FROM media ORDER BY media_id") == [(f"abcd{name}",) for name in KEPT]
    assert move.files() == named(b"plain", b"hidden", b"sticker")


def test_from_postgresql(move: Move, monkeypatch) -> None:
    """Synapse's database may be there, and may be larger than a page."""
    monkeypatch.setattr(database, "PAGE", 3)
    with closing(psycopg2.connect(**move.database)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA synapse; SET search_path TO synapse;" + SCHEMA + ";".join(ROWS))
        cursor.execute(
            f"{LOCAL[:-8]} SELECT 'many' || n, 'text/plain', 3, n, NULL, '{ALICE}', NULL, NULL, NULL, false, true"
            " FROM generate_series(10000, 10009) n"
        )
    (move.old / "local_content/ma/ny").mkdir(parents=True)
    for number in range(10000, 10010):
        (move.old / f"local_content/ma/ny/{number}").write_bytes(b"abc")
    place = "&".join(f"{name}={value}" for name, value in move.database.items())
    move.synapse = f"postgresql:///?{place}&options=-csearch_path%3Dsynapse"
    try:
        result = move.run("--local-only")
        assert "imported: 13" in result.stdout
        assert move.rows("SELECT count(*), count(DISTINCT sha256) FROM media") == [(13, 4)]
    finally:
        with (
            closing(psycopg2.connect(**move.database)) as connection,
            connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("DROP SCHEMA synapse CASCADE")


@pytest.mark.parametrize("words", [["CREATE TABLE other (x INT)"], None])
def test_what_is_not_synapses(move: Move, tmp_path: Path, words: Sequence[str] | None) -> None:
    """Another database, or none: a sentence, and nothing is changed."""
    move.synapse = str(tmp_path / "other.db")
    if words is not None:
        with closing(sqlite3.connect(move.synapse)) as connection, connection:
            connection.executescript(";".join(words))
    result = move.run()
    assert result.exit_code != 0
    assert "Synapse's database:" in result.output
    assert move.rows("SELECT 1 FROM media") == []
    assert import_media.IMPORTED not in result.output
