"""Features that are not in the specification yet, and that administrators turn on and off for single users."""

from collections.abc import Mapping

PUSHERS_FROM_AFAR = "msc3881"
"""A pusher can be turned off by another device."""

SLIDING_SYNC = "msc3575"

STATE_AFTER = "msc4222"
"""/sync gives the state at the end of the timeline, by its unstable name."""

DEFAULTS: Mapping[str, bool] = {PUSHERS_FROM_AFAR: False, SLIDING_SYNC: True, STATE_AFTER: False}
"""What there is, and whether somebody has it for whom nothing was set."""


def features_of(settings: Mapping[str, bool]) -> frozenset[str]:
    """What a user has, from what was set for them; what does not exist any more is left out."""
    return frozenset(name for name, enabled in DEFAULTS.items() if settings.get(name, enabled))


FEATURES_OF_MOST = features_of({})
