"""Wait for the end of a task."""

from synapse_lite.clock import Clock
from synapse_lite.replication.bus import Bus
from synapse_lite.replication.news import News
from synapse_lite.tasks.queue import TOPIC, Status, Task, TaskQueue

LOOK_SECONDS = 1.0
ENDED = frozenset({Status.COMPLETE, Status.FAILED, Status.CANCELLED})


class TaskWaiter:
    """The bus says that a task may have ended; a look every second is the floor."""

    def __init__(self, queue: TaskQueue, bus: Bus, clock: Clock) -> None:
        self._queue = queue
        self._bus = bus
        self._clock = clock

    async def until_ended(self, task_id: str, seconds: float) -> Task | None:
        """The task as it is when it has ended, or after so many seconds; None when there is no such task."""
        deadline = self._clock.monotonic() + seconds
        with News(self._bus, self._clock, TOPIC) as news:
            while True:
                task = await self._queue.get(task_id)
                if task is None or task.status in ENDED or self._clock.monotonic() >= deadline:
                    return task
                await news.wait(LOOK_SECONDS)
