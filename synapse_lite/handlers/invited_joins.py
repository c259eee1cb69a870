"""Joins of who is invited, in their name (`auto_accept_invites`)."""

import logging
from functools import partial

from attrs import field, frozen
from twisted.internet.defer import CancelledError, Deferred

from synapse_lite.clock import Clock
from synapse_lite.errors import MatrixError
from synapse_lite.handlers.membership import Memberships
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.flights import Flights
from synapse_lite.storage import accounts, rooms
from synapse_lite.storage.database import Database, Transaction

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 2.0
"""Another server may take minutes. Who waits for it holds a place that others need."""
_TOO_MANY, _SERVER_FAULT = 429, 500


@frozen
class InvitedJoins:
    """A join that has begun goes on when nobody waits for it any more."""

    database: Database
    memberships: Memberships
    clock: Clock
    _under_way: Flights[tuple[str, str], bool] = field(factory=Flights)

    async def join(self, user_id: str, room_id: str) -> bool:
        """False when it takes longer than `PATIENCE_SECONDS`, or failed for the moment: ask again.

        True when the user is in, is kept out for good, or has done something else with the room.
        """
        begin = partial(self._join, user_id, room_id)
        joining = Deferred.fromCoroutine(self._under_way.join((user_id, room_id), begin))
        timer = self.clock.call_later(PATIENCE_SECONDS, joining.cancel)
        try:
            return await joining
        except CancelledError:
            if timer.active():
                raise
            return False
        finally:
            if timer.active():
                timer.cancel()

    async def _join(self, user_id: str, room_id: str) -> bool:
        if not await self.database.read(self._is_wanted, user_id, room_id):
            return True
        requester = Requester(user_id, None, f"{user_id} auto_accept_invites")
        try:
            await self.memberships.join(requester, room_id)
        except MatrixError as error:
            logger.info("%s does not join %s by itself: %s", user_id, room_id, error)
            return error.status != _TOO_MANY and error.status < _SERVER_FAULT
        return True

    # In a database thread

    def _is_wanted(self, txn: Transaction, user_id: str, room_id: str) -> bool:
        room = rooms.room_by_id(txn, room_id)
        member = None if room is None else rooms.membership_in(txn, room.nid, user_id)
        return (
            member is not None
            and member.membership == "invite"
            and accounts.may_send(txn, user_id, self.clock.now_ms())
        )
