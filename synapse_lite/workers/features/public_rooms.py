"""The directory of rooms, and what one may know of a room from outside."""

from synapse_lite.handlers.public_rooms import PublicRooms
from synapse_lite.handlers.remote_summaries import RemoteSummaries
from synapse_lite.handlers.room_summary import RoomSummaries
from synapse_lite.rest.client.public_rooms import PublicRoomsApi
from synapse_lite.rest.client.room_summary import RoomSummaryApi
from synapse_lite.rest.federation.public_rooms import FederatedPublicRoomsApi
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature


def room_summaries(core: Core) -> RoomSummaries:
    return RoomSummaries(core.requests, core.rooms.rooms, core.rooms.current)


def build(core: Core) -> Feature:
    config = core.config
    directory = PublicRooms(
        core.requests,
        core.federation.peers,
        core.clock,
        core.server_name,
        searchable=config.enable_room_list_search,
    )
    federated = core.federated
    summaries = RemoteSummaries(
        core.requests, room_summaries(core), federated.remote_rooms, federated.queries
    )
    return Feature(
        routes=[
            *PublicRoomsApi(directory, without_token=config.allow_public_rooms_without_auth).routes(),
            *FederatedPublicRoomsApi(directory, shared=config.allow_public_rooms_over_federation).routes(),
            *RoomSummaryApi(summaries).routes(),
        ]
    )
