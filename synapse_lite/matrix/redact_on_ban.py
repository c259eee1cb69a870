"""A ban or a kick that redacts all that its target has sent (MSC4293)."""

from synapse_lite.matrix.event import Event
from synapse_lite.matrix.power_levels import PowerLevels, read_level
from synapse_lite.matrix.types import MEMBER, REDACTION

REDACT_EVENTS = "org.matrix.msc4293.redact_events"


def asks_to_redact(event: Event, before: str | None) -> bool:
    """Whether it is a ban or a kick that asks for it; `before` is the target's membership until then."""
    if (
        event.type != MEMBER
        or event.sender == event.state_key
        or event.content.get(REDACT_EVENTS) is not True
    ):
        return False
    return event.membership == "ban" or (event.membership == "leave" and before != "ban")


def may_redact_all(user_id: str, levels: PowerLevels) -> bool:
    """Whether the user may redact what others send, and send redactions where a level is set for these."""
    named = read_level(levels.events.get(REDACTION), levels.version)
    level = levels.user(user_id)
    return level >= levels.redact and (named is None or level >= named)
