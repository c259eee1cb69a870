"""What every process has, whatever its role: the stream, the write path, the task queue, shared handlers."""

from typing import Any

from attrs import field, frozen
from prometheus_client import CollectorRegistry

from synapse_lite.clock import Clock
from synapse_lite.config.model import Config
from synapse_lite.handlers.app_services.listening import HeardServices
from synapse_lite.handlers.closed_server import ClosedServer
from synapse_lite.handlers.common_buckets import DatabaseBuckets
from synapse_lite.handlers.dropped_messages import DroppedMessages
from synapse_lite.handlers.event_writer import EventWriter, Sender
from synapse_lite.handlers.federation.sending import TOPIC as FEDERATION
from synapse_lite.handlers.policed_events import PolicedSender
from synapse_lite.handlers.rate_limits import RateLimits
from synapse_lite.matrix.signing import SigningKey
from synapse_lite.replication.bus import Bus
from synapse_lite.replication.changes import ChangeLog
from synapse_lite.rest.authenticator import Authenticator, TokenAuthenticator
from synapse_lite.rooms.append import EventAppender
from synapse_lite.rooms.contributors import room_contributors
from synapse_lite.storage.database import Database
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.state import StateStore
from synapse_lite.storage.writer import Writer
from synapse_lite.tasks.queue import TaskQueue
from synapse_lite.workers.feature import Extensions, Life, start_all, stop_all
from synapse_lite.workers.federation import FederatedRooms, FederationParts
from synapse_lite.workers.infrastructure import Infrastructure
from synapse_lite.workers.media import MediaParts
from synapse_lite.workers.shared import AccountHandlers, RoomHandlers


@frozen
class Core:
    """What features are built from. `requests`, `sending` and `tasks` are pools of connections."""

    config: Config
    server_name: str
    reactor: Any
    clock: Clock
    metrics: CollectorRegistry
    requests: Database
    sending: Database
    writing: Database
    tasks: Database
    bus: Bus
    log: ChangeLog
    events: EventStore
    state: StateStore
    appender: EventAppender
    sender: Sender
    writer: Writer
    queue: TaskQueue
    media: MediaParts
    limits: RateLimits
    federation: FederationParts
    federated: FederatedRooms
    dropped: DroppedMessages
    accounts: AccountHandlers
    rooms: RoomHandlers
    lives: tuple[Life, ...]
    extensions: Extensions = field(factory=Extensions)

    @property
    def authenticator(self) -> Authenticator:
        """Says who makes a request."""
        accounts = self.accounts
        users = TokenAuthenticator(
            accounts.access_tokens,
            accounts.last_seen,
            accounts.services,
            accounts.service_sessions,
            HeardServices(self.requests, self.bus, self.clock),
            ClosedServer.of(self.config),
            notes_services=self.config.track_appservice_user_ips,
        )
        return Authenticator(users, self.federation.authenticator)

    def wake_federation(self) -> None:
        """There is something for other servers."""
        self.bus.publish(FEDERATION)

    async def start(self) -> None:
        await start_all(self.lives)

    async def stop(self) -> None:
        await stop_all(self.lives)


def build_core(
    infrastructure: Infrastructure, config: Config, signing_key: SigningKey, *, follows: bool
) -> Core:
    """`follows`: the process serves clients, and has to know what other processes commit."""
    clock = infrastructure.clock
    requests = infrastructure.requests
    events = EventStore(config.event_cache_bytes)
    state = StateStore(config.caches.state_bytes)
    log = ChangeLog(requests, events, infrastructure.bus, clock)
    log.listen(events.on_changes)
    for database in infrastructure.databases:
        database.on_commit(log.committed)
    extensions = Extensions(
        contributors=[
            *room_contributors(state, config.server_name, forget_on_leave=config.forget_rooms_on_leave)
        ]
    )
    appender = EventAppender(events, state, signing_key, clock, extensions.contributors)
    buckets = DatabaseBuckets(requests, clock)
    rates = RateLimits(clock, buckets)
    writer = Writer(infrastructure.writing, requests)
    media = MediaParts.build(infrastructure.reactor, clock, config)
    federation = FederationParts.build(infrastructure, config, signing_key)
    accounts = AccountHandlers.build(infrastructure, config, log, rates)
    federated = FederatedRooms.build(
        infrastructure, config, federation, events, state, extensions.contributors, accounts.service_queries
    )
    sender = PolicedSender(
        EventWriter(infrastructure.sending, appender),
        requests,
        events,
        state,
        federated.heads,
        federated.receiver,
        federation.policies,
        signing_key,
    )
    return Core(
        config=config,
        server_name=config.server_name,
        reactor=infrastructure.reactor,
        clock=clock,
        metrics=infrastructure.metrics,
        requests=requests,
        sending=infrastructure.sending,
        writing=infrastructure.writing,
        tasks=infrastructure.tasks,
        bus=infrastructure.bus,
        log=log,
        events=events,
        state=state,
        appender=appender,
        sender=sender,
        writer=writer,
        queue=TaskQueue(requests, infrastructure.bus),
        media=media,
        limits=rates,
        federation=federation,
        federated=federated,
        dropped=DroppedMessages(infrastructure.metrics),
        accounts=accounts,
        rooms=RoomHandlers.build(
            infrastructure,
            config,
            log,
            events,
            state,
            sender,
            writer,
            rates,
            federated,
            accounts.service_queries,
        ),
        extensions=extensions,
        lives=(*infrastructure.lives, *media.lives, *((log, buckets) if follows else ())),
    )
