"""Rooms in the hands of administrators: looking at them, ruling them, deleting them, purging their history."""

from synapse_lite.handlers.admin_history import EverythingVisible, FetchEvent, NobodyIgnored
from synapse_lite.handlers.hierarchy import Hierarchy
from synapse_lite.handlers.history import HistoryHandler
from synapse_lite.handlers.history_purge import HistoryPurge
from synapse_lite.handlers.room_admin import RoomAdmin
from synapse_lite.handlers.room_deletion import RoomDeletion
from synapse_lite.handlers.room_intervention import RoomIntervention
from synapse_lite.handlers.room_selection import RoomChoice
from synapse_lite.handlers.room_summary import EveryRoom
from synapse_lite.handlers.statistics import DatabaseStatistics
from synapse_lite.rest.admin.history import AdminHistoryApi
from synapse_lite.rest.admin.purge_history import PurgeHistoryApi
from synapse_lite.rest.admin.room_deletion import RoomDeletionApi
from synapse_lite.rest.admin.room_intervention import RoomInterventionApi
from synapse_lite.rest.admin.room_selection import RoomSelectionApi
from synapse_lite.rest.admin.rooms import RoomsApi
from synapse_lite.rest.admin.statistics import StatisticsApi
from synapse_lite.rest.client.hierarchy import HierarchyApi
from synapse_lite.tasks.waiting import TaskWaiter
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature


def room_history(core: Core) -> AdminHistoryApi:
    everything = EverythingVisible(core.events, core.state, core.rooms.retention)
    history = HistoryHandler(
        core.requests,
        core.events,
        core.state,
        everything,
        NobodyIgnored(),
        core.rooms.missing_history,
        core.rooms.history,
        core.clock,
        in_old_form=True,
    )
    return AdminHistoryApi(history, FetchEvent(core.requests, core.events, core.clock))


def room_tree(core: Core) -> HierarchyApi:
    rooms, current = core.rooms.rooms, core.rooms.current
    return HierarchyApi(Hierarchy(core.requests, rooms, current, EveryRoom(core.requests, rooms, current)))


def build(core: Core) -> Feature:
    rooms = RoomAdmin(core.requests, core.events, core.state, core.clock, core.server_name)
    waiter = TaskWaiter(core.queue, core.bus, core.clock)
    deletion = RoomDeletion(core.requests, core.queue, waiter, core.config, core.server_name)
    choice = RoomChoice(core.requests, core.server_name)
    intervention = RoomIntervention(
        core.requests,
        core.rooms.rooms,
        core.rooms.current,
        core.sender,
        core.federated.remote_rooms,
        core.federated.remote_members,
        core.clock,
        core.server_name,
    )
    return Feature(
        routes=[
            *RoomsApi(rooms, room_tree(core)).routes(),
            *room_history(core).routes(),
            *RoomInterventionApi(intervention).routes(),
            *RoomDeletionApi(deletion, choice).routes(),
            *RoomSelectionApi(choice).routes(),
            *PurgeHistoryApi(HistoryPurge(core.requests, core.queue), core.clock).routes(),
            *StatisticsApi(DatabaseStatistics(core.requests)).routes(),
        ]
    )
