"""The command `tasks`."""

from synapse_lite.cli.tasks.command import tasks

__all__ = ["tasks"]
