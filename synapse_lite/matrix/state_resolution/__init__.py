"""Which state wins where histories meet ("State resolution" of room versions 1, 2 and 12)."""

from synapse_lite.matrix.state_resolution.resolve import is_power_event, resolve

__all__ = ["is_power_event", "resolve"]
