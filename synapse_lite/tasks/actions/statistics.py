"""Statistics of rooms and users: a follower that counts each event once."""

from collections.abc import Sequence

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.statistics import count_events
from synapse_lite.storage.stream import Change, Kind
from synapse_lite.tasks.followers import FollowerSpec, Shard

STATISTICS = FollowerSpec(
    name="statistics", kinds=frozenset({Kind.EVENT}), batch=1000, pause_seconds=1.0, delay_seconds=0.05
)


class Statistics:
    """The follower `STATISTICS`."""

    def follow(self, txn: Transaction, changes: Sequence[Change], _shard: Shard) -> None:
        events = [change.event_nid for change in changes if change.event_nid is not None]
        count_events(txn, events)
