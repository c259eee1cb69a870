"""The command `redact`."""

from synapse_lite.cli.redact.command import redact

__all__ = ["redact"]
