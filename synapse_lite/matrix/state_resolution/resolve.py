"""The algorithm; nothing here recurses, so that long histories cannot exhaust the stack."""

from collections.abc import Container, Iterable, Mapping, Sequence

from synapse_lite.matrix.auth_rules import AuthError, check_event, needed_keys
from synapse_lite.matrix.auth_rules.state import CREATE, JOIN_RULES, POWER_LEVELS
from synapse_lite.matrix.event import Event, StateKey
from synapse_lite.matrix.room_versions import RoomVersion
from synapse_lite.matrix.state_resolution.graph import AuthGraph, Fetch
from synapse_lite.matrix.state_resolution.ordering import mainline_order, power_order
from synapse_lite.matrix.state_resolution.v1 import resolve_v1
from synapse_lite.matrix.types import MEMBER

_StateIds = Mapping[StateKey, str]


def resolve(
    version: RoomVersion,
    state_sets: Sequence[_StateIds],
    fetch: Fetch,
    rejected: Container[str] = frozenset(),
) -> dict[StateKey, str]:
    """The resolution of several states, as event ids by (type, state_key).

    `fetch` returns events by id, leaves out those it does not know, and is called with batches.
    `rejected` holds the ids of rejected events: they take part, but no other event may lean on
    them. Every state set must hold the create event; without one, conflicted keys are dropped.
    Room version 1 has an algorithm of its own, which looks at the states alone.
    """
    if version.state_resolution == "v1":
        return resolve_v1(state_sets, fetch)
    unconflicted, conflicted = _split(state_sets)
    if not conflicted:
        return unconflicted
    graph = AuthGraph(fetch)
    creates = graph.load({state[CREATE] for state in state_sets if CREATE in state})
    if not creates:
        return unconflicted
    create = min(creates, key=lambda event: event.event_id)
    full_conflicted = conflicted | _auth_difference(state_sets, unconflicted, graph)
    is_newer = version.state_resolution == "v2.1"
    if is_newer:
        full_conflicted |= graph.subgraph(conflicted)
    powerful = _power_events(full_conflicted, graph)
    state = _Resolution({} if is_newer else dict(unconflicted), graph, create, rejected)
    state.apply(power_order(powerful, graph, create))
    rest = full_conflicted - powerful
    state.apply(mainline_order(rest, graph, state.event(POWER_LEVELS)))
    return {**state.ids, **unconflicted}


def _split(state_sets: Sequence[_StateIds]) -> tuple[dict[StateKey, str], set[str]]:
    """The unconflicted state, and the ids of all other events."""
    unconflicted: dict[StateKey, str] = {}
    conflicted: set[str] = set()
    for key in {key for state in state_sets for key in state}:
        values = {state.get(key) for state in state_sets}
        known = {event_id for event_id in values if event_id is not None}
        if len(values) == 1:
            unconflicted[key] = known.pop()
        else:
            conflicted |= known
    return unconflicted, conflicted


def _auth_difference(state_sets: Sequence[_StateIds], unconflicted: _StateIds, graph: AuthGraph) -> set[str]:
    """Events in the auth chain of some, but not of every state.

    The events of a state count as part of its chain, so that what all states hold never differs. The
    wording of the specification leaves them out; then a member event that all states share would be
    tried again as soon as one side leans on it, and change the order of events with equal power.

    What the unconflicted state leads to is in every chain. So only the chains of conflicted events
    are compared, and the (much larger) rest is walked only if they differ.
    """
    shared = set(unconflicted.values())
    chains = [graph.chain(set(state.values()) - shared) for state in state_sets]
    difference = set().union(*chains) - chains[0].intersection(*chains) - shared
    return difference - graph.chain(shared) if difference else difference


def _power_events(full_conflicted: set[str], graph: AuthGraph) -> set[str]:
    """The power events of the set, and what of their auth chains is in the set."""
    powerful = {event.event_id for event in graph.load(full_conflicted) if is_power_event(event)}
    return powerful | (graph.chain(powerful) & full_conflicted)


def is_power_event(event: Event) -> bool:
    """Whether it says who may do what ("Power events")."""
    if not event.is_state:
        return False
    if event.type == MEMBER:
        return event.membership in {"leave", "ban"} and event.sender != event.state_key
    return event.key in {POWER_LEVELS, JOIN_RULES}


class _Resolution:
    """A state that grows by the events that the rules allow on it ("Iterative auth checks")."""

    def __init__(
        self, state_ids: dict[StateKey, str], graph: AuthGraph, create: Event, rejected: Container[str]
    ) -> None:
        self.ids = state_ids
        self._graph = graph
        self._create = create
        self._rejected = rejected

    def event(self, key: StateKey) -> Event | None:
        event_id = self.ids.get(key)
        return None if event_id is None else next(iter(self._graph.load([event_id])), None)

    def apply(self, events: Sequence[Event]) -> None:
        needed = {key for event in events for key in _needed_keys(event)}
        self._graph.load({self.ids[key] for key in needed if key in self.ids})
        self._graph.load({auth_id for event in events for auth_id in event.auth_events})
        for event in events:
            if event.is_state and self._allows(event):
                self.ids[event.key] = event.event_id

    def _allows(self, event: Event) -> bool:
        auth_events = self._graph.auth_events(event)
        known = {
            auth_event.key: auth_event
            for auth_event in auth_events
            if auth_event.is_state and auth_event.event_id not in self._rejected
        }
        known[CREATE] = self._create
        for key in _needed_keys(event):
            current = self.event(key)
            if current is not None:
                known[key] = current
        try:
            check_event(event, known)
        except AuthError:
            return False
        return True


def _needed_keys(event: Event) -> Iterable[StateKey]:
    return needed_keys(event.type, event.sender, event.state_key, event.content, event.version)
