"""Events that are known by themselves, such as auth events: no part of the history of their room."""

from collections.abc import Mapping, Sequence

from synapse_lite.rooms.judge import Judged
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import NewEvent, Standing, StoredEvent
from synapse_lite.storage.nids import NidSequence


def new_outliers(
    txn: Transaction, nids: NidSequence, room_nid: int, judged: Sequence[Judged], known: Mapping[str, int]
) -> list[NewEvent]:
    """What is to be stored of them, causes first. `known` are the nids of events that are stored."""
    new: list[NewEvent] = []
    found = dict(known)
    for one in judged:
        standing = Standing.OUTLIER if one.rejected is None else Standing.REJECTED
        stored = StoredEvent(nids.next(txn), room_nid, one.event, None, None, standing=standing)
        auth_nids = [found[event_id] for event_id in one.event.auth_events if event_id in found]
        new.append(NewEvent(stored, auth_nids, one.rejected))
        found[one.event.event_id] = stored.nid
    return new
