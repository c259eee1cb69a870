"""Purging the history of a room: asking for it, and what has become of it."""

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, bad_json, not_found
from synapse_lite.storage import purge_boundary, rooms
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.tasks.actions.purge_history import PURGE_HISTORY, PurgeHistoryParams
from synapse_lite.tasks.queue import Status, Task, TaskQueue

ENDPOINT = "POST /_synapse/admin/v1/purge_history/{room_id}"


@frozen
class HistoryPurgeRequest:
    """Up to an event, or (without `event_id`) the last one received until `up_to_ts` (ms)."""

    room_id: str
    event_id: str | None
    up_to_ts: int | None
    delete_local_events: bool = False
    dry_run: bool = False


class HistoryPurge:
    """The admin API's `purge_history` and `purge_history_status`."""

    def __init__(self, database: Database, queue: TaskQueue) -> None:
        self._database = database
        self._queue = queue

    async def start(self, requester: str, request: HistoryPurgeRequest) -> str:
        """The task's id; 404 `M_NOT_FOUND` when there is no such point, 400 for one in another room."""
        if known := await self._queue.asked_before(PURGE_HISTORY.action, request.room_id):
            return known.id
        depth = await self._database.read(_depth, request)
        params = PurgeHistoryParams(
            room_id=request.room_id,
            depth=depth,
            delete_local_events=request.delete_local_events,
            dry_run=request.dry_run,
        )
        enqueued = await self._queue.enqueue(PURGE_HISTORY, params, requester=requester, endpoint=ENDPOINT)
        return enqueued.id

    async def status(self, purge_id: str) -> JsonObject:
        """Synapse's three words, and more. 404 `M_NOT_FOUND` for any other task."""
        task = await self._queue.get(purge_id)
        if task is None or task.action != PURGE_HISTORY.action:
            raise not_found(f"purge id '{purge_id}' not found")
        return {
            **_state(task),
            "progress": {"done": task.done, "total": task.total, "phase": task.phase},
            "result": task.result,
            "room_id": task.resource_id,
        }


def _state(task: Task) -> JsonObject:
    """Who waits for the end must see one: a task that was cancelled is `failed` for them."""
    match task.status:
        case Status.COMPLETE:
            return {"status": "complete"}
        case Status.FAILED | Status.CANCELLED:
            return {"status": "failed", "error": task.error or "The task was cancelled."}
        case Status.SCHEDULED | Status.ACTIVE:
            return {"status": "active"} if task.error is None else {"status": "active", "error": task.error}


def _depth(txn: Transaction, request: HistoryPurgeRequest) -> int:
    if request.event_id is not None:
        found = purge_boundary.depth_of_event(txn, request.event_id)
        if found is None:
            raise not_found("Event not found.")
        if found[0] != request.room_id:
            raise MatrixError(400, Errcode.UNKNOWN, "Event is for wrong room.")
        return found[1]
    if request.up_to_ts is None:
        raise bad_json("must specify purge_up_to_event_id or purge_up_to_ts")
    room = rooms.room_by_id(txn, request.room_id)
    last = None if room is None else purge_boundary.event_at_time(txn, room.nid, request.up_to_ts)
    if last is None:
        raise not_found("there is no event to be purged")
    return last[0]
