"""The rule on `m.room.member`."""

from itertools import islice

from synapse_lite.canonical_json import JsonObject
from synapse_lite.matrix.auth_rules.selection import third_party_token
from synapse_lite.matrix.auth_rules.state import (
    AuthError,
    StateMap,
    create_event,
    join_rule,
    membership,
    power_levels,
    require_joined,
)
from synapse_lite.matrix.event import Event
from synapse_lite.matrix.power_levels import creator
from synapse_lite.matrix.room_versions import RoomVersion
from synapse_lite.matrix.signing import ALGORITHM, SignatureError, read_verify_key, verify_signed_json

MAX_SIGNATURE_CHECKS = 100
"""So that one event cannot buy minutes of our time; real invites need one or two."""


def check_membership(event: Event, state: StateMap) -> None:
    """Raises `AuthError`; `event` is an `m.room.member`."""
    target = event.state_key
    if target is None or event.membership is None:
        raise AuthError("A member event needs a state_key and a membership")
    match event.membership:
        case "join":
            _check_join(event, target, state)
        case "invite":
            _check_invite(event, target, state)
        case "leave":
            _check_leave(event, target, state)
        case "ban":
            _check_ban(event, target, state)
        case "knock" if event.version.knock:
            _check_knock(event, target, state)
        case _:
            raise AuthError(f"Unknown membership {event.membership!r}")


def _check_join(event: Event, target: str, state: StateMap) -> None:
    create = create_event(state)
    if event.prev_events == [create.event_id] and target == creator(create):
        return
    if event.sender != target:
        raise AuthError("Cannot force another user to join.")
    current = membership(state, target)
    if current == "ban":
        raise AuthError("You are banned from this room")
    rule = join_rule(state)
    if rule == "public" or (current in {"invite", "join"} and rule in _rules_for_invited(event.version)):
        return
    if rule in _restricted_rules(event.version):
        _check_authorising_user(event, state)
        return
    raise AuthError("You are not invited to this room.")


def _restricted_rules(version: RoomVersion) -> frozenset[str]:
    known = {"restricted": version.restricted, "knock_restricted": version.knock_restricted}
    return frozenset(rule for rule, is_known in known.items() if is_known)


def _knock_rules(version: RoomVersion) -> frozenset[str]:
    known = {"knock": version.knock, "knock_restricted": version.knock_restricted}
    return frozenset(rule for rule, is_known in known.items() if is_known)


def _rules_for_invited(version: RoomVersion) -> frozenset[str]:
    return _restricted_rules(version) | _knock_rules(version) | {"invite"}


def _check_authorising_user(event: Event, state: StateMap) -> None:
    authorising_user = event.content.get("join_authorised_via_users_server")
    if not isinstance(authorising_user, str):
        raise AuthError("You do not belong to any of the required rooms/spaces to join this room.")
    if membership(state, authorising_user) != "join":
        raise AuthError(f"The authorising user {authorising_user} is not in the room")
    levels = power_levels(state)
    if levels.user(authorising_user) < levels.invite:
        raise AuthError(f"The authorising user {authorising_user} may not invite to this room")


def _check_invite(event: Event, target: str, state: StateMap) -> None:
    if "third_party_invite" in event.content:
        _check_third_party_invite(event, target, state)
        return
    require_joined(state, event.sender, event.room_id)
    current = membership(state, target)
    if current == "ban":
        raise AuthError(f"{target} is banned from the room")
    if current == "join":
        raise AuthError(f"{target} is already in the room.")
    levels = power_levels(state)
    if levels.user(event.sender) < levels.invite:
        raise AuthError("You don't have permission to invite users")


def _check_third_party_invite(event: Event, target: str, state: StateMap) -> None:
    if membership(state, target) == "ban":
        raise AuthError(f"{target} is banned from the room")
    token = third_party_token(event.content)
    if token is None:
        raise AuthError("The third party invite names no token")
    signed: JsonObject = event.content["third_party_invite"]["signed"]
    if signed.get("mxid") != target:
        raise AuthError("The third party invite is for somebody else")
    invite = state.get(("m.room.third_party_invite", token))
    if invite is None or invite.sender != event.sender:
        raise AuthError("There is no third party invite of the sender with this token")
    if not _is_signed_by_any(signed, _public_keys(invite.content)):
        raise AuthError("No signature of the third party invite fits its keys")


def _public_keys(content: JsonObject) -> list[str]:
    listed = content.get("public_keys")
    entries = [content, *listed] if isinstance(listed, list) else [content]
    keys = [entry.get("public_key") for entry in entries if isinstance(entry, dict)]
    return [key for key in keys if isinstance(key, str)]


def _is_signed_by_any(signed: JsonObject, public_keys: list[str]) -> bool:
    signatures = signed.get("signatures")
    if not isinstance(signatures, dict):
        return False
    attempts = (
        (server, key_id, public_key)
        for server, by_key in signatures.items()
        if isinstance(by_key, dict)
        for key_id in by_key
        if key_id.startswith(f"{ALGORITHM}:")
        for public_key in public_keys
    )
    return any(_is_signed(signed, *attempt) for attempt in islice(attempts, MAX_SIGNATURE_CHECKS))


def _is_signed(signed: JsonObject, server: str, key_id: str, public_key: str) -> bool:
    try:
        verify_signed_json(signed, server, key_id, read_verify_key(public_key))
    except (SignatureError, ValueError):
        return False
    return True


def _check_leave(event: Event, target: str, state: StateMap) -> None:
    current = membership(state, target)
    if event.sender == target:
        if current not in {"invite", "join"} and not (current == "knock" and event.version.knock):
            raise AuthError(f"User {target} not in room {event.room_id}")
        return
    require_joined(state, event.sender, event.room_id)
    levels = power_levels(state)
    sender_level = levels.user(event.sender)
    if current == "ban" and sender_level < levels.ban:
        raise AuthError(f"You cannot unban user {target}.")
    if sender_level < levels.kick or levels.user(target) >= sender_level:
        raise AuthError(f"You cannot kick user {target}.")


def _check_ban(event: Event, target: str, state: StateMap) -> None:
    require_joined(state, event.sender, event.room_id)
    levels = power_levels(state)
    sender_level = levels.user(event.sender)
    if sender_level < levels.ban or levels.user(target) >= sender_level:
        raise AuthError("You don't have permission to ban")


def _check_knock(event: Event, target: str, state: StateMap) -> None:
    if join_rule(state) not in _knock_rules(event.version):
        raise AuthError("You don't have permission to knock")
    if event.sender != target:
        raise AuthError("You cannot knock for other users")
    current = membership(state, target)
    if current in {"ban", "invite", "join"}:
        raise AuthError(f"You cannot knock on this room: your membership is {current!r}")
