"""What of the stream memory knows, for those who read the database."""

from collections.abc import Collection, Iterable, Sequence

from attrs import evolve, frozen

from synapse_lite.replication.changes import ChangeLog
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import (
    Change,
    Kind,
    Scope,
    kinds_of,
    quiet_changes,
    read_changes,
    with_devices,
)

MOST_MISSED = 1_000


@frozen
class Recent:
    """All changes at `since` < position <= `position`."""

    since: int
    position: int
    changes: Sequence[Change] = ()

    @classmethod
    def of(cls, log: ChangeLog, positions: Iterable[int]) -> "Recent":
        """From the lowest of the positions on from which memory knows all."""
        for position in sorted(positions):
            changes = log.since(position)
            if changes is not None:
                return cls(position, max(position, log.position), changes)
        return cls(log.position, log.position)

    def until(self, txn: Transaction, position: int) -> "Recent":
        """With what the transaction sees and memory does not know yet."""
        if position <= self.position:
            return self
        more = read_changes(txn, self.position, MOST_MISSED)
        if len(more) == MOST_MISSED:
            return Recent(position, position)
        return evolve(self, position=position, changes=[*self.changes, *map(with_devices, more)])

    def quiet(
        self,
        txn: Transaction,
        user_id: str,
        room_nids: Collection[int],
        kinds: Collection[Kind],
        after: int,
    ) -> list[Change]:
        """What changed since beside events, of the rooms and of the user alone, in order."""
        changes = self.between(after, self.position)
        if changes is None:
            return quiet_changes(txn, user_id, room_nids, kinds, after, self.position)
        return _quiet_of(changes, user_id, room_nids, kinds)

    def between(self, after: int, upto: int) -> Sequence[Change] | None:
        """The changes at after < position <= upto; None: not all are known."""
        if after < self.since or upto > self.position:
            return None
        return [change for change in self.changes if after < change.position <= upto]


def _quiet_of(
    changes: Iterable[Change], user_id: str, room_nids: Collection[int], kinds: Collection[Kind]
) -> list[Change]:
    """As `storage.stream.quiet_changes`, of these changes."""
    in_rooms = kinds_of(Scope.ROOM)
    return [
        change
        for change in changes
        if change.kind in kinds
        and change.kind is not Kind.EVENT
        and (change.room_nid in room_nids if change.kind in in_rooms else change.user_id == user_id)
    ]


def rooms_of(
    changes: Iterable[Change], user_id: str, room_nids: Collection[int], kinds: Collection[Kind]
) -> set[int]:
    """The rooms of these that something happened in, and those in which something happened to the user."""
    return {
        change.room_nid
        for change in changes
        if change.kind in kinds
        and change.room_nid is not None
        and (change.room_nid in room_nids or change.user_id == user_id)
    }
