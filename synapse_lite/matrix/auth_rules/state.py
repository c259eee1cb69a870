"""What the rules ask of the state of a room."""

from collections.abc import Mapping

from synapse_lite.errors import Errcode, MatrixError
from synapse_lite.matrix.event import Event, StateKey
from synapse_lite.matrix.power_levels import PowerLevels
from synapse_lite.matrix.types import MEMBER

StateMap = Mapping[StateKey, Event]
"""The state before an event, or the part of it that `needed_keys` names."""

CREATE = ("m.room.create", "")
POWER_LEVELS = ("m.room.power_levels", "")
JOIN_RULES = ("m.room.join_rules", "")


class AuthError(MatrixError):
    """The rules of the room forbid the event: 403 `M_FORBIDDEN`."""

    def __init__(self, message: str) -> None:
        super().__init__(403, Errcode.FORBIDDEN, message)


def create_event(state: StateMap) -> Event:
    create = state.get(CREATE)
    if create is None:
        raise AuthError("The room has no create event")
    return create


def power_levels(state: StateMap) -> PowerLevels:
    return PowerLevels.read(create_event(state), state.get(POWER_LEVELS))


def membership(state: StateMap, user_id: str) -> str | None:
    member = state.get((MEMBER, user_id))
    return None if member is None else member.membership


def join_rule(state: StateMap) -> str:
    """`invite` when nothing else is said ("m.room.join_rules")."""
    event = state.get(JOIN_RULES)
    rule = None if event is None else event.content.get("join_rule")
    return rule if isinstance(rule, str) else "invite"


def require_joined(state: StateMap, user_id: str, room_id: str) -> None:
    if membership(state, user_id) != "join":
        raise AuthError(f"User {user_id} not in room {room_id}")
