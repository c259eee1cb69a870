"""What happens behind the events: followers read the one stream, each from its own position.

A follower is owned by one process at a time, as a task is: claimed only by those that registered it, fenced by an
epoch, taken over within a lease. One that works in the database advances in the same commit: exactly once. One that
talks to the outside is told the same changes with the same key until it has succeeded: at least once.
"""

import zlib
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from attrs import frozen

from synapse_lite.errors import SynapseLiteError
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import Change, Kind


@frozen
class Shard:
    """A share of the destinations: number `index` of `count`."""

    index: int
    count: int

    def owns(self, destination: str) -> bool:
        """Every destination belongs to one shard, whatever the process."""
        return zlib.crc32(destination.encode()) % self.count == self.index


@frozen
class FollowerSpec:
    """A follower of the changes of some kinds.

    It is handed at most `batch` changes at a time, and lets them gather: when it has caught up, it looks again after
    `pause_seconds` at the earliest, and `delay_seconds` after the first news, so as not to be in the way of those who
    are waited for. Each of the `shards` sees all changes, and acts on the destinations that it `owns`. A new follower
    begins at the start of the stream, or `from_now` on.
    """

    name: str
    kinds: frozenset[Kind]
    batch: int = 500
    pause_seconds: float = 0.0
    delay_seconds: float = 0.0
    shards: int = 1
    from_now: bool = False


@runtime_checkable
class DatabaseFollower(Protocol):
    """One whose work is in the database."""

    def follow(self, txn: Transaction, changes: Sequence[Change], shard: Shard) -> bool | None:
        """In the transaction that advances the follower. An exception undoes both; it is tried again later.

        One that is `Committing` says whether it wrote something to go on with.
        """


@runtime_checkable
class Committing(Protocol):
    """A `DatabaseFollower` that goes on elsewhere with what it wrote."""

    def committed(self) -> None:
        """On the reactor, after a step that wrote something is committed. Not called after a crash."""


@frozen
class Told:
    """What is to be told next: the `changes` since the position `after`. The `key` stands for these, and never for others.

    As long as `claim` is the same, nobody else has told anything meanwhile.
    """

    changes: Sequence[Change]
    after: int
    shard: Shard
    key: str
    claim: int


class NobodyListensError(SynapseLiteError):
    """Whoever is to be told takes nothing for the moment."""


class Delivery(Protocol):
    """One that talks to the outside."""

    async def deliver(self, told: Told) -> None:
        """May be called again with the same, also by another process, until it returns. Raises `NobodyListensError`, too: it is
        tried again after a pause that doubles.
        """


@runtime_checkable
class Preparing(Protocol):
    """A `Delivery` that looks first whether there is anything to tell."""

    def prepare(self, txn: Transaction, told: Told) -> bool:
        """In the transaction that notes what is delivered next, each time. False: nobody has to hear of these changes."""


@frozen
class RegisteredFollower:
    """A follower, and what runs it here."""

    spec: FollowerSpec
    handler: DatabaseFollower | Delivery
