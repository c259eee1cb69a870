"""The two orders in which conflicted events are tried."""

import heapq
from collections.abc import Collection

from synapse_lite.matrix.auth_rules.state import POWER_LEVELS
from synapse_lite.matrix.event import Event
from synapse_lite.matrix.power_levels import Level, PowerLevels
from synapse_lite.matrix.state_resolution.graph import AuthGraph

_Rank = tuple[Level, int, str]


def power_order(event_ids: Collection[str], graph: AuthGraph, create: Event) -> list[Event]:
    """Causes first, then greater power, older, smaller id ("Reverse topological power ordering")."""
    events = {event.event_id: event for event in graph.load(event_ids)}
    causes = {
        event_id: {auth_id for auth_id in event.auth_events if auth_id in events}
        for event_id, event in events.items()
    }
    effects: dict[str, list[str]] = {event_id: [] for event_id in events}
    for event_id, cause_ids in causes.items():
        for cause_id in cause_ids:
            effects[cause_id].append(event_id)
    waiting = {event_id: len(cause_ids) for event_id, cause_ids in causes.items()}
    ranks = {event_id: _power_rank(event, graph, create) for event_id, event in events.items()}
    ready = [ranks[event_id] for event_id, count in waiting.items() if count == 0]
    heapq.heapify(ready)
    ordered = []
    while ready:
        *_, event_id = heapq.heappop(ready)
        ordered.append(events[event_id])
        for effect in effects[event_id]:
            waiting[effect] -= 1
            if waiting[effect] == 0:
                heapq.heappush(ready, ranks[effect])
    return ordered


def _power_rank(event: Event, graph: AuthGraph, create: Event) -> _Rank:
    """Smaller means earlier. The power is the one that the event's own auth events give."""
    levels = PowerLevels.read(create, graph.auth_event(event, POWER_LEVELS))
    return (-levels.user(event.sender), event.origin_server_ts, event.event_id)


def mainline_order(event_ids: Collection[str], graph: AuthGraph, power_levels: Event | None) -> list[Event]:
    """Those that lean on the oldest power levels first, then older, smaller id ("Mainline ordering")."""
    positions = _mainline(graph, power_levels)
    events = graph.load(event_ids)
    graph.load({auth_id for event in events for auth_id in event.auth_events})

    def rank(event: Event) -> _Rank:
        return (-_mainline_position(event, graph, positions), event.origin_server_ts, event.event_id)

    return sorted(events, key=rank)


def _mainline(graph: AuthGraph, power_levels: Event | None) -> dict[str, Level]:
    positions: dict[str, Level] = {}
    current = power_levels
    while current is not None and current.event_id not in positions:
        positions[current.event_id] = len(positions)
        current = graph.auth_event(current, POWER_LEVELS)
    return positions


def _mainline_position(event: Event, graph: AuthGraph, positions: dict[str, Level]) -> Level:
    """Also notes in `positions` what it learns about the power levels on the way."""
    passed = []
    current = graph.auth_event(event, POWER_LEVELS)
    while current is not None and current.event_id not in positions:
        passed.append(current.event_id)
        current = graph.auth_event(current, POWER_LEVELS)
    position = float("inf") if current is None else positions[current.event_id]
    positions.update(dict.fromkeys(passed, position))
    return position
