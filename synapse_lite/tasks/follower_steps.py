"""Steps of the followers that work in the database. Those that ask at once take one transaction together.

A message that comes alone wakes all of them. Together they ask for it once and commit once, and a worker and PostgreSQL
change places a third as often, in the very moment in which clients are told of it.
"""

import logging
from collections.abc import Collection

from attrs import frozen
from twisted.internet.defer import Deferred

from synapse_lite.clock import Clock
from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.stream import Change, Kind, read_changes_of
from synapse_lite.storage.tasks import FencedFollower, FollowerLease
from synapse_lite.tasks.followers import DatabaseFollower, FollowerSpec, Shard

logger = logging.getLogger(__name__)

SHARED_LAG = 100
"""Positions. Who is further behind steps alone, so that nobody waits for that."""
ATTEMPTS = 2
"""So often a follower is given back because of a change that is alone in its step; for a day, others of its room
are passed over at once.
"""
MOST_PLACES = 20
"""In so many rooms of a day changes are passed over: where more fail, the changes are not to blame."""
DAY_MS = 24 * 3600 * 1000
LOCK_WAIT_MS = 50
"""Who meets a lock steps alone, too. As PostgreSQL looks for deadlocks later, there are none with those together."""


@frozen
class Advanced:
    """What a step did. `more`: there may be more at once; `paused`: an operator wants it to stop.

    `wrote`: the follower has something to go on with.
    """

    more: bool = False
    paused: bool = False
    wrote: bool = False


@frozen(eq=False)
class ClaimedFollower:
    """A follower that is ours."""

    lease: FollowerLease
    spec: FollowerSpec
    shard: Shard
    handler: DatabaseFollower


class Steps:
    """Of the followers of one process.

    Together there is only what goes well: after an error of any of them nothing of it stays, and each steps alone. So
    failures, and what is done about them, are of one follower.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._asking: dict[ClaimedFollower, Deferred[Advanced | None]] = {}

    async def take(self, follower: ClaimedFollower) -> Advanced:
        """With those that ask in the same turn of the reactor; raises only what its own step raises."""
        if not self._asking:
            self._clock.call_later(0, self._begin)
        answer = self._asking[follower] = Deferred()
        return await answer or await self.take_alone(follower)

    async def take_alone(self, follower: ClaimedFollower) -> Advanced:
        return await self._database.transact(follow_alone, follower)

    def _begin(self) -> None:
        asking, self._asking = self._asking, {}
        Deferred.fromCoroutine(self._take_together(asking))

    async def _take_together(self, asking: dict[ClaimedFollower, "Deferred[Advanced | None]"]) -> None:
        advanced: dict[ClaimedFollower, Advanced] = {}
        if len(asking) > 1:
            try:
                advanced = await self._database.transact(follow_together, list(asking))
            except Exception as error:  # noqa: BLE001 (who raised it raises it alone, too)
                logger.info("followers step one by one: %r", error)
        for follower, answer in asking.items():
            answer.callback(advanced.get(follower))


def follow_alone(txn: Transaction, follower: ClaimedFollower, *, singly: bool = False) -> Advanced:
    """`singly`: one change at most, as with one who failed."""
    txn.relax()
    fenced = store.fence_follower(txn, follower.lease)
    if fenced.paused:
        return Advanced(paused=True)
    if fenced.lag == 0:
        return Advanced()
    limit = 1 if singly or fenced.attempt else follower.spec.batch
    changes = read_changes_of(txn, follower.spec.kinds, fenced.position, fenced.head, limit)
    wrote = bool(changes) and bool(follower.handler.follow(txn, changes, follower.shard))
    is_full = len(changes) == limit
    store.advance_fenced(txn, [follower.lease], changes[-1].position if is_full else fenced.head)
    return Advanced(more=is_full, wrote=wrote)


def pass_over(txn: Transaction, follower: ClaimedFollower, error: str) -> Change | None:
    """Go on behind the next change, with which a step of nothing else failed. None: it has to be tried again."""
    fenced = store.fence_follower(txn, follower.lease)
    changes = read_changes_of(txn, follower.spec.kinds, fenced.position, fenced.head, 1)
    if fenced.paused or not changes:
        return None
    change = changes[0]
    is_known, places = store.rooms_passed_over(txn, follower.lease, change.room_nid, DAY_MS)
    if not is_known and (fenced.attempt + 1 < ATTEMPTS or places >= MOST_PLACES):
        return None
    store.record_passed_over(txn, follower.lease, change, error)
    store.advance_fenced(txn, [follower.lease], change.position)
    return change


def follow_together(
    txn: Transaction, followers: Collection[ClaimedFollower]
) -> dict[ClaimedFollower, Advanced]:
    """A step of each that is close to the end of the stream. The others, which are left out, have to step alone."""
    txn.relax()
    txn.later(f"SET LOCAL lock_timeout = {LOCK_WAIT_MS}")
    fences = store.fence_followers(txn, [one.lease for one in followers])
    fenced = [(one, fences[one.lease]) for one in followers if one.lease in fences]
    advanced = {one: Advanced() for one, fence in fenced if fence.lag == 0 and not fence.paused}
    close = [(one, fence) for one, fence in fenced if _is_close(fence)]
    if not close:
        return advanced
    kinds = frozenset[Kind]().union(*(one.spec.kinds for one, _ in close))
    after, head = min(fence.position for _, fence in close), close[0][1].head
    changes = read_changes_of(txn, kinds, after, head, SHARED_LAG)
    moved = []
    for one, fence in close:
        own = [c for c in changes if c.position > fence.position and c.kind in one.spec.kinds]
        if len(own) <= one.spec.batch:
            wrote = bool(own) and bool(one.handler.follow(txn, own, one.shard))
            advanced[one] = Advanced(wrote=wrote)
            moved.append(one.lease)
    store.advance_fenced(txn, moved, head)
    return advanced


def _is_close(fence: FencedFollower) -> bool:
    """Who failed steps alone until it has succeeded."""
    return not fence.paused and fence.attempt == 0 and 0 < fence.lag <= SHARED_LAG
