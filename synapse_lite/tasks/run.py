"""One task, from its claim until it ends, is given back, or is lost."""

import logging
import random
from collections.abc import Callable

from attrs import frozen

from synapse_lite.clock import Clock, doubling_pause
from synapse_lite.storage import tasks as store
from synapse_lite.storage.database import CommitUncertainError, Database
from synapse_lite.storage.tasks import Claimed, Lease, LeaseLostError
from synapse_lite.tasks.context import task_id
from synapse_lite.tasks.errors import describe
from synapse_lite.tasks.lease import Answer, NoStep, give_up, read_for_asking, record_failure, run_step
from synapse_lite.tasks.metrics import TaskMetrics
from synapse_lite.tasks.outcome import Done, Later, Next, Outcome
from synapse_lite.tasks.registry import Registered
from synapse_lite.tasks.specs import AsksOutside

logger = logging.getLogger(__name__)

STEP_TARGET_MS = 200
FIRST_BATCH = 100
MIN_BATCH = 10
MAX_BATCH = 2000


@frozen
class Backoff:
    """Exponential, with jitter: how long to wait before an attempt, the first being number 1."""

    first_seconds: float = 1.0
    max_seconds: float = 300.0

    def milliseconds(self, attempt: int) -> int:
        seconds = doubling_pause(self.first_seconds, attempt - 1, self.max_seconds)
        return round(1000 * random.uniform(seconds / 2, seconds))  # noqa: S311 (spreads load)


class TaskRun:
    """Runs the steps of one claimed task, back to back.

    `is_current(lease)` is False when the incarnation that claimed is dead: the task is dropped, and
    will be rescued. When `is_draining()`, it is given back after the current step.
    """

    def __init__(
        self,
        claimed: Claimed,
        work: Registered,
        database: Database,
        *,
        clock: Clock,
        metrics: TaskMetrics,
        backoff: Backoff,
        is_current: Callable[[Lease], bool],
        is_draining: Callable[[], bool],
        step_target_ms: int = STEP_TARGET_MS,
    ) -> None:
        self._claimed = claimed
        self._lease = claimed.lease
        self._work = work
        self._database = database
        self._clock = clock
        self._metrics = metrics
        self._backoff = backoff
        self._is_current = is_current
        self._is_draining = is_draining
        self._step_target_ms = step_target_ms
        # A task that failed starts again with less.
        self._batch = max(MIN_BATCH, FIRST_BATCH >> claimed.attempt)

    async def run(self) -> None:
        """Never raises: what could not be written down is found by the next claim."""
        task_id.set(self._lease.task_id)
        try:
            if self._claimed.attempt >= self._claimed.max_attempts:
                await self._database.transact(give_up, self._lease, "its last runner died")
            else:
                await self._run_steps()
        except LeaseLostError as error:
            self._metrics.lease_lost.inc()
            logger.warning("%s", error)
        except Exception:
            logger.exception("task %s is left as it is", self._lease.task_id)

    async def _run_steps(self) -> None:
        while self._is_current(self._lease):
            if self._is_draining():
                await self._database.transact(store.release, self._lease)
                return
            try:
                outcome = await self._run_step()
            except CommitUncertainError:
                continue  # the fence of the next step sees whether this one was committed
            except LeaseLostError:
                raise
            except Exception as error:
                logger.exception("a step of task %s failed", self._lease.task_id)
                backoff_ms = self._backoff.milliseconds
                await self._database.transact(record_failure, self._lease, describe(error), backoff_ms)
                return
            if not isinstance(outcome, Next):
                logger.info("task %s: %s", self._lease.task_id, type(outcome).__name__.lower())
                return
        logger.warning("task %s is dropped: its runner expired", self._lease.task_id)

    async def _run_step(self) -> Outcome | NoStep:
        action = self._work.spec.action
        answer = await self._ask()
        started = self._clock.monotonic()
        with self._metrics.step_seconds.labels(action).time():
            outcome = await self._database.transact(run_step, self._lease, self._work, self._batch, answer)
        self._batch = adapt_batch(
            self._batch, round((self._clock.monotonic() - started) * 1000), self._step_target_ms
        )
        if isinstance(outcome, Next | Later | Done):
            self._metrics.rows_done.labels(action).inc(outcome.done)
        return outcome

    async def _ask(self) -> Answer | None:
        """What the next step needs from outside; nothing where it needs nothing."""
        handler = self._work.handler
        if not isinstance(handler, AsksOutside):
            return None
        task = await self._database.transact(read_for_asking, self._lease, self._work, self._batch)
        return None if task is None else Answer(await handler.ask(task))


def adapt_batch(batch: int, elapsed_ms: int, target_ms: int = STEP_TARGET_MS) -> int:
    """The size of the next step, so that steps come to last about `target_ms`."""
    if elapsed_ms > target_ms:
        return max(MIN_BATCH, batch // 2)
    if elapsed_ms < target_ms // 2:
        return min(MAX_BATCH, batch * 2)
    return batch
