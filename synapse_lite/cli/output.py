"""What commands print: JSON for programs; words and tables for people."""

import sys
from typing import Any

import click
import orjson
from rich.console import Console, RenderableType
from rich.table import Column, Table

from synapse_lite.canonical_json import JsonObject

_PIPE_WIDTH = 10_000  # lines of a pipe are not folded
_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000))


def echo_json(value: Any) -> None:
    click.echo(orjson.dumps(value))


def open_console(*, stderr: bool = False) -> Console:
    console = Console(file=sys.stderr if stderr else sys.stdout, highlight=False, markup=False)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    return console


def print_answer(answer: JsonObject, words: RenderableType, *, as_json: bool) -> None:
    if as_json:
        echo_json(answer)
    else:
        open_console().print(words)


def new_table(*names: str) -> Table:
    """Left-aligned columns; long words are folded, never cut off."""
    return Table(*(Column(name, overflow="fold") for name in names), box=None, padding=(0, 2, 0, 0))


def plain(text: object) -> str:
    """The text without what could steer a terminal; nothing for None."""
    if text is None:
        return ""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(text))


def duration(ms: float) -> str:
    """The two largest units: `3 min 20 s`."""
    rest = max(0, round(ms))
    words = []
    for name, size in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            words.append(f"{count} {name}")
    return " ".join(words[:2]) or "0 s"


def ago(then_ms: int, now_ms: int) -> str:
    """`5 s ago`, or `in 5 s`."""
    return f"in {duration(then_ms - now_ms)}" if then_ms > now_ms else f"{duration(now_ms - then_ms)} ago"
