"""When a redaction takes effect ("Handling redactions"), and which ones our own users may ask for."""

from synapse_lite import ids
from synapse_lite.matrix.auth_rules.state import AuthError, StateMap, power_levels


def may_redact(sender: str, target_sender: str, state: StateMap) -> bool:
    """Whether a redaction that passed `check_event` is applied; `state` is that before the redaction."""
    return ids.domain_of(sender) == ids.domain_of(target_sender) or _has_redact_level(sender, state)


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
