"""Where rooms are: what an id or an alias means, and which servers may know of it."""

from collections.abc import Iterable, Sequence

from attrs import frozen

from synapse_lite import ids
from synapse_lite.errors import Errcode, MatrixError, forbidden, invalid_param, not_found
from synapse_lite.federation.peers import PeerError
from synapse_lite.federation.queries import Queries, RemoteAlias
from synapse_lite.handlers.app_services.queries import ServiceQueries
from synapse_lite.handlers.rooms import check_alias
from synapse_lite.storage import aliases as alias_store
from synapse_lite.storage import rooms as room_store
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.room_closure import blocked_by
from synapse_lite.storage.room_servers import keeps_room, servers_in_room
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.stripped_state import teller_of

MAX_SERVERS = 10
"""That are asked for one room; more of them would hardly know it better."""


@frozen
class Target:
    """A room that somebody means. `room` None: nothing is known of it here. `is_ours`: somebody of this server is in it.

    `servers` are others that may know it, the likeliest first.
    """

    room_id: str
    room: Room | None
    is_ours: bool
    servers: Sequence[str]


class RemoteRooms:
    """`server_name` is ours."""

    def __init__(
        self, database: Database, queries: Queries, services: ServiceQueries, server_name: str
    ) -> None:
        self._database = database
        self._queries = queries
        self._services = services
        self._server_name = server_name

    async def locate(self, room_id_or_alias: str, user_id: str | None, via: Sequence[str] = ()) -> Target:
        """`via` are servers that the user names.

        404 `M_NOT_FOUND` for an alias of no room, and for a room of which nobody is known who could know it; 403
        for one that is blocked; 400 `M_INVALID_PARAM` for what is neither id nor alias.
        """
        if room_id_or_alias.startswith("#"):
            named = await self.resolve_alias(room_id_or_alias)
        elif room_id_or_alias.startswith("!"):
            named = RemoteAlias(ids.check_room_id(room_id_or_alias), ())
        else:
            raise invalid_param(f"{room_id_or_alias[:80]!r} was not legal room ID or room alias")
        servers = self._others([*via, *named.servers])
        target = await self._database.read(self._look_unless_blocked, named.room_id, user_id, servers)
        if not target.is_ours and not target.servers:
            raise not_found(
                "Can't join remote room because no servers that are in the room have been provided."
            )
        return target

    async def known(self, room: Room, user_id: str) -> Target:
        """What is known of the room besides, for a user who is something to it."""
        return await self._database.read(self._look, room.room_id, user_id, ())

    async def resolve_alias(self, alias: str) -> RemoteAlias:
        """404 `M_NOT_FOUND` for an alias that names no room, 502 when its server does not answer."""
        check_alias(alias)
        if ids.is_local(alias, self._server_name):
            found = await self._database.read(self._local_alias, alias)
            if found is None and await self._services.find_alias(alias):
                found = await self._database.read(self._local_alias, alias)
            if found is None:
                raise not_found(f"Room alias {alias} not found")
            return found
        try:
            return await self._queries.alias(alias)
        except PeerError as error:
            if error.status == 404:  # noqa: PLR2004 (not found)
                raise not_found(f"Room alias {alias} not found") from None
            raise MatrixError(502, Errcode.UNKNOWN, f"Failed to look up {alias}: {error}") from None

    def _others(self, servers: Iterable[str]) -> tuple[str, ...]:
        good = [one for one in servers if one != self._server_name and ids.is_server_name(one)]
        return tuple(dict.fromkeys(good))[:MAX_SERVERS]

    # In a database thread

    def _local_alias(self, txn: Transaction, alias: str) -> RemoteAlias | None:
        room_id = alias_store.room_of_alias(txn, alias)
        room = None if room_id is None else room_store.room_by_id(txn, room_id)
        if room is None:
            return None
        servers = servers_in_room(txn, room.nid, MAX_SERVERS)
        return RemoteAlias(room.room_id, list(dict.fromkeys([self._server_name, *servers])))

    def _look_unless_blocked(
        self, txn: Transaction, room_id: str, user_id: str | None, named: Sequence[str]
    ) -> Target:
        target = self._look(txn, room_id, user_id, named)
        if not target.is_ours and blocked_by(txn, room_id) is not None:
            raise forbidden("This room has been blocked on this server")
        return target

    def _look(self, txn: Transaction, room_id: str, user_id: str | None, named: Sequence[str]) -> Target:
        room = room_store.room_by_id(txn, room_id)
        if room is None:
            return Target(room_id, None, False, self._others([*named, ids.domain_of(room_id)]))
        member = None if user_id is None else room_store.membership_in(txn, room.nid, user_id)
        teller = None if user_id is None else teller_of(txn, room.nid, user_id)
        inviter = [] if member is None else [*filter(None, [teller]), ids.domain_of(member.sender)]
        known = servers_in_room(txn, room.nid, MAX_SERVERS)
        servers = self._others([*named, *inviter, *known, ids.domain_of(room_id)])
        return Target(room_id, room, keeps_room(txn, room.nid, self._server_name), servers)
