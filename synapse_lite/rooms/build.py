"""From a draft and a head to a signed event."""

from collections.abc import Mapping

from synapse_lite.canonical_json import JsonObject, encode
from synapse_lite.errors import Errcode, MatrixError, not_found
from synapse_lite.matrix.auth_rules import (
    auth_keys,
    check_event,
    check_redaction_request,
    may_redact,
    needed_keys,
)
from synapse_lite.matrix.event import MAX_PREV_EVENTS, Draft, Event, StateKey, build_event
from synapse_lite.matrix.signing import SigningKey
from synapse_lite.matrix.types import MEMBER
from synapse_lite.rooms.heads import Head, draft_needs
from synapse_lite.rooms.values import Write
from synapse_lite.storage.events import StoredEvent

_ENTERING = frozenset({"join", "invite", "knock"})


def build_next(
    head: Head, write: Write, targets: Mapping[str, StoredEvent], signing_key: SigningKey
) -> tuple[Event, list[StoredEvent]]:
    """The event that follows the head, and its auth events; `AuthError` when the rules of the room forbid it.

    500 for a room of which too much is lost.
    """
    if head.is_damaged:
        raise MatrixError(500, Errcode.UNKNOWN, "This server has lost events on which the room is built")
    draft, version = write.draft, head.room.version
    auth_events = [head.state[key] for key in _auth_keys(draft, head) if key in head.state]
    previous = sorted(head.tips, key=lambda tip: tip.event.depth)[-MAX_PREV_EVENTS:]
    event = build_event(
        draft,
        version,
        head.room.room_id,
        [tip.event.reference for tip in previous],
        [auth_event.event.reference for auth_event in auth_events],
        head.depth + 1,
        signing_key,
    )
    state = head.some(draft_needs(draft, version))
    check_event(event, state)
    if event.redacts is not None:
        _check_redaction(head, write, targets.get(event.redacts), state)
    return event, auth_events


def unchanged(head: Head, draft: Draft) -> StoredEvent | None:
    """The state event that says already what the draft says."""
    if draft.state_key is None:
        return None
    current = head.state.get((draft.type, draft.state_key))
    if current and current.event.sender == draft.sender and _same(current.event.content, draft.content):
        return current
    return None


def admits(head: Head, draft: Draft) -> bool:
    """Whether the draft brings somebody in, or nearer: a join, an invite or a knock."""
    if draft.type != MEMBER or draft.content.get("membership") not in _ENTERING:
        return False
    current = head.state.get((draft.type, draft.state_key or ""))
    return current is None or current.event.membership != "join"


def applies(head: Head, redaction: Event, target: StoredEvent) -> bool:
    """Whether the redaction, the next event of the head, empties its target."""
    keys = needed_keys(redaction.type, redaction.sender, None, {}, redaction.version)
    return may_redact(redaction, target.event, head.some(keys))


def _check_redaction(
    head: Head, write: Write, target: StoredEvent | None, state: Mapping[StateKey, Event]
) -> None:
    if target is None or target.room_nid != head.room.nid:
        raise not_found("Could not find the event to redact")
    if not write.privileged:
        check_redaction_request(write.draft.sender, target.event.sender, state)


def _same(one: JsonObject, other: JsonObject) -> bool:
    """Equal as JSON: unlike in Python, true is not 1."""
    return one == other and encode(one) == encode(other)


def _auth_keys(draft: Draft, head: Head) -> list[StateKey]:
    return auth_keys(draft.type, draft.sender, draft.state_key, draft.content, head.room.version)
