"""Application services."""

from synapse_lite.handlers.app_services.deliveries import ServiceDeliveries, follower_of
from synapse_lite.handlers.app_services.pings import ServicePings
from synapse_lite.handlers.app_services.room_lists import RoomLists
from synapse_lite.rest.client.app_services import AppServicesApi
from synapse_lite.tasks.followers import RegisteredFollower
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature


def build(core: Core) -> Feature:
    """Whoever runs background tasks tells them."""
    pings = ServicePings(core.accounts.service_calls, core.clock)
    lists = RoomLists(core.requests)
    return Feature(
        AppServicesApi(pings, lists).routes(),
        followers=tuple(
            RegisteredFollower(
                follower_of(service),
                ServiceDeliveries(
                    service,
                    core.tasks,
                    core.events,
                    core.rooms.prejoin,
                    core.accounts.service_calls,
                    core.clock,
                    core.server_name,
                ),
            )
            for service in core.accounts.services.all
            if service.url is not None and core.config.runs_background_tasks
        ),
    )
