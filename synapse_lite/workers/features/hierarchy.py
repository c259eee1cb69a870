"""Spaces: the tree of rooms below one."""

from synapse_lite.handlers.hierarchy import Hierarchy
from synapse_lite.handlers.remote_spaces import RemoteSpaces
from synapse_lite.rest.client.hierarchy import HierarchyApi
from synapse_lite.rest.federation.hierarchy import FederatedHierarchyApi
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature
from synapse_lite.workers.features.public_rooms import room_summaries


def build(core: Core) -> Feature:
    rooms = core.rooms
    others = RemoteSpaces(core.federated.queries, core.clock, core.server_name)
    hierarchy = Hierarchy(core.requests, rooms.rooms, rooms.current, room_summaries(core), others)
    return Feature([*HierarchyApi(hierarchy).routes(), *FederatedHierarchyApi(hierarchy).routes()])
