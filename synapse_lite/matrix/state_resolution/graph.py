"""The graph of `auth_events`, loaded as far as needed."""

from collections.abc import Callable, Collection, Iterable, Mapping

from synapse_lite.matrix.event import Event, StateKey

Fetch = Callable[[Collection[str]], Mapping[str, Event]]


class AuthGraph:
    """Fetches in batches and remembers. Events that `fetch` does not know are left out everywhere."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._events: dict[str, Event] = {}
        self._asked: set[str] = set()

    def load(self, event_ids: Iterable[str]) -> list[Event]:
        """The known ones of the events, in the order of their ids."""
        wanted = list(event_ids)
        new = set(wanted) - self._asked
        if new:
            self._asked |= new
            self._events.update(self._fetch(new))
        return [self._events[event_id] for event_id in wanted if event_id in self._events]

    def auth_events(self, event: Event) -> list[Event]:
        return self.load(event.auth_events)

    def auth_event(self, event: Event, key: StateKey) -> Event | None:
        """The auth event of this (type, state_key)."""
        found = (other for other in self.auth_events(event) if other.is_state and other.key == key)
        return next(found, None)

    def chain(self, event_ids: Iterable[str]) -> set[str]:
        """All events reachable by one or more steps along `auth_events`: without the start itself,
        unless another of the start leads there.
        """
        reached: set[str] = set()
        layer = self.load(set(event_ids))
        while layer:
            below = {event_id for event in layer for event_id in event.auth_events} - reached
            layer = self.load(below)
            reached |= {event.event_id for event in layer}
        return reached

    def subgraph(self, event_ids: Collection[str]) -> set[str]:
        """Every event on a path along `auth_events` from one of these events to another, and these."""
        above: dict[str, list[str]] = {}
        for event in self.load(self.chain(event_ids) | set(event_ids)):
            for auth_id in event.auth_events:
                above.setdefault(auth_id, []).append(event.event_id)
        reached = {event.event_id for event in self.load(event_ids)}
        layer = list(reached)
        while layer:
            layer = list({upper for event_id in layer for upper in above.get(event_id, ())} - reached)
            reached.update(layer)
        return reached
