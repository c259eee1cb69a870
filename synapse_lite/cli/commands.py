"""A group of commands, each imported when it is asked for.

A server process would otherwise import, and keep in memory, what the demo and the tables need.
"""

import gc
from collections.abc import Iterable
from importlib import import_module
from typing import Any

import attrs
import click


@attrs.frozen
class Place:
    """Where a command is defined: a module, and the name in it. `help` is its line in the list."""

    name: str
    module: str
    attribute: str
    help: str


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
        gc.disable()  # an import makes much that stays, which a collection would look through in vain
        try:
            command: click.Command = getattr(import_module(place.module), place.attribute)
        finally:
            gc.enable()
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._places[name].help) for name in self.list_commands(ctx)])
