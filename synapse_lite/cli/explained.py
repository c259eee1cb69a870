"""The errors that lead to exit codes."""

import functools
import sys
from typing import Any

import click

from synapse_lite.cli.exits import Exit
from synapse_lite.errors import ConfigError, SynapseLiteError
from synapse_lite.storage.database import DatabaseError


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
        except (KeyboardInterrupt, click.Abort):
            # The code of click is ours of a wrong configuration.
            _end("\nAborted!", Exit.INTERRUPTED)

    command.callback = run_and_explain
    return command


def _end(message: str, code: Exit) -> None:
    click.echo(message.rstrip(), err=True)
    sys.exit(code.value)
