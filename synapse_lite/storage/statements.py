"""Statements to PostgreSQL: values in, rows out, with as few round trips as there are results to read."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from attrs import define, field
from psycopg2 import extensions

from synapse_lite.storage.bulk import copied, fields, lines, with_values
from synapse_lite.storage.prepared import Prepared

Row = tuple[Any, ...]
Arguments = Sequence[object] | Mapping[str, object]

VALUES_A_STATEMENT = 1000
_OTHER_WAYS = ("enable_seqscan", "enable_bitmapscan", "enable_sort")  # than in the order of an index
_ON_INDEXES = b";".join(f"SET LOCAL {way} = off".encode() for way in _OTHER_WAYS)
_AS_USUAL = b";".join(f"SET LOCAL {way} TO DEFAULT".encode() for way in _OTHER_WAYS)


@define
class Statements:
    """What one cursor sends. A statement whose result nobody reads is kept back until the next one."""

    _cursor: extensions.cursor
    _waiting: list[bytes] = field(factory=list)
    _rows: list[bytes] = field(factory=list)
    _rows_sql: str = ""
    _sent: int = 0

    def execute(self, sql: str, arguments: Arguments = ()) -> int:
        """Run a statement; the number of rows that it touched."""
        self._run(sql, arguments)
        return self._cursor.rowcount

    def rows(self, sql: str, arguments: Arguments = ()) -> list[Row]:
        self._run(sql, arguments)
        return self._cursor.fetchall()

    def row(self, sql: str, arguments: Arguments = ()) -> Row | None:
        """The first row, or None."""
        self._run(sql, arguments)
        return self._cursor.fetchone()

    def value(self, sql: str, arguments: Arguments = ()) -> Any:
        """The first column of the first row, or None."""
        row = self.row(sql, arguments)
        return row[0] if row else None

    def later(self, sql: str, arguments: Arguments = ()) -> None:
        """A statement whose result nobody reads: it goes to the server together with the next one.

        A round trip may cost more than the statement. An error shows at that next one.
        """
        self._wait(self._cursor.mogrify(self._prepared(sql), arguments or None))

    @contextmanager
    def on_indexes(self) -> Iterator[None]:
        """Who walks through a large table reads the next rows from an index; later statements as they like.

        Without statistics, as of a table that has just grown, the planner likes to sort all rows that are left.
        """
        self._wait(_ON_INDEXES)
        yield
        self._wait(_AS_USUAL)

    def insert(self, sql: str, rows: Sequence[Sequence[object]], template: str | None = None) -> None:
        """`INSERT ... VALUES %s`, or another statement over `VALUES %s`; as `later`."""
        for start in range(0, len(rows), VALUES_A_STATEMENT):
            self._wait(self._with_values(sql, rows[start : start + VALUES_A_STATEMENT], template))

    def insert_row(self, sql: str, row: Sequence[object]) -> None:
        """As `insert`; rows for the same statement that follow each other become one."""
        if sql != self._rows_sql or len(self._rows) == VALUES_A_STATEMENT:
            self._gather()
            self._rows_sql = sql
        self._rows.append(self._tuple(row))

    def copy(self, columns: str, rows: Iterable[Sequence[str | None]]) -> None:
        """Add rows to `table (columns)`, at half of what INSERT costs for large ones. What waits is sent first."""
        self._copy(f"COPY {columns} FROM STDIN", lines(rows))

    def copy_texts(self, columns: str, rows: Iterable[Sequence[str]], common: Sequence[str | int]) -> None:
        """As `copy`, at three quarters of what that costs: columns are TEXT, and the last, `common` to all rows, may be BIGINT."""
        self._copy(f"COPY {columns} FROM STDIN (FORMAT binary)", fields(rows, common))

    def _copy(self, sql: str, parts: Iterable[bytes]) -> None:
        self.finish()
        self._sent += 1
        self._cursor.copy_expert(sql, copied(parts))

    def fetch_values(self, sql: str, rows: Collection[Sequence[object]]) -> list[Row]:
        """The rows of a statement over `VALUES %s`; none for no values."""
        if not rows:
            return []
        self._send(self._with_values(sql, rows))
        return self._cursor.fetchall()

    def finish(self, statement: str = "") -> None:
        """Send what waits, and a last statement such as COMMIT."""
        if statement or self._waiting or self._rows:
            self._send(statement.encode())

    def _run(self, sql: str, arguments: Arguments) -> None:
        sql = self._prepared(sql)
        if self._waiting or self._rows:
            self._send(self._cursor.mogrify(sql, arguments or None))
        else:
            self._sent += 1
            self._cursor.execute(sql, arguments or None)

    def _prepared(self, sql: str) -> str:
        return sql.on(self._cursor) if isinstance(sql, Prepared) else sql

    def _wait(self, statement: bytes) -> None:
        self._gather()
        self._waiting.append(statement)

    def _gather(self) -> None:
        """The rows that are there so far become a statement."""
        if self._rows:
            self._waiting.append(with_values(self._rows_sql, self._rows))
            self._rows = []

    def _send(self, statement: bytes) -> None:
        self._gather()
        statements, self._waiting = [*self._waiting, statement], []
        self._sent += 1
        self._cursor.execute(b";".join(statements))

    def _with_values(
        self, sql: str, rows: Collection[Sequence[object]], template: str | None = None
    ) -> bytes:
        return with_values(sql, [self._tuple(row, template) for row in rows])

    def _tuple(self, row: Sequence[object], template: str | None = None) -> bytes:
        return self._cursor.mogrify(template or f"({','.join(['%s'] * len(row))})", row)
