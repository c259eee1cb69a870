"""`version`."""

from importlib import metadata

import click

from synapse_lite.cli.explained import explained


@explained
@click.command()
def version() -> None:
    """Print the version."""
    click.echo(metadata.version("synapse-lite"))
