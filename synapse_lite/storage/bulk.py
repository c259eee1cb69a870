"""Many rows in one message to PostgreSQL."""

from collections.abc import Iterable, Sequence
from io import BytesIO

COPIED_AT_ONCE = 1024 * 1024
"""Bytes handed on at a time."""


def with_values(sql: str, rows: Sequence[bytes]) -> bytes:
    """A statement over `VALUES %s`; each row is in parentheses."""
    before, after = sql.split("%s")
    return before.encode() + b",".join(rows) + after.encode()


def copied(rows: Iterable[Sequence[str | int]]) -> BytesIO:
    """What COPY reads (PostgreSQL's documentation, "COPY", text format): a line for each row, tabs between its columns."""
    lines = ["\t".join([_escaped(str(value)) for value in row]) for row in rows]
    return BytesIO("\n".join([*lines, ""]).encode())


def _escaped(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("\t", "\\t")
    return escaped.replace("\n", "\\n").replace("\r", "\\r")
