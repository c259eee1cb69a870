"""Closing accounts."""

from synapse_lite.errors import not_found
from synapse_lite.handlers.access_tokens import end_sessions
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.deactivation import close_account
from synapse_lite.tasks.actions.deactivate_user import DEACTIVATE_USER, DeactivateParams
from synapse_lite.tasks.queue import TaskQueue


class Deactivation:
    def __init__(self, database: Database, queue: TaskQueue) -> None:
        self._database = database
        self._queue = queue

    async def deactivate(self, user_id: str, *, erase: bool, requester: str, endpoint: str) -> str:
        """Close the account for good: from now on nobody gets in; a task leaves the rooms and deletes the data.

        The id of the task; 404 `M_NOT_FOUND` for an unknown user. `erase`: the profile goes, and new readers no
        longer see the user's messages.
        """
        task_id = await self._database.transact(
            self.close_in, user_id, erase=erase, requester=requester, endpoint=endpoint
        )
        self.announce()
        return task_id

    def announce(self) -> None:
        """What was closed by `close_in` is committed: the task may begin."""
        self._queue.announce()

    def close_in(self, txn: Transaction, user_id: str, *, erase: bool, requester: str, endpoint: str) -> str:
        """As `deactivate`, in the caller's transaction."""
        if not close_account(txn, user_id, erase=erase):
            raise not_found("Unknown user")
        end_sessions(txn, user_id)
        params = DeactivateParams(user_id=user_id, erase=erase)
        return self._queue.ask_in(txn, DEACTIVATE_USER, params, requester=requester, endpoint=endpoint).id
