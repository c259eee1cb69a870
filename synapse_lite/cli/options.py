"""Options that several commands have."""

from pathlib import Path

import click

config_option = click.option(
    "-c",
    "--config-path",
    "config_paths",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    metavar="FILE",
    help="Configuration file, or a directory of *.yaml files; may be repeated: later files replace "
    "top-level options of earlier ones.",
)
