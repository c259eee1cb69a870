"""The lists of rooms that application services have for their networks (application service API, "publishing rooms")."""

from synapse_lite.errors import Errcode, MatrixError, forbidden, not_found
from synapse_lite.handlers.requester import Requester
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.room_closure import hold_room_alone
from synapse_lite.storage.room_directory import networks_of, set_in_network
from synapse_lite.storage.rooms import room_by_id

MAX_NETWORKS = 100
"""Of a room: each is a row that changes with its members."""


class RoomLists:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def set_listed(self, requester: Requester, network_id: str, room_id: str, listed: bool) -> None:
        """List the room for a network of the service that speaks, or no more; it need not be in the room.

        Raises 403 `M_FORBIDDEN` for anybody but a service, 404 for an unknown room, 400 `M_RESOURCE_LIMIT_EXCEEDED` for
        one that is listed for very many networks.
        """
        if requester.service is None:
            raise forbidden("Only appservices can edit the appservice published room list")
        network = f"{requester.service.id}|{network_id}"
        await self._database.transact(_set_listed, room_id, network, listed)


def _set_listed(txn: Transaction, room_id: str, network: str, listed: bool) -> None:
    room = room_by_id(txn, room_id)
    if room is None:
        raise not_found("Unknown room")
    hold_room_alone(txn, room.nid)
    networks = networks_of(txn, room.nid, MAX_NETWORKS)
    if (network in networks) is listed:
        return
    if listed and len(networks) == MAX_NETWORKS:
        raise MatrixError(
            400, Errcode.RESOURCE_LIMIT_EXCEEDED, f"The room is listed for {MAX_NETWORKS} networks"
        )
    set_in_network(txn, room.nid, network, listed)
