"""Synapse's background updates: the tasks that make derived data anew, under the names of that API."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError
from synapse_lite.tasks.actions.rebuild import JOBS, REBUILD, RebuildParams
from synapse_lite.tasks.queue import ActionState, Status, Task, TaskQueue

DATABASE = "master"
"""Synapse names its databases; here is one."""

ENDPOINT = "POST /_synapse/admin/v1/background_updates/start_job"


class BackgroundUpdates:
    """What is switched off waits, also over restarts."""

    def __init__(self, queue: TaskQueue) -> None:
        self._queue = queue

    async def enabled(self) -> bool:
        states = await self._queue.actions()
        return not any(state.paused for state in states if state.action == REBUILD.action)

    async def enable(self, *, enabled: bool) -> None:
        """A running batch ends first. 404 `M_NOT_FOUND` as long as no process was ever able to run such tasks."""

        def change(state: ActionState) -> tuple[bool, int | None]:
            return not enabled, state.max_running

        await self._queue.control(REBUILD.action, change)

    async def status(self) -> JsonObject:
        page = await self._queue.find(
            actions=[REBUILD.action], statuses=[Status.ACTIVE, Status.SCHEDULED], limit=1
        )
        current = {DATABASE: _update(page.tasks[0])} if page.tasks else {}
        return {"enabled": await self.enabled(), "current_updates": current}

    async def start(self, job_name: str, requester: str) -> None:
        """400 `M_UNKNOWN` for a name that none has, and for a job that is pending already."""
        if job_name not in JOBS:
            raise MatrixError(400, Errcode.UNKNOWN, "Invalid job_name")
        params = RebuildParams(job_name=job_name)
        enqueued = await self._queue.enqueue(REBUILD, params, requester=requester, endpoint=ENDPOINT)
        if not enqueued.created:
            raise MatrixError(
                400, Errcode.UNKNOWN, f"Job {job_name} is already in queue of background updates."
            )


def _update(task: Task) -> JsonObject:
    """Items are positions of the stream."""
    duration_ms = float(max(0, task.updated_at_ms - task.created_at_ms))
    return {
        "name": task.resource_id,
        "total_item_count": task.done,
        "total_duration_ms": duration_ms,
        "average_items_per_ms": task.done / duration_ms if duration_ms else None,
    }
