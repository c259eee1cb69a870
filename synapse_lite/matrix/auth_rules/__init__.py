"""May this event happen? ("Authorization rules" of each room version)."""

from synapse_lite.matrix.auth_rules.check import check_event
from synapse_lite.matrix.auth_rules.redactions import check_redaction_request, may_redact
from synapse_lite.matrix.auth_rules.selection import auth_keys, check_auth_events, needed_keys
from synapse_lite.matrix.auth_rules.state import AuthError, StateMap

__all__ = [
    "AuthError",
    "StateMap",
    "auth_keys",
    "check_auth_events",
    "check_event",
    "check_redaction_request",
    "may_redact",
    "needed_keys",
]
