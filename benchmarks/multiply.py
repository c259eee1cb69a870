"""Many rows like those that a server wrote for one thing that a client made: for sizes that no client reaches in time."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

import psycopg2

STEP = 1_000_000  # between the numbers of a copy and those of the next one

_COLUMNS = (
    "SELECT column_name, format_type(atttypid, atttypmod) FROM information_schema.columns"
    " JOIN pg_attribute ON attrelid = table_name::regclass AND attname = column_name"
    " WHERE table_schema = 'public' AND table_name = %s AND is_generated = 'NEVER'"
)


def multiply(
    arguments: Mapping[str, Any],
    tables: Sequence[str],
    markers: Sequence[str],
    numbers: Sequence[str],
    count: int,
) -> None:
    """In each of the tables: the rows that hold a marker, `count` times more, with 1, 2, … behind the markers.

    `numbers` are columns of integers that tell the copies apart. Tables that the server does not have are left out.
    """
    with closing(psycopg2.connect(**arguments)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for table in tables:
                cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (table,))
                if cursor.fetchall()[0][0]:
                    cursor.execute(_COLUMNS, (table,))
                    copies = _copies(table, dict(cursor.fetchall()), numbers)
                    cursor.execute(copies, {"markers": "|".join(markers), "count": count})
            cursor.execute("VACUUM ANALYZE")


def _copies(table: str, columns: Mapping[str, str], numbers: Sequence[str]) -> str:
    r"""`\&` is what the expression found."""
    values = [
        f"{name} + n::bigint * {STEP}"
        if name in numbers
        else rf"regexp_replace({name}::text, %(markers)s, '\&' || n, 'g')::{kind}"
        for name, kind in columns.items()
    ]
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) OVERRIDING SYSTEM VALUE SELECT {', '.join(values)}"
        f" FROM {table} AS t, generate_series(1, %(count)s) AS n WHERE t::text ~ %(markers)s"
    )
