"""One follower, from its claim until it is given back, or is lost."""

import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred

from synapse_lite.clock import Clock
from synapse_lite.errors import UnavailableError
from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import CommitUncertainError, Database, DatabaseError, Transaction
from synapse_lite.storage.stream import read_changes_of
from synapse_lite.storage.tasks import FollowerLease, LeaseLostError
from synapse_lite.storage.unstorable import BAD_VALUES
from synapse_lite.tasks.errors import describe
from synapse_lite.tasks.follower_steps import Advanced, ClaimedFollower, Steps, follow_alone, pass_over
from synapse_lite.tasks.followers import (
    Committing,
    DatabaseFollower,
    Delivery,
    NobodyListensError,
    Preparing,
    RegisteredFollower,
    Shard,
    Told,
)
from synapse_lite.tasks.metrics import TaskMetrics
from synapse_lite.tasks.run import Backoff
from synapse_lite.tasks.signals import Signal

logger = logging.getLogger(__name__)

IDLE_SECONDS = 5.0  # without a wake-up


@frozen
class Prepared:
    """What is to be told up to a position; None: nothing, and whether there is more behind it."""

    told: Told | None
    upto: int
    paused: bool = False
    more: bool = False


class FollowerRun:
    """Advances one claimed follower, step after step.

    `is_current(lease)` is False when the incarnation that claimed is dead. `news` wakes it.
    """

    def __init__(
        self,
        lease: FollowerLease,
        registered: RegisteredFollower,
        database: Database,
        steps: Steps,
        *,
        clock: Clock,
        metrics: TaskMetrics,
        backoff: Backoff,
        is_current: Callable[[FollowerLease], bool],
    ) -> None:
        self.news = Signal(clock)
        self._lease = lease
        self._spec = registered.spec
        self._shard = Shard(lease.shard, registered.spec.shards)
        handler = registered.handler
        self._advance = (  # asked once: whether a class follows a protocol takes long to find out
            partial(self._write, ClaimedFollower(lease, registered.spec, self._shard, handler))
            if isinstance(handler, DatabaseFollower)
            else partial(self._deliver, handler)
        )
        self._preparing = handler if isinstance(handler, Preparing) else None
        self._is_behind = False
        self._singly = 0  # so many further steps are of one change
        self._database = database
        self._steps = steps
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
                if isinstance(error, NobodyListensError):
                    logger.warning("%s waits: %s", self._title, error)
                else:
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
        """Until there is news, and something may have gathered."""
        caught_up = self._clock.monotonic()
        await self.news.wait(IDLE_SECONDS)
        left = max(self._spec.delay_seconds, caught_up + self._spec.pause_seconds - self._clock.monotonic())
        if left > 0 and not self._draining:
            self._pausing = self._clock.sleep(left)
            with suppress(CancelledError):
                await self._pausing
            self._pausing = None

    async def _step(self) -> Advanced:
        with self._metrics.follower_seconds.labels(self._spec.name).time():
            return await self._advance()

    async def _write(self, claimed: ClaimedFollower) -> Advanced:
        try:
            advanced = await self._take(claimed)
        except Exception as error:  # (it is told, unless the next step goes well)
            if _blames_no_change(error):
                raise
            if self._singly:
                return await self._pass_over(claimed, error)
            self._singly = self._spec.batch
            return Advanced(more=True)
        self._is_behind = advanced.more
        if advanced.wrote and isinstance(claimed.handler, Committing):
            claimed.handler.committed()
        return advanced

    async def _take(self, claimed: ClaimedFollower) -> Advanced:
        if self._singly:
            advanced = await self._database.transact(follow_alone, claimed, singly=True)
            self._singly -= 1
            return advanced
        return await (self._steps.take_alone if self._is_behind else self._steps.take)(claimed)

    async def _pass_over(self, claimed: ClaimedFollower, error: Exception) -> Advanced:
        """One change must not stop all that come after it. Raises the error while the change is to be tried again."""
        change = await self._database.transact(pass_over, claimed, describe(error))
        if change is None:
            raise error
        self._metrics.passed_over.labels(self._spec.name).inc()
        logger.error(
            "%s goes on behind change %d, which fails each time", self._title, change.position, exc_info=error
        )
        return Advanced(more=True)

    async def _deliver(self, handler: Delivery) -> Advanced:
        prepared = await self._database.transact(self._prepare)
        told = prepared.told
        if told is None:
            return Advanced(more=prepared.more, paused=prepared.paused)
        if not self._is_current(self._lease):
            raise LeaseLostError(f"{self._title} is no longer ours")
        await handler.deliver(told)
        await self._database.transact(_advance, self._lease, prepared.upto)
        return Advanced(more=True)

    def _prepare(self, txn: Transaction) -> Prepared:
        """The same changes again until they are delivered: a key stands for what it was first used for."""
        txn.relax()
        fenced = store.fence_follower(txn, self._lease)
        if fenced.paused or fenced.lag == 0:
            return Prepared(None, fenced.position, fenced.paused)
        upto, limit = fenced.head, self._spec.batch
        if fenced.delivering is not None:
            upto, limit = fenced.delivering, fenced.delivering - fenced.position
        changes = read_changes_of(txn, self._spec.kinds, fenced.position, upto, limit)
        is_full = fenced.delivering is None and len(changes) == limit
        if is_full:
            upto = changes[-1].position
        key = f"{self._lease.name}/{self._lease.shard}/{upto}"
        told = Told(changes, fenced.position, self._shard, key, self._lease.epoch)
        if not changes or (self._preparing is not None and not self._preparing.prepare(txn, told)):
            store.advance_fenced(txn, [self._lease], upto)
            return Prepared(None, upto, more=is_full)
        txn.insist()
        if fenced.delivering is None:
            store.begin_delivery(txn, self._lease, upto)
        return Prepared(told, upto)


def _blames_no_change(error: Exception) -> bool:
    """Whether the same step may go well another time, with the same changes."""
    return isinstance(error, LeaseLostError | DatabaseError | UnavailableError) and not isinstance(
        error, BAD_VALUES
    )


def _advance(txn: Transaction, lease: FollowerLease, position: int) -> None:
    """If PostgreSQL loses that, the same is delivered again under the same key."""
    txn.relax()
    store.advance_follower(txn, lease, position)


def _record_failure(
    txn: Transaction, lease: FollowerLease, error: str, backoff_ms: Callable[[int], int]
) -> None:
    fenced = store.fence_follower(txn, lease)
    store.fail_follower(txn, lease, error, backoff_ms(fenced.attempt + 1))
