"""Erasing many users at once: one task for all of them."""

from synapse_lite.errors import Errcode, MatrixError
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.user_admin import check_local
from synapse_lite.handlers.user_selection import Chosen, UserSelection
from synapse_lite.tasks.actions.erase_user import EraseParams
from synapse_lite.tasks.actions.erase_users import ERASE_USERS, EraseUsersParams
from synapse_lite.tasks.queue import TaskQueue


class UserErasure:
    """`server_name` is ours."""

    def __init__(self, queue: TaskQueue, selection: UserSelection, server_name: str) -> None:
        self._queue = queue
        self._selection = selection
        self._server_name = server_name

    async def erase_many(
        self, requester: Requester, chosen: Chosen, erasure: EraseParams, endpoint: str
    ) -> tuple[str, int]:
        """The id of the task, and how many users it erases; 400 for oneself, and for users of other servers.

        `erasure` is that of any of them.
        """
        if known := await self._queue.asked_before(ERASE_USERS.action):
            return known.id, len(known.params["user_ids"])
        user_ids = await self._selection.user_ids(chosen)
        for user_id in user_ids:
            check_local(user_id, self._server_name, "Can only erase local users")
        if requester.user_id in user_ids:
            raise MatrixError(400, Errcode.UNKNOWN, "You may not erase yourself.")
        params = EraseUsersParams(
            user_ids=user_ids, erasure=erasure.model_copy(update={"user_id": user_ids[0]})
        )
        enqueued = await self._queue.enqueue(
            ERASE_USERS, params, requester=requester.user_id, endpoint=endpoint
        )
        return enqueued.id, len(user_ids)
