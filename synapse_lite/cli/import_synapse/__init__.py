"""`import-synapse`: the users, sessions, keys and rooms of a Synapse become those of this server."""

from synapse_lite.cli.import_synapse.command import import_synapse

__all__ = ["import_synapse"]
