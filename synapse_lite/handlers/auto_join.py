"""Rooms that new users are in from the beginning (`auto_join_rooms`)."""

import logging

from synapse_lite import ids
from synapse_lite.clock import Clock
from synapse_lite.config.accounts import AutoJoinOptions
from synapse_lite.config.rooms import RoomOptions
from synapse_lite.errors import MatrixError, guests_forbidden, not_found
from synapse_lite.handlers.current_state import CurrentState
from synapse_lite.handlers.room_creation import RoomCreation, at_its_own_moment
from synapse_lite.handlers.room_plan import RoomRequest, plan_room
from synapse_lite.matrix.guest_access import GUEST_ACCESS, lets_guests_in
from synapse_lite.rooms.append import EventAppender, append_all
from synapse_lite.rooms.members import invite_draft, join_draft
from synapse_lite.rooms.values import Write
from synapse_lite.storage import aliases as alias_store
from synapse_lite.storage import rooms as room_store
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.last_leaves import last_leave
from synapse_lite.storage.rooms import Room

PUBLIC_PRESET = "public_chat"
logger = logging.getLogger(__name__)


class AutoJoin:
    """`server_name` is ours. A room that cannot be joined is logged, and keeps nobody from registering."""

    def __init__(
        self,
        database: Database,
        appender: EventAppender,
        current: CurrentState,
        creation: RoomCreation,
        clock: Clock,
        options: AutoJoinOptions,
        room_options: RoomOptions,
        server_name: str,
    ) -> None:
        self._database = database
        self._appender = appender
        self._current = current
        self._creation = creation
        self._clock = clock
        self._options = options
        self._room_options = room_options
        self._server_name = server_name

    async def on_registered(self, user_id: str, *, is_guest: bool = False) -> None:
        """Rooms of other servers are not entered; local ones that do not exist yet are made, but not by guests."""
        if is_guest and not self._options.auto_join_rooms_for_guests:
            return
        for name in self._options.auto_join_rooms:
            try:
                room_id = await self._room_id(user_id, name, is_guest=is_guest)
                await self._database.transact(self._join, room_id, user_id, is_guest)
            except MatrixError as error:
                logger.warning("%s does not join %s by itself: %s", user_id, name, error.message)

    async def _room_id(self, user_id: str, name: str, *, is_guest: bool) -> str:
        if not name.startswith("#"):
            return name
        found = await self._database.read(alias_store.room_of_alias, name)
        makes = self._options.autocreate_auto_join_rooms and not is_guest
        if found is not None or not makes or not ids.is_local(name, self._server_name):
            return found or name
        try:
            return (await self._create(user_id, name)).room_id
        except MatrixError:  # who registered at the same moment was first
            return await self._database.read(alias_store.room_of_alias, name) or name

    async def _create(self, user_id: str, alias: str) -> Room:
        options = self._options
        creator = self._inviter or user_id
        preset = options.autocreate_auto_join_room_preset
        request = RoomRequest(
            preset=preset,
            is_public=preset == PUBLIC_PRESET,
            alias_name=ids.localpart_of(alias),
            creation_content={} if options.autocreate_auto_join_rooms_federated else {"m.federate": False},
        )
        plan = plan_room(request, creator, self._room_options)
        return await at_its_own_moment(self._database, self._clock, self._creation.make, plan, creator)

    @property
    def _inviter(self) -> str | None:
        localpart = self._options.auto_join_mxid_localpart
        return None if localpart is None else f"@{localpart}:{self._server_name}"

    # In a database thread

    def _join(self, txn: Transaction, room_id: str, user_id: str, is_guest: bool) -> None:
        """By invitation, where that is needed and there is somebody to invite."""
        room = room_store.room_by_id(txn, room_id)
        if room is None:
            raise not_found("This server does not know the room")
        if is_guest and not self._admits_guests(txn, room):
            raise guests_forbidden()
        member = room_store.membership_in(txn, room.nid, user_id)
        if member is not None and (member.membership == "join" or last_leave(txn, member.event_nid)):
            return  # a registration that is asked for again brings nobody back
        joining = Write(room.nid, join_draft(txn, user_id, self._clock.now_ms()))
        (result,) = self._appender.append(txn, [joining])
        if isinstance(result, MatrixError):
            if self._inviter is None:
                raise result
            invitation = invite_draft(txn, self._inviter, user_id, self._clock.now_ms(), is_direct=False)
            append_all(txn, self._appender, [Write(room.nid, invitation), joining])

    def _admits_guests(self, txn: Transaction, room: Room) -> bool:
        return lets_guests_in(self._current.one(txn, room.nid, GUEST_ACCESS))
