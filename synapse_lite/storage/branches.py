"""A room's head in memory while a transaction adds events to it.

A room has one main branch, which ends in its forward extremities. Events that must hang on the
room's past (see `Anchor`) make a branch of their own.
"""

from collections.abc import Iterable, Mapping

from attrs import define, field, frozen

from synapse_lite.canonical_json import MAX_SAFE_INTEGER, JsonObject, encode
from synapse_lite.errors import not_found
from synapse_lite.matrix.auth_rules import (
    auth_keys,
    check_event,
    check_redaction_request,
    may_redact,
    needed_keys,
)
from synapse_lite.matrix.event import MAX_PREV_EVENTS, Draft, Event, build_event
from synapse_lite.matrix.room_versions import RoomVersion
from synapse_lite.matrix.signing import SigningKey
from synapse_lite.storage.events import StoredEvent
from synapse_lite.storage.state import StateKey

_ENTERING = frozenset({"join", "invite", "knock"})


@frozen
class Anchor:
    """A point of the room's past to follow: where the sender of the new events was still joined."""

    event_nid: int
    snapshot_nid: int
    depth: int


@frozen
class Write:
    """An event that somebody wants in a room.

    `session` and `txn_id` name the client's request: a second write with the same pair yields the
    first one's event. `privileged` lets a redaction through for which other servers do not ask the
    redact level: one of a user of this server, on behalf of a server admin.
    """

    room_nid: int
    draft: Draft
    session: str | None = None
    txn_id: str | None = None
    anchor: Anchor | None = None
    privileged: bool = False


@frozen
class Room:
    """What never changes about a room."""

    nid: int
    room_id: str
    version: RoomVersion


@define
class Branch:
    """`tips` are the events to follow, `state` is what is known of the state after them."""

    room: Room
    tips: list[StoredEvent]
    depth: int
    snapshot_nid: int
    is_blocked: bool = False
    state: dict[StateKey, StoredEvent] = field(factory=dict)
    changed: dict[StateKey, StoredEvent] = field(factory=dict)
    written: int = 0

    def build(self, write: Write, targets: Mapping[str, StoredEvent], signing_key: SigningKey) -> Event:
        """The next event; `AuthError` when the rules of the room forbid it."""
        draft = write.draft
        state = self._state_of(draft_needs(draft, self.room.version))
        previous = sorted(self.tips, key=lambda tip: tip.event.depth)[-MAX_PREV_EVENTS:]
        event = build_event(
            draft,
            self.room.version,
            self.room.room_id,
            [tip.event.event_id for tip in previous],
            [state[key].event_id for key in _auth_keys(draft, self.room.version) if key in state],
            min(self.depth + 1, MAX_SAFE_INTEGER),
            signing_key,
        )
        check_event(event, state)
        if event.redacts is not None:
            self._check_redaction(write, targets.get(event.redacts), state)
        return event

    def unchanged(self, draft: Draft) -> StoredEvent | None:
        """The state event that says already what the draft says."""
        if draft.state_key is None:
            return None
        current = self.state.get((draft.type, draft.state_key))
        if current and current.event.sender == draft.sender and _same(current.event.content, draft.content):
            return current
        return None

    def admits(self, draft: Draft) -> bool:
        """Whether the draft brings somebody in, or nearer: a join, an invite or a knock."""
        if draft.type != "m.room.member" or draft.content.get("membership") not in _ENTERING:
            return False
        current = self.state.get((draft.type, draft.state_key or ""))
        return current is None or current.event.membership != "join"

    def applies(self, redaction: Event, target: StoredEvent) -> bool:
        state = self._state_of(needed_keys(redaction.type, redaction.sender, None, {}, redaction.version))
        return may_redact(redaction.sender, target.event.sender, state)

    def advance(self, stored: StoredEvent) -> None:
        """Make the event the branch's new end."""
        followed = set(stored.event.prev_events)
        self.tips = [tip for tip in self.tips if tip.event.event_id not in followed] + [stored]
        self.depth = max(self.depth, stored.event.depth)
        self.snapshot_nid = stored.after_nid
        self.written += 1
        if stored.event.is_state:
            self.state[stored.event.key] = self.changed[stored.event.key] = stored

    def _state_of(self, keys: Iterable[StateKey]) -> dict[StateKey, Event]:
        return {key: self.state[key].event for key in keys if key in self.state}

    def _check_redaction(
        self, write: Write, target: StoredEvent | None, state: Mapping[StateKey, Event]
    ) -> None:
        if target is None or target.room_nid != self.room.nid:
            raise not_found("Could not find the event to redact")
        if not write.privileged:
            check_redaction_request(write.draft.sender, target.event.sender, state)


def _same(one: JsonObject, other: JsonObject) -> bool:
    """Equal as JSON: unlike in Python, true is not 1."""
    return one == other and encode(one) == encode(other)


def draft_needs(draft: Draft, version: RoomVersion) -> list[StateKey]:
    """The state by which a draft is judged, and, for a state event, what it replaces."""
    needed = needed_keys(draft.type, draft.sender, draft.state_key, draft.content, version)
    return needed if draft.state_key is None else [*needed, (draft.type, draft.state_key)]


def _auth_keys(draft: Draft, version: RoomVersion) -> list[StateKey]:
    return auth_keys(draft.type, draft.sender, draft.state_key, draft.content, version)
