"""Claims what this process is able to run, and runs it."""

import logging
import random
from collections.abc import Callable, Collection

from twisted.internet.defer import Deferred

from synapse_lite.clock import Clock
from synapse_lite.replication.bus import Bus
from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import Database, Transaction, UniqueViolation
from synapse_lite.storage.tasks import ActionFullError, Capability, Claimed, Gauges, Lease, Unserved
from synapse_lite.tasks.follower_scheduler import FollowerScheduler
from synapse_lite.tasks.metrics import TaskMetrics
from synapse_lite.tasks.queue import TOPIC, new_task
from synapse_lite.tasks.registry import TaskRegistry
from synapse_lite.tasks.run import STEP_TARGET_MS, Backoff, TaskRun
from synapse_lite.tasks.runners import Heartbeat
from synapse_lite.tasks.signals import Signal
from synapse_lite.tasks.specs import PERIODIC

logger = logging.getLogger(__name__)

POLL_SECONDS = 5.0
POLLS_PER_LEASE = 2  # so that whoever is idle knows of a lease before it ends
SURVEY_SECONDS = 30.0
CANCEL_GRACE_SECONDS = 10.0
"""For so long a step may go on after a cancel; then its statement is stopped."""


class TaskScheduler:
    """Up to `concurrency` tasks at a time.

    `database` is a pool of what works behind the requests, with more than `concurrency` connections:
    `statement_timeout` is the deadline of a statement in a step, and `idle_in_transaction_session_timeout`
    is no longer than the lease, so that a frozen process does not hold its task for ever.
    """

    def __init__(
        self,
        database: Database,
        registry: TaskRegistry,
        heartbeat: Heartbeat,
        *,
        bus: Bus,
        clock: Clock,
        metrics: TaskMetrics,
        concurrency: int = 2,
        backoff: Backoff = Backoff(),  # noqa: B008 (immutable)
        step_target_ms: int = STEP_TARGET_MS,
    ) -> None:
        self._database = database
        self._registry = registry.freeze()
        self._heartbeat = heartbeat
        self._bus = bus
        self._clock = clock
        self._metrics = metrics
        self._concurrency = concurrency
        self._poll_seconds = min(POLL_SECONDS, heartbeat.lease_seconds / POLLS_PER_LEASE)
        self._backoff = backoff
        self._step_target_ms = step_target_ms
        self._runner = ""
        self._running: dict[Lease, Deferred[None]] = {}
        self._draining = False
        self._news = Signal(clock)
        self._survey_due = Signal(clock)
        self._loops: list[Deferred[None]] = []
        self._followers = FollowerScheduler(
            database,
            registry.followers(),
            runner=lambda: self._runner,
            bus=bus,
            clock=clock,
            metrics=metrics,
            lease_seconds=heartbeat.lease_seconds,
            backoff=backoff,
        )
        self._unsubscribe: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """Returns when this process is known as a runner, and has begun to look for tasks."""
        await self._heartbeat.start(self._adopt)
        self._unsubscribe = self._bus.subscribe(TOPIC, lambda _: self._news.set())
        self._report((await self._survey()).unserved)
        self._loops = [
            Deferred.fromCoroutine(self._claim_forever()),
            Deferred.fromCoroutine(self._survey_forever()),
        ]
        await self._followers.start()

    async def stop(self) -> None:
        """Drain: claim no more, let the current steps commit, give the tasks back, say goodbye."""
        self._draining = True
        self._unsubscribe()
        self._news.set()
        self._survey_due.set()
        for loop in self._loops:
            await loop
        for run in list(self._running.values()):
            await run
        await self._followers.stop()
        await self._heartbeat.stop()
        await self._database.transact(store.remove_runner, self._runner)
        self._bus.publish(TOPIC)

    def _adopt(self, runner: str) -> None:
        """The first incarnation, or the next one after a death that nobody in here noticed."""
        if self._runner:
            logger.error("runner %s expired; its tasks are dropped, %s goes on", self._runner, runner)
        self._runner = runner
        self._news.set()

    async def _claim_forever(self) -> None:
        while not self._draining:
            try:
                await self._interrupt_cancelled()
                seconds = await self._fill_slots()
            except Exception:
                logger.exception("no task can be claimed")
                seconds = self._poll_seconds
            await self._news.wait(min(seconds, random.uniform(0.8, 1.2) * self._poll_seconds))  # noqa: S311 (jitter)

    async def _fill_slots(self) -> float:
        """Claim until all slots are taken or nothing is left; the seconds until there may be more."""
        while len(self._running) < self._concurrency and not self._draining:
            try:
                claimed, due_ms = await self._look()
            except (UniqueViolation, ActionFullError):
                continue  # another process was faster with the same lock key, or the last place of the action
            if claimed is None:
                return self._poll_seconds if due_ms is None else due_ms / 1000
            self._launch(claimed)
        return self._poll_seconds

    async def _interrupt_cancelled(self) -> None:
        if self._running:
            grace_ms = round(CANCEL_GRACE_SECONDS * 1000)
            for task_id in await self._database.read(store.interrupt_cancelled, grace_ms):
                logger.warning("task %s was cancelled, but its step goes on: it is stopped", task_id)

    async def _look(self) -> tuple[Claimed | None, int | None]:
        running = [lease.task_id for lease in self._running]
        with self._metrics.claim_seconds.time():
            return await self._database.transact(_look, self._runner, self._registry.capabilities(), running)

    def _launch(self, claimed: Claimed) -> None:
        lease = claimed.lease
        logger.info("task %s: %s/%s is claimed", lease.task_id, claimed.action, claimed.version)
        if claimed.rescued_from is not None:
            self._metrics.rescued.inc()
            logger.warning("task %s is rescued from %s", lease.task_id, claimed.rescued_from)
        run = TaskRun(
            claimed,
            self._registry.get(claimed.action, claimed.version),
            self._database,
            clock=self._clock,
            metrics=self._metrics,
            backoff=self._backoff,
            is_current=lambda lease: lease.runner == self._runner,
            is_draining=lambda: self._draining,
            step_target_ms=self._step_target_ms,
        )
        running = Deferred.fromCoroutine(run.run())
        self._running[lease] = running
        running.addCallback(lambda _: self._ended(lease))

    def _ended(self, lease: Lease) -> None:
        del self._running[lease]
        self._news.set()
        # Its lock key, if it has one, is free for other processes too.
        self._bus.publish(TOPIC)

    async def _survey_forever(self) -> None:
        while not self._draining:
            await self._survey_due.wait(random.uniform(0.8, 1.2) * SURVEY_SECONDS)  # noqa: S311 (jitter)
            try:
                await self._survey()
            except Exception:
                logger.exception("the gauges of the tasks are stale")

    async def _survey(self) -> Gauges:
        gauges = await self._database.transact(_survey, self._runner, self._registry)
        self._metrics.show(gauges)
        return gauges

    def _report(self, unserved: list[Unserved]) -> None:
        lines = [
            f"  {action}/{version}: runnable here"
            for action, version in sorted(self._registry.capabilities())
        ]
        lines += [
            f"  {row.action}/{row.version}: {row.count} pending, runnable NOWHERE;"
            f" last seen: {row.last_seen_runner or 'never'}"
            for row in unserved
        ]
        logger.info("tasks as runner %s:\n%s", self._runner, "\n".join(lines))


def _look(
    txn: Transaction, runner: str, capabilities: Collection[Capability], running: Collection[str]
) -> tuple[Claimed | None, int | None]:
    """A task, and the milliseconds until there may be more."""
    # In this order: what falls due between the two is claimed, not overlooked.
    due_ms = store.read_next_due(txn, runner, capabilities)
    return store.claim(txn, runner, capabilities, running), due_ms


def _survey(txn: Transaction, runner: str, registry: TaskRegistry) -> Gauges:
    """Say that we are here, see to it that periodic tasks have a next run, and count."""
    store.mark_seen(txn, runner)
    store.register_followers(txn, registry.follower_keys())
    for spec, periodic in registry.periodic_tasks():
        task = new_task(spec, periodic.params, requester=PERIODIC, endpoint=PERIODIC)
        store.schedule_periodic(txn, task, periodic.name, periodic.every_ms)
    return store.read_gauges(txn)
