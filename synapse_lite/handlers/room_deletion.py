"""Shutting rooms down and deleting them: asking for it, and what has become of it."""

from collections.abc import Sequence
from typing import Protocol

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.config.rooms import RoomOptions
from synapse_lite.errors import Errcode, MatrixError, not_found
from synapse_lite.handlers.room_plan import RoomRequest, plan_room
from synapse_lite.ids import check_room_id, is_local, is_user_id
from synapse_lite.storage.accounts import find_account
from synapse_lite.storage.database import Database
from synapse_lite.tasks.actions.purge_room import PURGE_ROOM, STILL_JOINED
from synapse_lite.tasks.actions.shutdown_room import (
    FAILED_TO_KICK,
    KICKED,
    MOVED_ALIAS,
    NEW_ROOM,
    SHUTDOWN_AND_PURGE_ROOM,
    Replacement,
    ShutdownParams,
)
from synapse_lite.tasks.actions.shutdown_rooms import SHUTDOWN_ROOMS, ShutdownRoomsParams
from synapse_lite.tasks.queue import Enqueued, Status, Task, TaskQueue

MANY_ENDPOINT = "POST /_synapse/admin/v1/shutdown_rooms"
DEFAULT_ROOM_NAME = "Content Violation Notification"
DEFAULT_MESSAGE = (
    "Illegal content was shared in the room that you were in. Sharing it on this server is not permitted, "
    "and rooms that hold it are closed."
)
ACTIONS = (SHUTDOWN_AND_PURGE_ROOM.action, PURGE_ROOM.action)
PATIENCE_SECONDS = 600.0


@frozen
class DeletionRequest:
    """`new_room_user_id`: who makes a new room for the members. `dry_run`: only count what would go."""

    room_id: str
    new_room_user_id: str | None = None
    room_name: str | None = None
    message: str | None = None
    block: bool = False
    purge: bool = True
    force_purge: bool = False
    dry_run: bool = False


class Waiter(Protocol):
    async def until_ended(self, task_id: str, seconds: float) -> Task | None: ...


class RoomDeletion:
    """The admin API's `DELETE rooms/{id}` and `delete_status`. `server_name` is ours."""

    def __init__(
        self, database: Database, queue: TaskQueue, waiter: Waiter, options: RoomOptions, server_name: str
    ) -> None:
        self._database = database
        self._queue = queue
        self._waiter = waiter
        self._options = options
        self._server_name = server_name

    async def start(self, requester: str, request: DeletionRequest, endpoint: str) -> str:
        """The task's id; 400 `M_UNKNOWN` while another deletion of the room is pending."""
        if known := await self._queue.asked_before(SHUTDOWN_AND_PURGE_ROOM.action, request.room_id):
            return known.id
        running = await self._queue.find(
            actions=ACTIONS, resource_id=request.room_id, statuses=[Status.ACTIVE], limit=1
        )
        if running.tasks and not request.dry_run:
            raise _in_progress(request.room_id, running.tasks[0].id)
        enqueued = await self._enqueue(requester, request, endpoint)
        if not enqueued.created:
            raise _in_progress(request.room_id, enqueued.id)
        return enqueued.id

    async def run(self, requester: str, request: DeletionRequest, endpoint: str) -> JsonObject:
        """As `start`, or joining the one that is pending; what became of the room when it is over.

        400 when users of this server are still joined. 504 when it takes too long: it goes on, and
        `delete_id` says where to look.
        """
        enqueued = await self._enqueue(requester, request, endpoint)
        task = await self._waiter.until_ended(enqueued.id, PATIENCE_SECONDS)
        if task is None or task.status in {Status.SCHEDULED, Status.ACTIVE}:
            words = f"The room is still being deleted by the task {enqueued.id}"
            raise MatrixError(504, Errcode.UNKNOWN, words, {"delete_id": enqueued.id})
        if task.status is not Status.COMPLETE:
            status = 400 if task.error == STILL_JOINED else 500
            raise MatrixError(status, Errcode.UNKNOWN, _error(task) or "", {"delete_id": enqueued.id})
        return await self._shutdown_room(task.id)

    async def status(self, delete_id: str) -> JsonObject:
        """404 `M_NOT_FOUND` for any other task."""
        task = await self._queue.get(delete_id)
        if task is None or task.action not in ACTIONS:
            raise not_found(f"delete id '{delete_id}' not found")
        return await self._shown(task)

    async def statuses(self, room_id: str) -> list[JsonObject]:
        """Of all deletions of the room, the latest change last; 404 when there is none."""
        page = await self._queue.find(actions=ACTIONS, resource_id=check_room_id(room_id))
        if not page.tasks:
            raise not_found(f"No delete task for room_id '{room_id}' found")
        return [await self._shown(task) for task in page.tasks]

    async def many_started_before(self) -> str | None:
        """What `start_many` answered to this request, when it was sent before."""
        known = await self._queue.asked_before(SHUTDOWN_ROOMS.action)
        return None if known is None else known.id

    async def start_many(self, requester: str, room_ids: Sequence[str], request: DeletionRequest) -> str:
        """The id of a task whose parts are the deletions of each room, as `request` says; 400 for malformed ids."""
        for room_id in room_ids:
            check_room_id(room_id)
        params = ShutdownRoomsParams(room_ids=tuple(room_ids), shutdown=await self._params(request))
        enqueued = await self._queue.enqueue(
            SHUTDOWN_ROOMS, params, requester=requester, endpoint=MANY_ENDPOINT
        )
        return enqueued.id

    async def _params(self, request: DeletionRequest) -> ShutdownParams:
        return ShutdownParams(
            room_id=check_room_id(request.room_id),
            new_room=await self._replacement(request),
            block=request.block,
            purge=request.purge,
            force_purge=request.force_purge,
            dry_run=request.dry_run,
        )

    async def _enqueue(self, requester: str, request: DeletionRequest, endpoint: str) -> Enqueued:
        if known := await self._queue.asked_before(SHUTDOWN_AND_PURGE_ROOM.action, request.room_id):
            return Enqueued(known.id, created=True)
        params = await self._params(request)
        return await self._queue.enqueue(
            SHUTDOWN_AND_PURGE_ROOM, params, requester=requester, endpoint=endpoint
        )

    async def _replacement(self, request: DeletionRequest) -> Replacement | None:
        """400 for a creator who has no account here: whoever registers the name would own the room."""
        creator = request.new_room_user_id
        if creator is None:
            return None
        if not is_user_id(creator) or not is_local(creator, self._server_name):
            raise MatrixError(400, Errcode.UNKNOWN, f"User must be our own: {creator}")
        account = await self._database.read(find_account, creator)
        if account is None or account.user_id != creator or account.deactivated:
            raise MatrixError(400, Errcode.UNKNOWN, f"There is no such user: {creator}")
        wish = RoomRequest(
            preset="public_chat",
            name=request.room_name or DEFAULT_ROOM_NAME,
            power_levels={"users_default": -10},
        )
        plan = plan_room(wish, creator, self._options)
        return Replacement(
            creator=creator,
            version=plan.version.identifier,
            create=plan.create,
            state=tuple((kind, key, content) for (kind, key), content in plan.state.items()),
            message=request.message or DEFAULT_MESSAGE,
        )

    async def _shown(self, task: Task) -> JsonObject:
        """Synapse's words, and more: why it failed, progress, the counts of rows."""
        begun = task.action == SHUTDOWN_AND_PURGE_ROOM.action and (task.phase or task.result)
        shown: JsonObject = {
            "delete_id": task.id,
            "room_id": task.resource_id,
            "status": str(task.status),
            "shutdown_room": await self._shutdown_room(task.id) if begun else None,
            "progress": {"done": task.done, "total": task.total, "phase": task.phase},
            "result": task.result,
            "runner": task.owner,
            "requester": task.requester,
        }
        error = _error(task)
        return shown if error is None else {**shown, "error": error}

    async def _shutdown_room(self, task_id: str) -> JsonObject:
        """With as many users as the room had members."""
        new_rooms = await self._queue.items(task_id, outcome=NEW_ROOM, limit=1)
        lists = await self._queue.item_lists(task_id, (KICKED, FAILED_TO_KICK, MOVED_ALIAS))
        return {
            "kicked_users": lists.get(KICKED, []),
            "failed_to_kick_users": lists.get(FAILED_TO_KICK, []),
            "local_aliases": lists.get(MOVED_ALIAS, []),
            "new_room_id": new_rooms[0].item if new_rooms else None,
        }


def _error(task: Task) -> str | None:
    return task.error or ("The task was cancelled." if task.status is Status.CANCELLED else None)


def _in_progress(room_id: str, task_id: str) -> MatrixError:
    return MatrixError(
        400, Errcode.UNKNOWN, f"Purge already in progress for {room_id}", {"delete_id": task_id}
    )
