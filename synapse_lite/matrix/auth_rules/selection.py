"""Which state an event is judged by (server-server API, "Auth events selection")."""

from collections.abc import Sequence

from synapse_lite.canonical_json import JsonObject
from synapse_lite.matrix.auth_rules.state import CREATE, JOIN_RULES, POWER_LEVELS, AuthError
from synapse_lite.matrix.event import Event, StateKey
from synapse_lite.matrix.room_versions import RoomVersion
from synapse_lite.matrix.types import MEMBER


def auth_keys(
    event_type: str, sender: str, state_key: str | None, content: JsonObject, version: RoomVersion
) -> list[StateKey]:
    """The keys whose events, where the state has them, become `auth_events`; without duplicates."""
    if event_type == "m.room.create":
        return []
    keys = [] if version.room_id_is_hash else [CREATE]
    keys += [POWER_LEVELS, (MEMBER, sender)]
    if event_type == MEMBER and state_key is not None:
        keys += _member_keys(state_key, content, version)
    return list(dict.fromkeys(keys))


def _member_keys(target: str, content: JsonObject, version: RoomVersion) -> list[StateKey]:
    keys = [(MEMBER, target)]
    match content.get("membership"):
        case "invite":
            keys.append(JOIN_RULES)
            token = third_party_token(content)
            if token is not None:
                keys.append(("m.room.third_party_invite", token))
        case "join":
            keys.append(JOIN_RULES)
        case "knock" if version.knock:
            keys.append(JOIN_RULES)
    authorising_user = content.get("join_authorised_via_users_server")
    if version.restricted and isinstance(authorising_user, str):
        keys.append((MEMBER, authorising_user))
    return keys


def third_party_token(content: JsonObject) -> str | None:
    """The token that an invite by a third party refers to."""
    invite = content.get("third_party_invite")
    signed = invite.get("signed") if isinstance(invite, dict) else None
    token = signed.get("token") if isinstance(signed, dict) else None
    return token if isinstance(token, str) else None


def needed_keys(
    event_type: str, sender: str, state_key: str | None, content: JsonObject, version: RoomVersion
) -> list[StateKey]:
    """What `check_event` reads: `auth_keys` and always the create event."""
    keys = auth_keys(event_type, sender, state_key, content, version)
    return keys if CREATE in keys or event_type == "m.room.create" else [CREATE, *keys]


def check_auth_events(event: Event, auth_events: Sequence[Event]) -> None:
    """The rule on `auth_events` themselves; raises `AuthError`.

    `auth_events` are the events that `event.auth_events` names. That none of them was rejected is
    for the caller to see.
    """
    allowed = set(auth_keys(event.type, event.sender, event.state_key, event.content, event.version))
    seen: set[StateKey] = set()
    for auth_event in auth_events:
        if auth_event.room_id != event.room_id:
            raise AuthError(f"Auth event {auth_event.event_id} is of another room")
        if not auth_event.is_state or auth_event.key not in allowed:
            raise AuthError(f"Auth event {auth_event.event_id} must not be among the auth events")
        if auth_event.key in seen:
            raise AuthError(f"Auth events name {auth_event.key} twice")
        seen.add(auth_event.key)
    if CREATE in allowed and CREATE not in seen:
        raise AuthError("There is no create event among the auth events")
