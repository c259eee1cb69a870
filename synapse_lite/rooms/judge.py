"""May an event of another server happen? What its own auth events say of it.

The checks are those that the specification asks of every event that is received (server-server API, "Checks
performed on receipt of a PDU"): by its auth events, by the state before it, by the current state.
"""

from collections.abc import Iterable, Mapping, Sequence

from attrs import frozen

from synapse_lite.errors import SynapseLiteError
from synapse_lite.matrix.auth_rules import AuthError, check_auth_events, check_event, needed_keys
from synapse_lite.matrix.event import Event, StateKey
from synapse_lite.storage.events import Standing, StoredEvent


class MissingEventsError(SynapseLiteError):
    """Events that have to be fetched first: without them nothing can be said about the one that names them."""

    def __init__(self, event_ids: Iterable[str]) -> None:
        self.event_ids = frozenset(event_ids)
        super().__init__(f"{len(self.event_ids)} events are not known: {sorted(self.event_ids)[:3]}")


@frozen
class Judged:
    """An event, and why it is rejected; None: it is not."""

    event: Event
    rejected: str | None = None


def judged_earlier(known: Mapping[str, StoredEvent]) -> dict[str, Judged]:
    """Stored events, as they were judged when they came."""
    return {
        event_id: Judged(
            stored.event, "It was rejected earlier" if stored.standing is Standing.REJECTED else None
        )
        for event_id, stored in known.items()
    }


def judge_by_auth_events(event: Event, auth_events: Sequence[Judged], create: Event) -> str | None:
    """Why the event is to be rejected; None when its auth events allow it."""
    for one in auth_events:
        if one.rejected is not None:
            return f"Its auth event {one.event.event_id} was rejected"
    events = [one.event for one in auth_events]
    try:
        check_auth_events(event, events)
    except AuthError as error:
        return error.message
    state = {create.key: create, **{one.key: one for one in events}}
    return judge_by_state(event, state)


def needs_of(event: Event) -> list[StateKey]:
    """The state by which the event is judged."""
    return needed_keys(event.type, event.sender, event.state_key, event.content, event.version)


def judge_by_state(event: Event, state: Mapping[StateKey, Event]) -> str | None:
    """Why the state forbids the event; None when it does not."""
    try:
        check_event(event, state)
    except AuthError as error:
        return error.message
    return None


def judge_chain(known: Mapping[str, Judged], fetched: Iterable[Event], create: Event) -> dict[str, Judged]:
    """The events that were fetched, each judged by its auth events, causes first; those that are known left out.

    An event whose auth events are not all at hand is left out, too: whoever leans on it has to ask again.
    """
    waiting = {event.event_id: event for event in fetched if event.event_id not in known}
    missing = {event_id: set(event.auth_events) - known.keys() for event_id, event in waiting.items()}
    effects: dict[str, list[str]] = {}
    for event_id, causes in missing.items():
        for cause in causes:
            effects.setdefault(cause, []).append(event_id)
    judged: dict[str, Judged] = {}
    ready = [event_id for event_id, causes in missing.items() if not causes]
    while ready:
        event = waiting[ready.pop()]
        auth_events = [judged.get(event_id) or known[event_id] for event_id in event.auth_events]
        judged[event.event_id] = Judged(event, judge_by_auth_events(event, auth_events, create))
        for effect in effects.get(event.event_id, ()):
            missing[effect].discard(event.event_id)
            if not missing[effect]:
                ready.append(effect)
    return judged


def all_of(judged: Mapping[str, Judged], event_ids: Sequence[str]) -> list[Judged]:
    """Those with the ids; `MissingEventsError` unless all are there."""
    missing = [event_id for event_id in event_ids if event_id not in judged]
    if missing:
        raise MissingEventsError(missing)
    return [judged[event_id] for event_id in event_ids]
