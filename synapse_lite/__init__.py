"""A Synapse-compatible Matrix homeserver with a task engine that cannot get stuck."""

__version__ = "0.1.0"
