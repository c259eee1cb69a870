"""The followers of a process: those that it could claim, each advanced by a run of its own."""

import logging
import random
from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred

from synapse_lite.clock import Clock
from synapse_lite.replication.bus import Bus
from synapse_lite.replication.changes import TOPIC as STREAM
from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Database
from synapse_lite.storage.tasks import FollowerKey, FollowerLease
from synapse_lite.tasks.follower_run import FollowerRun
from synapse_lite.tasks.follower_steps import Steps
from synapse_lite.tasks.followers import RegisteredFollower
from synapse_lite.tasks.metrics import TaskMetrics
from synapse_lite.tasks.queue import TOPIC as TASKS
from synapse_lite.tasks.run import Backoff
from synapse_lite.tasks.signals import Signal

logger = logging.getLogger(__name__)

LOOKS_PER_LEASE = 2


class FollowerScheduler:
    """Claims the registered followers that nobody runs. `runner()` is the current incarnation of the process."""

    def __init__(
        self,
        database: Database,
        followers: Iterable[RegisteredFollower],
        *,
        runner: Callable[[], str],
        bus: Bus,
        clock: Clock,
        metrics: TaskMetrics,
        lease_seconds: float,
        backoff: Backoff,
    ) -> None:
        self._database = database
        self._steps = Steps(database, clock)
        self._followers: dict[FollowerKey, RegisteredFollower] = {
            (follower.spec.name, shard): follower
            for follower in followers
            for shard in range(follower.spec.shards)
        }
        self._runner = runner
        self._bus = bus
        self._clock = clock
        self._metrics = metrics
        self._look_seconds = lease_seconds / LOOKS_PER_LEASE
        self._backoff = backoff
        self._running: dict[FollowerLease, tuple[FollowerRun, Deferred[None]]] = {}
        self._draining = False
        self._news = Signal(clock)
        self._unsubscribe: list[Callable[[], None]] = []
        self._loop: Deferred[None] | None = None

    async def start(self) -> None:
        if not self._followers:
            return
        self._unsubscribe = [
            self._bus.subscribe(STREAM, lambda _: self._wake()),
            self._bus.subscribe(TASKS, lambda _: self._news.set()),
        ]
        self._loop = Deferred.fromCoroutine(self._claim_forever())

    async def stop(self) -> None:
        """Claim no more, let the current steps commit, give the followers back."""
        self._draining = True
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._news.set()
        if self._loop is not None:
            await self._loop
        for run, ended in list(self._running.values()):
            run.drain()
            await ended

    def _wake(self) -> None:
        for run, _ in self._running.values():
            run.news.set()

    async def _claim_forever(self) -> None:
        while not self._draining:
            try:
                await self._claim_all()
            except Exception:
                logger.exception("no follower can be claimed")
            await self._news.wait(random.uniform(0.8, 1.2) * self._look_seconds)  # noqa: S311 (jitter)

    async def _claim_all(self) -> None:
        while not self._draining:
            running = {lease.key for lease in self._running}
            free = [key for key in self._followers if key not in running]
            lease = await self._database.transact(store.claim_follower, self._runner(), free)
            if lease is None:
                return
            self._launch(lease)

    def _launch(self, lease: FollowerLease) -> None:
        logger.info("follower %s/%s is claimed", lease.name, lease.shard)
        run = FollowerRun(
            lease,
            self._followers[lease.key],
            self._database,
            self._steps,
            clock=self._clock,
            metrics=self._metrics,
            backoff=self._backoff,
            is_current=lambda lease: lease.runner == self._runner(),
        )
        ended = Deferred.fromCoroutine(run.run())
        self._running[lease] = (run, ended)
        ended.addCallback(lambda _: self._ended(lease))

    def _ended(self, lease: FollowerLease) -> None:
        del self._running[lease]
        self._bus.publish(TASKS)  # somebody may claim it
        if not self._draining:  # after a failure not yet
            self._clock.call_later(self._backoff.first_seconds, self._news.set)
