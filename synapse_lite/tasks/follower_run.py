"""One follower, from its claim until it is given back, or is lost."""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred

from synapse_lite.clock import Clock
from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import CommitUncertainError, Database, Transaction
from synapse_lite.storage.stream import Change, read_changes_of
from synapse_lite.storage.tasks import FollowerLease, LeaseLostError
from synapse_lite.tasks.errors import describe
from synapse_lite.tasks.followers import Committing, DatabaseFollower, Delivery, RegisteredFollower, Shard
from synapse_lite.tasks.metrics import TaskMetrics
from synapse_lite.tasks.run import Backoff
from synapse_lite.tasks.signals import Signal

logger = logging.getLogger(__name__)

IDLE_SECONDS = 5.0  # without a wake-up


@frozen
class Advanced:
    """What a step did. `more`: there may be more at once; `paused`: an operator wants it to stop.

    `wrote`: the follower has something to go on with.
    """

    more: bool = False
    paused: bool = False
    wrote: bool = False


@frozen
class Prepared:
    """What is to be delivered, up to a position; an empty `changes` with the position reached."""

    changes: Sequence[Change]
    upto: int
    paused: bool


class FollowerRun:
    """Advances one claimed follower, step after step.

    `is_current(lease)` is False when the incarnation that claimed is dead. `news` wakes it.
    """

    def __init__(
        self,
        lease: FollowerLease,
        registered: RegisteredFollower,
        database: Database,
        *,
        clock: Clock,
        metrics: TaskMetrics,
        backoff: Backoff,
        is_current: Callable[[FollowerLease], bool],
    ) -> None:
        self.news = Signal(clock)
        self._lease = lease
        self._spec = registered.spec
        handler = registered.handler
        self._advance = (  # asked once: whether a class follows a protocol takes long to find out
            partial(self._write, handler)
            if isinstance(handler, DatabaseFollower)
            else partial(self._deliver, handler)
        )
        self._shard = Shard(lease.shard, registered.spec.shards)
        self._database = database
        self._clock = clock
        self._metrics = metrics
        self._backoff = backoff
        self._is_current = is_current
        self._draining = False
        self._pausing: Deferred[None] | None = None

    @property
    def _title(self) -> str:
        return f"follower {self._lease.name}/{self._lease.shard}"

    def drain(self) -> None:
        """Give the follower back after the current step."""
        self._draining = True
        self.news.set()
        if self._pausing is not None:
            self._pausing.cancel()

    async def run(self) -> None:
        """Never raises: what could not be written down is found by the next claim."""
        try:
            await self._run_steps()
        except LeaseLostError as error:
            self._metrics.lease_lost.inc()
            logger.warning("%s", error)
        except Exception:
            logger.exception("%s is left as it is", self._title)

    async def _run_steps(self) -> None:
        while self._is_current(self._lease):
            if self._draining:
                await self._database.transact(store.release_follower, self._lease)
                return
            try:
                advanced = await self._step()
            except CommitUncertainError:
                continue  # the fence of the next step sees how far it came
            except LeaseLostError:
                raise
            except Exception as error:
                logger.exception("%s failed", self._title)
                await self._database.transact(
                    _record_failure, self._lease, describe(error), self._backoff.milliseconds
                )
                return
            if advanced.paused:
                await self._database.transact(store.release_follower, self._lease)
                return
            if not advanced.more:
                await self._wait()
        logger.warning("%s is dropped: its runner expired", self._title)

    async def _wait(self) -> None:
        """Until there is news, and something may have gathered: what comes after a rest is not kept waiting."""
        caught_up = self._clock.monotonic()
        await self.news.wait(IDLE_SECONDS)
        left = caught_up + self._spec.pause_seconds - self._clock.monotonic()
        if left > 0 and not self._draining:
            self._pausing = self._clock.sleep(left)
            with suppress(CancelledError):
                await self._pausing
            self._pausing = None

    async def _step(self) -> Advanced:
        with self._metrics.follower_seconds.labels(self._spec.name).time():
            return await self._advance()

    async def _write(self, handler: DatabaseFollower) -> Advanced:
        advanced = await self._database.transact(self._follow, handler)
        if advanced.wrote and isinstance(handler, Committing):
            handler.committed()
        return advanced

    def _follow(self, txn: Transaction, handler: DatabaseFollower) -> Advanced:
        txn.relax()
        fenced = store.fence_follower(txn, self._lease)
        if fenced.paused:
            return Advanced(paused=True)
        if fenced.position == fenced.head:
            return Advanced()
        limit = max(1, self._spec.batch >> fenced.attempt)  # a failure is soon alone in its batch
        changes = read_changes_of(txn, self._spec.kinds, fenced.position, fenced.head, limit)
        wrote = bool(changes) and bool(handler.follow(txn, changes, self._shard))
        is_full = len(changes) == limit
        store.advance_fenced(txn, self._lease, changes[-1].position if is_full else fenced.head)
        return Advanced(more=is_full, wrote=wrote)

    async def _deliver(self, handler: Delivery) -> Advanced:
        prepared = await self._database.transact(self._prepare)
        if prepared.paused:
            return Advanced(paused=True)
        if not prepared.changes:
            return Advanced()
        if not self._is_current(self._lease):
            raise LeaseLostError(f"{self._title} is no longer ours")
        key = f"{self._lease.name}/{self._lease.shard}/{prepared.upto}"
        await handler.deliver(prepared.changes, self._shard, key)
        await self._database.transact(store.advance_follower, self._lease, prepared.upto)
        return Advanced(more=True)

    def _prepare(self, txn: Transaction) -> Prepared:
        """The same changes again until they are delivered: a key stands for what it was first used for."""
        fenced = store.fence_follower(txn, self._lease)
        if fenced.paused or fenced.position == fenced.head:
            return Prepared([], fenced.position, fenced.paused)
        upto, limit = fenced.head, self._spec.batch
        if fenced.delivering is not None:
            upto, limit = fenced.delivering, fenced.delivering - fenced.position
        changes = read_changes_of(txn, self._spec.kinds, fenced.position, upto, limit)
        if not changes:
            store.advance_fenced(txn, self._lease, upto)
            return Prepared([], upto, paused=False)
        if fenced.delivering is None:
            upto = changes[-1].position if len(changes) == limit else upto
            store.begin_delivery(txn, self._lease, upto)
        return Prepared(changes, upto, paused=False)


def _record_failure(
    txn: Transaction, lease: FollowerLease, error: str, backoff_ms: Callable[[int], int]
) -> None:
    fenced = store.fence_follower(txn, lease)
    store.fail_follower(txn, lease, error, backoff_ms(fenced.attempt + 1))
