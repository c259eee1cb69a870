"""Many rows in one message to PostgreSQL."""

from collections.abc import Iterable, Iterator, Sequence
from struct import Struct
from typing import Any

PIECE_BYTES = 32 * 1024
"""Handed on at a time: memory for half a megabyte comes page by page from the kernel, which costs more than to fill it."""


def with_values(sql: str, rows: Sequence[bytes]) -> bytes:
    """A statement over `VALUES %s`; each row is in parentheses."""
    before, after = sql.split("%s")
    return before.encode() + b",".join(rows) + after.encode()


def copied(parts: Iterable[bytes]) -> Any:
    """A file for COPY, of what `lines` or `fields` write. psycopg2's types ask for a `readline` besides, which it never calls."""
    return _Copied(parts)


class _Copied:
    def __init__(self, parts: Iterable[bytes]) -> None:
        self._pieces = _pieces(parts)

    def read(self, _size: int) -> bytes:
        """The next piece; nothing at the end. That may be more than asked for: psycopg2 takes whatever it gets."""
        return next(self._pieces, b"")


def _pieces(parts: Iterable[bytes]) -> Iterator[bytes]:
    gathered: list[bytes] = []
    size = 0
    for part in parts:
        gathered.append(part)
        size += len(part)
        if size >= PIECE_BYTES:
            yield b"".join(gathered)
            gathered, size = [], 0
    if gathered:
        yield b"".join(gathered)


def lines(rows: Iterable[Sequence[str | None]]) -> Iterator[bytes]:
    """For columns of any type (PostgreSQL's documentation, "COPY", text format): a line for each row, tabs between its columns."""
    for row in rows:
        yield f"{_line(row)}\n".encode()


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


def fields(rows: Iterable[Sequence[str]], common: Sequence[str | int]) -> Iterator[bytes]:
    """In the binary format, which neither side has to search for escapes. The last columns are `common` to all rows.

    Texts are for TEXT, integers for BIGINT.
    """
    yield _SIGNATURE
    ending = b"".join(map(_field, common))
    for row in rows:
        parts = [_SHORT(len(row) + len(common))]
        for value in row:
            data = value.encode()
            parts += (_LENGTH(len(data)), data)
        parts.append(ending)
        yield b"".join(parts)
    yield _SHORT(-1)


def _field(value: str | int) -> bytes:
    data = value.encode() if isinstance(value, str) else _BIGINT(value)
    return _LENGTH(len(data)) + data


_SHORT = Struct("!h").pack
_LENGTH = Struct("!i").pack
_BIGINT = Struct("!q").pack
_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)  # no flags, no extension of the header
