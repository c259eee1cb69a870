"""Joins that others may have taken, and of which nothing is known here: finished, or taken back."""

from collections.abc import Awaitable
from functools import partial

from attrs import field, frozen
from twisted.internet.defer import CancelledError, Deferred

from synapse_lite.clock import Clock
from synapse_lite.errors import MatrixError
from synapse_lite.handlers.membership import Memberships
from synapse_lite.handlers.remote_members import RemoteMembers
from synapse_lite.handlers.remote_rooms import RemoteRooms, Target
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.flights import Flights
from synapse_lite.storage import accounts, rooms
from synapse_lite.storage import tasks as task_store
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.rooms import Room
from synapse_lite.tasks.actions.finish_join import FINISH_JOIN, FinishJoinParams, unique_key

PATIENCE_SECONDS = 2.0
"""Another server may take minutes. Who waits for it holds a place that others need."""
_TOO_MANY, _SERVER_FAULT = 429, 500


@frozen
class _Standing:
    """A user who is to the room what they were when the join was sent. `may_join`: they want in, and may be spoken for."""

    room: Room
    may_join: bool


@frozen
class LostJoins:
    """What has begun goes on when nobody waits for it any more."""

    database: Database
    memberships: Memberships
    remote_rooms: RemoteRooms
    remote_members: RemoteMembers
    clock: Clock
    _under_way: Flights[tuple[str, str], str | None] = field(factory=Flights)

    async def end(self, lost: FinishJoinParams, gives_up: bool) -> str | None:
        """The user comes in: that is what they wanted. If not, or where it `gives_up`, they are led out of the room.

        None: it is over; else what stands in the way, which may be that it takes longer than `PATIENCE_SECONDS`: ask again.
        """
        key = (lost.user_id, lost.room_id)
        ending = Deferred.fromCoroutine(self._under_way.join(key, partial(self._end, lost, gives_up)))
        timer = self.clock.call_later(PATIENCE_SECONDS, ending.cancel)
        try:
            return await ending
        except CancelledError:
            if timer.active():
                raise
            return "it takes long"
        finally:
            if timer.active():
                timer.cancel()

    async def _end(self, lost: FinishJoinParams, gives_up: bool) -> str | None:
        standing = await self._standing_now(lost)
        if standing is None:
            return None
        known = await self.remote_rooms.known(standing.room, lost.user_id)
        target = Target(lost.room_id, standing.room, False, [*dict.fromkeys([*lost.servers, *known.servers])])
        # Who was put out meanwhile, or was never taken, stays out.
        error = await _error_of(self.remote_members.check_inside(target, lost.user_id))
        if error is not None:
            return _obstacle(error)
        # Others may take minutes to answer: what the user did meanwhile counts.
        standing = await self._standing_now(lost)
        if standing is None:
            return None
        if standing.may_join and not gives_up:
            error = await self._join(lost)
            if error is None or _is_passing(error):
                return _obstacle(error)
        return _obstacle(await _error_of(self.remote_members.lead_out(target, lost.user_id)))

    async def _join(self, lost: FinishJoinParams) -> MatrixError | None:
        """Undone at once where the user has left before it was there, as through another process."""
        requester = Requester(lost.user_id, None, f"{lost.user_id} finish_join")
        error = await _error_of(self.memberships.join(requester, lost.room_id, via=lost.servers))
        if error is None and await self.database.read(_is_wanted, lost) is False:
            error = await _error_of(self.memberships.leave(requester, lost.room_id, None))
        return error

    async def _standing_now(self, lost: FinishJoinParams) -> _Standing | None:
        await self.remote_members.joined(lost.room_id, lost.user_id)
        return await self.database.read(self._standing, lost)

    def _standing(self, txn: Transaction, lost: FinishJoinParams) -> _Standing | None:
        """None where the user has something else to do with the room by now, or the task was cancelled."""
        room = rooms.room_by_id(txn, lost.room_id)
        is_wanted = _is_wanted(txn, lost)
        if room is None or is_wanted is None:
            return None
        member = rooms.membership_in(txn, room.nid, lost.user_id)
        if (None if member is None else member.event_nid) != lost.was_nid:
            return None
        return _Standing(room, is_wanted and accounts.may_send(txn, lost.user_id, self.clock.now_ms()))


def _is_wanted(txn: Transaction, lost: FinishJoinParams) -> bool | None:
    """As the task says now; None: it is cancelled."""
    key = unique_key(lost.user_id, lost.room_id, lost.was_nid)
    params = task_store.pending_params(txn, FINISH_JOIN.action, key)
    return None if params is None else FinishJoinParams.model_validate_json(params).wanted


async def _error_of(work: Awaitable[object]) -> MatrixError | None:
    try:
        await work
    except MatrixError as error:
        return error
    return None


def _obstacle(error: MatrixError | None) -> str | None:
    """A refusal is none: then there is nothing more to do."""
    return error.message if error is not None and _is_passing(error) else None


def _is_passing(error: MatrixError) -> bool:
    """Whether it may be otherwise another time."""
    return error.status == _TOO_MANY or error.status >= _SERVER_FAULT
