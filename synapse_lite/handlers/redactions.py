"""Redacting all events of a user: asking for it, and what has become of it."""

import orjson

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, not_found
from synapse_lite.handlers.user_selection import Chosen, UserSelection
from synapse_lite.ids import check_room_id, check_user_id
from synapse_lite.tasks.actions.redact_all_events import (
    FAILED,
    FAILED_ROOM,
    REDACT_ALL_EVENTS,
    ROOM,
    UNKNOWN_ROOM,
    RedactParams,
)
from synapse_lite.tasks.actions.redact_users import REDACT_USERS, RedactUsersParams
from synapse_lite.tasks.queue import Status, Task, TaskItem, TaskQueue

ENDPOINT = "POST /_synapse/admin/v1/user/{user_id}/redact"
MANY_ENDPOINT = "POST /_synapse/admin/v1/redact"
SHOWN = (FAILED, ROOM, FAILED_ROOM, UNKNOWN_ROOM)
SHOWN_ITEMS = 1000  # of each kind; the counts are complete
UNKNOWN_ERROR = "Unknown error, please check the logs for more information."


class RedactionsHandler:
    """The admin API's `user/{id}/redact` and `redact_status/{id}`."""

    def __init__(self, queue: TaskQueue, selection: UserSelection) -> None:
        self._queue = queue
        self._selection = selection

    async def start(self, requester: str, params: RedactParams) -> str:
        """The task's id; 400 for malformed ids, and while another redaction of the user is pending."""
        check_user_id(params.user_id)
        for room_id in params.rooms:
            check_room_id(room_id)
        enqueued = await self._queue.enqueue(
            REDACT_ALL_EVENTS, params, requester=requester, endpoint=ENDPOINT
        )
        if not enqueued.created:
            raise MatrixError(
                400,
                Errcode.UNKNOWN,
                f"Redact already in progress for user {params.user_id}",
                {"redact_id": enqueued.id},
            )
        return enqueued.id

    async def start_many(self, requester: str, chosen: Chosen, redaction: RedactParams) -> tuple[str, int]:
        """The id of a task whose parts are the redactions of each user, and of how many; 400 for malformed ids.

        `redaction` is that of any of them.
        """
        for room_id in redaction.rooms:
            check_room_id(room_id)
        if known := await self._queue.asked_before(REDACT_USERS.action):
            return known.id, len(known.params["user_ids"])
        user_ids = await self._selection.user_ids(chosen)
        params = RedactUsersParams(
            user_ids=user_ids, redaction=redaction.model_copy(update={"user_id": user_ids[0]})
        )
        enqueued = await self._queue.enqueue(
            REDACT_USERS, params, requester=requester, endpoint=MANY_ENDPOINT
        )
        return enqueued.id, len(user_ids)

    async def status(self, redact_id: str) -> JsonObject:
        """Synapse's words, and more: progress, rooms, who runs it. 404 `M_NOT_FOUND` for any other task."""
        task = await self._queue.get(redact_id)
        if task is None or task.action != REDACT_ALL_EVENTS.action:
            raise not_found(f"redact id '{redact_id}' not found")
        items = await self._queue.items_by_outcome(task.id, SHOWN, limit=SHOWN_ITEMS)
        return {
            **_state(task),
            "failed_redactions": {item.item: item.detail for item in items[FAILED]},
            "progress": _progress(task),
            "rooms": {item.item: _report(item) for item in items[ROOM]},
            "failed_rooms": {item.item: item.detail for item in items[FAILED_ROOM]},
            "unknown_rooms": [item.item for item in items[UNKNOWN_ROOM]],
            "result": task.result,
            "runner": task.owner or await self._last_runner(task.id),
            "requester": task.requester,
        }

    async def _last_runner(self, task_id: str) -> str | None:
        """The name of who worked on the task last."""
        runners = [event.runner for event in await self._queue.history(task_id) if event.runner]
        return runners[-1].rpartition("#")[0] if runners else None


def _state(task: Task) -> JsonObject:
    """The four words that clients know: a task that was cancelled is `failed` for them."""
    match task.status:
        case Status.FAILED:
            return {"status": "failed", "error": task.error or UNKNOWN_ERROR}
        case Status.CANCELLED:
            return {"status": "failed", "error": task.error or "The task was cancelled."}
        case status:
            return {"status": str(status)}


def _progress(task: Task) -> JsonObject:
    return {"done": task.done, "total": task.total, "phase": task.phase}


def _report(item: TaskItem) -> JsonObject:
    report: JsonObject = orjson.loads(item.detail or "{}")
    return report
