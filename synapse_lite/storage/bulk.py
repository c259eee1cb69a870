"""Many rows in one message to PostgreSQL."""

from collections.abc import Iterable, Sequence
from io import BytesIO

COPIED_AT_ONCE = 1024 * 1024
"""Bytes handed on at a time."""


def with_values(sql: str, rows: Sequence[bytes]) -> bytes:
    """A statement over `VALUES %s`; each row is in parentheses."""
    before, after = sql.split("%s")
    return before.encode() + b",".join(rows) + after.encode()


def copied(rows: Iterable[Sequence[str | None]]) -> BytesIO:
    """What COPY reads (PostgreSQL's documentation, "COPY", text format): a line for each row, tabs between its columns."""
    return BytesIO("\n".join([*map(_line, rows), ""]).encode())


def _line(row: Sequence[str | None]) -> str:
    """Nearly all rows need no escapes: to look for them in the whole line is many times cheaper than in each value."""
    values = [value for value in row if value is not None]
    if len(values) < len(row):
        return "\t".join(["\\N" if value is None else _escaped(value) for value in row])
    line = "\t".join(values)
    if "\\" in line or "\n" in line or "\r" in line or line.count("\t") >= len(row):
        return "\t".join([_escaped(value) for value in values])
    return line


def _escaped(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("\t", "\\t")
    return escaped.replace("\n", "\\n").replace("\r", "\\r")
