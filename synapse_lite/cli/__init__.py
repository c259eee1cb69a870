"""The command line."""

from synapse_lite.cli.program import main

__all__ = ["main"]
