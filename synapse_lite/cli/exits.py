"""Exit codes, and the errors that lead to them."""

import functools
import sys
from enum import Enum
from typing import Any

import click

from synapse_lite.errors import ConfigError, SynapseLiteError
from synapse_lite.storage.database import DatabaseError


class Exit(Enum):
    OK = 0
    CONFIG = 1
    USAGE = 2
    FAILURE = 3

    @property
    def meaning(self) -> str:
        return _MEANINGS[self]


_MEANINGS = {
    Exit.OK: "done",
    Exit.CONFIG: "the configuration is wrong; every mistake is listed",
    Exit.USAGE: "the command line is wrong",
    Exit.FAILURE: "it failed: the server, the database or another service did not do its part",
}


def explained(command: click.Command) -> click.Command:
    """The same command; an expected error becomes a message on standard error and an exit code."""
    run = command.callback
    if run is None:
        return command

    @functools.wraps(run)
    def run_and_explain(*args: Any, **kwargs: Any) -> None:
        try:
            run(*args, **kwargs)
        except ConfigError as error:
            _end(str(error), Exit.CONFIG)
        except (SynapseLiteError, DatabaseError, OSError) as error:
            _end(str(error), Exit.FAILURE)

    command.callback = run_and_explain
    return command


def _end(message: str, code: Exit) -> None:
    click.echo(message.rstrip(), err=True)
    sys.exit(code.value)
