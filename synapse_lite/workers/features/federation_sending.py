"""What this server tells others."""

from synapse_lite.handlers.federation.destinations import Destinations
from synapse_lite.handlers.federation.presence import TellPresence
from synapse_lite.handlers.federation.sending import FEDERATION, FederationFollower, FederationSender
from synapse_lite.handlers.federation.sending.bodies import BodyWriter
from synapse_lite.handlers.federation.sending.edus import DeviceListEdus, EphemeralEdus
from synapse_lite.handlers.federation.sending.listening import HeardServers
from synapse_lite.rest.admin.destinations import DestinationsApi
from synapse_lite.storage.sending import Backoff
from synapse_lite.tasks.followers import RegisteredFollower
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature
from synapse_lite.workers.roles import Role


def build(core: Core) -> Feature:
    role, retries = Role.of(core.config), core.config.federation
    recipients, wake = core.federation.recipients, core.wake_federation
    core.federation.heard_from.append(HeardServers(core.requests, core.clock, wake).heard_from)
    follower = FederationFollower(
        core.events,
        recipients,
        wake,
        (
            EphemeralEdus(recipients),
            DeviceListEdus(recipients),
            TellPresence(recipients, core.config.exclude_rooms_from_presence, core.clock),
        ),
    )
    sender = FederationSender(
        core.tasks,
        core.federation.peers,
        BodyWriter(core.events, core.server_name),
        core.bus,
        core.clock,
        core.metrics,
        backoff=Backoff(
            retries.destination_min_retry_interval,
            retries.destination_max_retry_interval,
            retries.destination_retry_multiplier,
        ),
        timeout=retries.client_timeout / 1000,
    )
    destinations = Destinations(core.requests, core.clock, wake)
    return Feature(
        DestinationsApi(destinations).routes(),
        followers=(RegisteredFollower(FEDERATION, follower),) if role.runs_tasks else (),
        lives=(sender,) if role.sends_to_servers else (),
    )
