"""State resolution of room version 1 ("State resolution" there).

Only keys that several states know with different events are conflicted: what one state lacks comes
from the others.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha1

from synapse_lite.matrix.auth_rules import AuthError, check_event, needed_keys
from synapse_lite.matrix.auth_rules.state import JOIN_RULES, POWER_LEVELS
from synapse_lite.matrix.event import Event, StateKey
from synapse_lite.matrix.state_resolution.graph import AuthGraph, Fetch
from synapse_lite.matrix.types import MEMBER

_StateIds = Mapping[StateKey, str]
_Conflicts = dict[StateKey, list[Event]]


def resolve_v1(state_sets: Sequence[_StateIds], fetch: Fetch) -> dict[StateKey, str]:
    """As `resolve`. Events that `fetch` does not know drop out of the conflict."""
    agreed, disputed = _split(state_sets)
    if not disputed:
        return agreed
    resolution = _Resolution(agreed, AuthGraph(fetch))
    conflicts = resolution.load(disputed)
    for is_of_step in (_is_power_levels, _is_join_rules, _is_member):
        step = {key: events for key, events in conflicts.items() if is_of_step(key)}
        resolution.settle({key: resolution.last_of_chain(events) for key, events in step.items()})
        conflicts = {key: events for key, events in conflicts.items() if key not in step}
    resolution.settle({key: resolution.deepest_allowed(events) for key, events in conflicts.items()})
    return resolution.ids


def _split(state_sets: Sequence[_StateIds]) -> tuple[dict[StateKey, str], dict[StateKey, set[str]]]:
    values: dict[StateKey, set[str]] = {}
    for state in state_sets:
        for key, event_id in state.items():
            values.setdefault(key, set()).add(event_id)
    agreed = {key: next(iter(event_ids)) for key, event_ids in values.items() if len(event_ids) == 1}
    return agreed, {key: event_ids for key, event_ids in values.items() if key not in agreed}


def _is_power_levels(key: StateKey) -> bool:
    return key == POWER_LEVELS


def _is_join_rules(key: StateKey) -> bool:
    return key == JOIN_RULES


def _is_member(key: StateKey) -> bool:
    return key[0] == MEMBER


def _rank(event: Event) -> tuple[int, int]:
    """Ascending: lesser depth first, then the greater SHA-1 of the id."""
    digest = sha1(event.event_id.encode(), usedforsecurity=False).digest()
    return event.depth, -int.from_bytes(digest, "big")


class _Resolution:
    """The state that is settled so far. Conflicts of one step do not see each other's outcome, so
    that their order does not matter.
    """

    def __init__(self, agreed: dict[StateKey, str], graph: AuthGraph) -> None:
        self.ids = agreed
        self._graph = graph

    def load(self, disputed: Mapping[StateKey, set[str]]) -> _Conflicts:
        """The known events of each conflict in their order; what they are judged by is loaded too."""
        self._graph.load({event_id for event_ids in disputed.values() for event_id in event_ids})
        conflicts = {key: sorted(self._graph.load(ids), key=_rank) for key, ids in disputed.items()}
        needed = {key for events in conflicts.values() for event in events for key in _needed(event)}
        self._graph.load({self.ids[key] for key in needed if key in self.ids})
        return {key: events for key, events in conflicts.items() if events}

    def settle(self, chosen: Mapping[StateKey, Event]) -> None:
        self.ids.update({key: event.event_id for key, event in chosen.items()})

    def last_of_chain(self, events: Sequence[Event]) -> Event:
        """The first event holds; each further one replaces it, up to the first that is not allowed."""
        last, *further = events
        for event in further:
            if not self._allows(event, last):
                break
            last = event
        return last

    def deepest_allowed(self, events: Sequence[Event]) -> Event:
        """The least deep one where none is allowed."""
        allowed = (event for event in reversed(events) if self._allows(event))
        return next(allowed, events[0])

    def _allows(self, event: Event, current: Event | None = None) -> bool:
        settled = [self.ids[key] for key in _needed(event) if key in self.ids]
        state = {known.key: known for known in self._graph.load(settled)}
        if current is not None:
            state[current.key] = current
        try:
            check_event(event, state)
        except AuthError:
            return False
        return True


def _needed(event: Event) -> Iterable[StateKey]:
    return needed_keys(event.type, event.sender, event.state_key, event.content, event.version)
