"""Room aliases of this server, and which of its rooms are listed in public."""

from typing import Protocol

from synapse_lite import ids
from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import Errcode, MatrixError, forbidden, invalid_param, not_found
from synapse_lite.handlers.app_services.services import AppServices
from synapse_lite.handlers.canonical_alias import CANONICAL_ALIAS, without_alias
from synapse_lite.handlers.current_state import CurrentState
from synapse_lite.handlers.directory_rules import DirectoryRules
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.rooms import check_alias, not_in_room
from synapse_lite.handlers.suspension import check_not_suspended
from synapse_lite.matrix.event import Draft
from synapse_lite.rooms.append import EventAppender
from synapse_lite.rooms.values import Write
from synapse_lite.storage import aliases as alias_store
from synapse_lite.storage import rooms as room_store
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.room_closure import hold_room
from synapse_lite.storage.rooms import Room

MAX_OF_USER = 1000


class FindRooms(Protocol):
    async def find(self, room_id: str) -> Room | None: ...
    async def require(self, room_id: str, user_id: str) -> Room: ...


class Aliases:
    """`server_name` is ours. `require_membership`: only members of a room may make an alias of it."""

    def __init__(
        self,
        database: Database,
        rooms: FindRooms,
        current: CurrentState,
        appender: EventAppender,
        clock: Clock,
        server_name: str,
        rules: DirectoryRules,
        services: AppServices,
        *,
        require_membership: bool,
    ) -> None:
        self._database = database
        self._rooms = rooms
        self._current = current
        self._appender = appender
        self._clock = clock
        self._server_name = server_name
        self._rules = rules
        self._services = services
        self._require_membership = require_membership

    async def of_room(self, requester: Requester, room_id: str) -> list[str]:
        """For members, server admins, and for everybody where history is world-readable."""
        if requester.is_admin:
            known = await self._rooms.find(room_id)
            return [] if known is None else await self._database.read(alias_store.aliases_of, known.nid)
        room = await self._rooms.require(room_id, requester.user_id)
        return await self._database.read(self._read_all, room, requester.user_id)

    async def add(self, requester: Requester, alias: str, room_id: str) -> None:
        """400 `M_EXCLUSIVE` for a name of an application service, 409 `M_UNKNOWN` when it is taken, 403 for who is not in the room
        or has too many, or whom the operator's rules deny it. A service need not be in the room.
        """
        check_not_suspended(requester, "Creating aliases")
        self._check_ours(alias)
        self._services.check_alias(alias, requester.service)
        room = await self._rooms.find(room_id)
        if room is None:
            raise MatrixError(400, Errcode.UNKNOWN, "Room does not exist")
        await self._database.transact(self._add, room, requester, alias)

    async def remove(self, requester: Requester, alias: str) -> None:
        """For its creator, the service whose name it is, who may set the room's canonical alias, and server admins. An alias that is
        gone is also taken out of the canonical alias event, where the requester may write that now.
        """
        self._check_ours(alias)
        self._services.check_alias(alias, requester.service)
        await self._database.transact(self._remove, requester, alias)

    async def is_listed(self, room_id: str) -> bool:
        """Whether the public directory shows the room; 404 for an unknown one."""
        return await self._database.read(room_store.is_public, (await self._known(room_id)).nid)

    async def set_listed(self, requester: Requester, room_id: str, listed: bool) -> None:
        """For who may set the room's canonical alias, and server admins; to list it, the operator's rules must
        allow that, too. Shadow-banned users are told that it is done.
        """
        check_not_suspended(requester, "Publishing rooms")
        room = await self._known(room_id)
        if requester.shadow_banned:
            return
        await self._database.transact(self._set_listed, room, requester, listed)

    async def _known(self, room_id: str) -> Room:
        room = await self._rooms.find(room_id)
        if room is None:
            raise not_found("Unknown room")
        return room

    def _check_ours(self, alias: str) -> None:
        if not ids.is_local(check_alias(alias), self._server_name):
            raise invalid_param("Room alias must be local")

    # In a database thread

    def _read_all(self, txn: Transaction, room: Room, user_id: str) -> list[str]:
        if not _is_joined(txn, room.nid, user_id) and not self._current.is_world_readable(txn, room.nid):
            raise not_in_room(user_id, room.room_id)
        return alias_store.aliases_of(txn, room.nid)

    def _add(self, txn: Transaction, room: Room, requester: Requester, alias: str) -> None:
        user_id = requester.user_id
        if requester.service is None:
            self._check_may_add(txn, room, requester)
        self._rules.check_alias(user_id, alias, room.room_id)
        hold_room(txn, room.nid)
        alias_store.add_alias(txn, alias, room.nid, user_id)

    def _check_may_add(self, txn: Transaction, room: Room, requester: Requester) -> None:
        user_id = requester.user_id
        if self._require_membership and not _is_joined(txn, room.nid, user_id):
            raise forbidden("You must be in the room to create an alias for it")
        if not requester.is_admin and alias_store.alias_count(txn, user_id) >= MAX_OF_USER:
            raise forbidden(f"You may have {MAX_OF_USER} aliases")

    def _remove(self, txn: Transaction, requester: Requester, alias: str) -> None:
        creator = alias_store.alias_creator(txn, alias)
        room_id = alias_store.room_of_alias(txn, alias)
        room = None if room_id is None else room_store.room_by_id(txn, room_id)
        if room is None:
            raise not_found(f"Room alias {alias} not found")
        is_theirs = creator == requester.user_id or requester.service is not None
        if not is_theirs and not self._is_moderator(txn, room, requester):
            raise forbidden("You don't have permission to delete the alias.")
        alias_store.remove_alias(txn, alias)
        if not (requester.suspended or requester.shadow_banned):
            self._unlist(txn, room, requester.user_id, alias)

    def _unlist(self, txn: Transaction, room: Room, user_id: str, alias: str) -> None:
        key = (CANONICAL_ALIAS, "")
        listed: JsonObject = getattr(self._current.read_known(txn, room.nid, [key]).get(key), "content", {})
        rest = without_alias(listed, alias)
        if rest != listed:
            draft = Draft(CANONICAL_ALIAS, user_id, rest, self._clock.now_ms(), "")
            # A refusal is a result, not an exception: the alias goes all the same.
            self._appender.append(txn, [Write(room.nid, draft)])

    def _set_listed(self, txn: Transaction, room: Room, requester: Requester, listed: bool) -> None:
        if not self._is_moderator(txn, room, requester):
            raise forbidden(
                "This server requires you to be a moderator in the room to edit its room list entry"
            )
        if listed:
            self._rules.check_publication(
                requester.user_id, alias_store.aliases_of(txn, room.nid), room.room_id
            )
        room_store.set_public(txn, room.nid, listed)

    def _is_moderator(self, txn: Transaction, room: Room, requester: Requester) -> bool:
        if requester.is_admin:
            return True
        levels = self._current.power_levels(txn, room.nid)
        needed = levels.required(CANONICAL_ALIAS, is_state=True)
        return _is_joined(txn, room.nid, requester.user_id) and levels.user(requester.user_id) >= needed


def _is_joined(txn: Transaction, room_nid: int, user_id: str) -> bool:
    member = room_store.membership_in(txn, room_nid, user_id)
    return member is not None and member.membership == "join"
