"""A group of commands, each imported when it is asked for.

A server process would otherwise import, and keep in memory, what the demo and the tables need.
"""

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import attrs
import click

YOUNG_OBJECTS = 5000
NEVER = 1_000_000


@attrs.frozen
class Place:
    """Where a command is defined: a module, and the name in it. `help` is its line in the list."""

    name: str
    module: str
    attribute: str
    help: str


@contextmanager
def _only_young_garbage() -> Iterator[None]:
    """What an import makes stays, and is looked through once only: without the half-made classes of attrs, which leave holes."""
    thresholds = gc.get_threshold()
    gc.set_threshold(YOUNG_OBJECTS, NEVER, NEVER)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


def imported(module: str, attribute: str) -> Any:
    """What a command runs with, when it comes to that: what is wrong with its input is told without the wait."""
    with _only_young_garbage():
        return getattr(import_module(module), attribute)


class Commands(click.Group):
    """Lists its commands without importing them."""

    def __init__(self, *, places: Iterable[Place], **options: Any) -> None:
        super().__init__(**options)
        self._places = {place.name: place for place in places}

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return sorted(self._places)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = self._places.get(cmd_name)
        if place is None:
            return None
        command: click.Command = imported(place.module, place.attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._places[name].help) for name in self.list_commands(ctx)])
