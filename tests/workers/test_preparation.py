"""What keeps a process from starting is one sentence, with the option that it is about."""

import logging
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2 import sql

from synapse_lite.config.model import Config
from synapse_lite.errors import ConfigError
from synapse_lite.ids import random_text
from synapse_lite.matrix.signing import generate_signing_key
from synapse_lite.workers.preparation import DatabaseUnusableError, check_files_to_write, prepare_database
from tests.ports import free_port

SERVER = "hs.test"
KEY = generate_signing_key(SERVER)
Arguments = dict[str, Any]


def config(database: Arguments, **options: Any) -> Config:
    return Config.model_validate(
        {"server_name": SERVER, "database": {"name": "psycopg2", "args": database}, **options}
    )


def database_of(database_arguments: Arguments, how: str) -> Arguments:
    name = f"prepared_{random_text(8).lower()}"
    with closing(psycopg2.connect(**database_arguments)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE template0 {}").format(sql.Identifier(name), sql.SQL(how))
            )
    return {**database_arguments, "dbname": name}


def refusal(database: Arguments, error: type[Exception]) -> str:
    with pytest.raises(error) as caught:
        prepare_database(config(database), KEY)
    return str(caught.value)


def test_a_database_that_does_not_answer(caplog: pytest.LogCaptureFixture) -> None:
    """What is waited for, and for how long, is in the log before; then the reason, in one line."""
    caplog.set_level(logging.INFO)
    where = {"user": "x", "password": "secret", "host": "127.0.0.1", "port": free_port(), "dbname": "matrix"}
    told = refusal(where, DatabaseUnusableError)
    assert "connecting to database matrix at 127.0.0.1 (no longer than 5 s" in caplog.text
    assert "secret" not in caplog.text
    assert told.startswith("database: ")
    assert "Connection refused" in told
    assert "\n" not in told


def test_a_database_that_is_not_there(database_arguments: Arguments) -> None:
    told = refusal({**database_arguments, "dbname": "nowhere"}, DatabaseUnusableError)
    assert told.endswith('FATAL: database "nowhere" does not exist')


def test_a_role_that_may_not_make_tables(database_arguments: Arguments) -> None:
    """As since PostgreSQL 15, for a role that does not own the database: without the statement that failed."""
    foreign = database_of(database_arguments, "ENCODING 'UTF8' LOCALE 'C'")
    role = f"role_{random_text(8).lower()}"
    with closing(psycopg2.connect(**foreign)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE ROLE {role}; REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    told = refusal({**foreign, "options": f"-c role={role}"}, DatabaseUnusableError)
    assert told == "database: permission denied for schema public"


def test_a_database_of_another_encoding(database_arguments: Arguments) -> None:
    """It is refused before anything is written into it, with the statement that makes a fit one."""
    latin = database_of(database_arguments, "ENCODING 'LATIN1' LOCALE 'C'")
    told = refusal(latin, ConfigError)
    assert told.startswith("database: its encoding is LATIN1: make a database with: CREATE DATABASE")


def test_files_that_cannot_be_written(tmp_path: Path) -> None:
    """The option is named."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"media_store_path: .*Not a directory"):
        check_files_to_write(config({}, media_store_path=tmp_path / "file" / "media"))
