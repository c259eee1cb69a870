"""Keeping what others name, a state or an auth chain, however much that is."""

from collections.abc import Iterator, Mapping

from synapse_lite.federation.turns import take_turns
from synapse_lite.matrix.event import Event
from synapse_lite.rooms.receive import EventReceiver

SLICE = 500  # events for which the room is locked at a time


async def store_in_slices(receiver: EventReceiver, room_nid: int, events: Mapping[str, Event]) -> None:
    """Those of the events, by id, whose auth events are among them or known. Whoever stops on the way has lost nothing."""
    ordered = await causes_first(events)
    for start in range(0, len(ordered), SLICE):
        await receiver.store_outliers(room_nid, ordered[start : start + SLICE])


async def causes_first(events: Mapping[str, Event]) -> list[Event]:
    """Each event behind its auth events, as far as these are among them; cycles are left out. Of many, others have their turn meanwhile."""
    ordered: list[Event] = []
    await take_turns(_order(events, ordered))
    return ordered


def _order(events: Mapping[str, Event], ordered: list[Event]) -> Iterator[None]:
    missing: dict[str, set[str]] = {}
    effects: dict[str, list[str]] = {}
    for one, event in events.items():
        missing[one] = {cause for cause in event.auth_events if cause in events}
        for cause in missing[one]:
            effects.setdefault(cause, []).append(one)
        yield
    ready = [one for one, causes in missing.items() if not causes]
    for one in ready:  # which grows
        ordered.append(events[one])
        for effect in effects.get(one, ()):
            missing[effect].discard(one)
            if not missing[effect]:
                ready.append(effect)
            yield
        yield
