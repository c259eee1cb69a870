"""The rules in their order; each rule that ends the list says so."""

from synapse_lite import ids
from synapse_lite.matrix.auth_rules.levels import check_power_levels
from synapse_lite.matrix.auth_rules.membership import check_membership
from synapse_lite.matrix.auth_rules.redactions import check_redaction
from synapse_lite.matrix.auth_rules.state import (
    AuthError,
    StateMap,
    create_event,
    power_levels,
    require_joined,
)
from synapse_lite.matrix.event import Event
from synapse_lite.matrix.power_levels import PowerLevels
from synapse_lite.matrix.room_versions import ROOM_VERSIONS


def check_event(event: Event, state: StateMap) -> None:
    """Raises `AuthError` unless the rules of the room version let `event` happen on `state`.

    `state` is the state before the event; it may be cut down to `needed_keys`. Signatures of
    servers, also the one that a restricted join needs, are for the caller to verify.
    """
    if event.type == "m.room.create":
        _check_create(event)
        return
    create = create_event(state)
    if create.room_id != event.room_id:
        raise AuthError(f"The create event {create.event_id} is not of the room {event.room_id}")
    _check_federate(event, create)
    if event.version.aliases_rule and event.type == "m.room.aliases":
        _check_aliases(event)
    elif event.type == "m.room.member":
        check_membership(event, state)
    else:
        require_joined(state, event.sender, event.room_id)
        _check_levels(event, state, create)


def _check_create(event: Event) -> None:
    if event.prev_events:
        raise AuthError("A create event must be the first of its room")
    if event.version.room_id_is_hash:
        if "room_id" in event.pdu:
            raise AuthError("A create event of this room version must not have a room_id")
    elif ids.domain_of(event.room_id) != ids.domain_of(event.sender):
        raise AuthError("The room ID of a create event must be of the sender's server")
    content = event.content
    named_version = content.get("room_version", event.version.identifier)
    if not isinstance(named_version, str) or named_version not in ROOM_VERSIONS:
        raise AuthError(f"Unknown room version {named_version!r}")
    if not event.version.implicit_creator and "creator" not in content:
        raise AuthError("A create event of this room version must name its creator")
    if event.version.privileged_creators and "additional_creators" in content:
        additional = content["additional_creators"]
        if not isinstance(additional, list) or not all(
            isinstance(user_id, str) and ids.is_user_id(user_id) for user_id in additional
        ):
            raise AuthError("'additional_creators' must be a list of user IDs")


def _check_federate(event: Event, create: Event) -> None:
    if create.content.get("m.federate") is False and (
        ids.domain_of(event.sender) != ids.domain_of(create.sender)
    ):
        raise AuthError("This room does not take part in federation")


def _check_aliases(event: Event) -> None:
    if event.state_key != ids.domain_of(event.sender):
        raise AuthError("The state key of an m.room.aliases event must be the sender's server")


def _check_levels(event: Event, state: StateMap, create: Event) -> None:
    levels = power_levels(state)
    if event.type == "m.room.third_party_invite":
        if levels.user(event.sender) < levels.invite:
            raise AuthError("You don't have permission to invite users")
        return
    _check_required_level(event, levels)
    if event.state_key is not None and event.state_key.startswith("@") and event.state_key != event.sender:
        raise AuthError("You are not allowed to set others state")
    if event.type == "m.room.power_levels":
        check_power_levels(event, create, state)
    elif event.type == "m.room.redaction" and event.version.redactions_by_auth_rules:
        check_redaction(event, state)


def _check_required_level(event: Event, levels: PowerLevels) -> None:
    user_level = levels.user(event.sender)
    send_level = levels.required(event.type, event.is_state)
    if user_level < send_level:
        raise AuthError(
            "You don't have permission to post that to the room. "
            f"user_level ({user_level}) < send_level ({send_level})"
        )
