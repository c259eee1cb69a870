"""The command `demo`."""

from synapse_lite.cli.demo.command import demo

__all__ = ["demo"]
