"""When a redaction takes effect ("Handling redactions"), and which ones our own users may ask for."""

from synapse_lite import ids
from synapse_lite.matrix.auth_rules.state import AuthError, StateMap, power_levels
from synapse_lite.matrix.event import Event


def check_redaction(event: Event, state: StateMap) -> None:
    """The rule of room versions 1 and 2: raises `AuthError` unless the redaction may happen."""
    if event.redacts is None:
        raise AuthError("A redaction must name the event to redact")
    of_own_server = ids.domain_of(event.event_id) == ids.domain_of(event.redacts)
    if not of_own_server and not _has_redact_level(event.sender, state):
        raise AuthError("You don't have permission to redact events")


def may_redact(redaction: Event, target: Event, state: StateMap) -> bool:
    """Whether a redaction that passed `check_event` is applied; `state` is that before the redaction."""
    return (
        redaction.version.redactions_by_auth_rules
        or ids.domain_of(redaction.sender) == ids.domain_of(target.sender)
        or _has_redact_level(redaction.sender, state)
    )


def check_redaction_request(sender: str, target_sender: str, state: StateMap) -> None:
    """Raises `AuthError` unless the user redacts an own event or has the `redact` level.

    Stricter than `may_redact`: the rest of the federation trusts a server to keep its own users
    from redacting each other.
    """
    if sender != target_sender and not _has_redact_level(sender, state):
        raise AuthError("You don't have permission to redact events")


def _has_redact_level(user_id: str, state: StateMap) -> bool:
    levels = power_levels(state)
    return levels.user(user_id) >= levels.redact
