"""What a process speaks to other servers with, and how their rooms are entered."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Self

from attrs import field, frozen

from synapse_lite.clock import Clock
from synapse_lite.config.model import Config
from synapse_lite.federation.backfill import Backfill
from synapse_lite.federation.client import FederationClient
from synapse_lite.federation.fetching import EventFetcher
from synapse_lite.federation.handshakes import Handshakes
from synapse_lite.federation.inbound import InboundEvents
from synapse_lite.federation.keyring import Keyring, Notary
from synapse_lite.federation.pdus import PduChecker
from synapse_lite.federation.peers import Peers
from synapse_lite.federation.policy import PolicyServers
from synapse_lite.federation.queries import Queries
from synapse_lite.federation.resync import RoomResync
from synapse_lite.federation.trust import Trust
from synapse_lite.handlers.app_services.queries import ServiceQueries
from synapse_lite.handlers.federation.sending.recipients import Recipients
from synapse_lite.handlers.joins_under_way import JoinsUnderWay
from synapse_lite.handlers.prejoin_state import PrejoinState
from synapse_lite.handlers.remote_members import MEMBERS_SECONDS, RemoteMembers
from synapse_lite.handlers.remote_members import Parts as RemoteParts
from synapse_lite.handlers.remote_rooms import RemoteRooms
from synapse_lite.matrix.server_keys import RetiredKey
from synapse_lite.matrix.signing import SigningKey
from synapse_lite.rest.server_authenticator import ServerAuthenticator
from synapse_lite.rooms.branches import BranchReceiver
from synapse_lite.rooms.contributors import HISTORY_CONTRIBUTORS
from synapse_lite.rooms.enter import RoomEntrance
from synapse_lite.rooms.heads import HeadReader
from synapse_lite.rooms.history import HistoryFiller
from synapse_lite.rooms.outside import OutsideMemberships, OutsideStore
from synapse_lite.rooms.partial import RoomFiller
from synapse_lite.rooms.receive import EventReceiver
from synapse_lite.rooms.runs import RunReceiver
from synapse_lite.rooms.values import Contributor
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.state import StateStore
from synapse_lite.tasks.actions.redact_on_ban import go_on
from synapse_lite.tasks.actions.resync_room import RESYNC_ROOM, ResyncRoomParams
from synapse_lite.tasks.queue import TaskQueue
from synapse_lite.workers.infrastructure import Infrastructure
from synapse_lite.workers.outbound import build_discovery, build_federation_client


@frozen
class FederationParts:
    """`heard_from` is called with the name of a server whenever one made a request that is good."""

    signing_key: SigningKey
    peers: Peers
    keyring: Keyring
    checker: PduChecker
    authenticator: ServerAuthenticator
    recipients: Recipients
    policies: PolicyServers
    heard_from: list[Callable[[str], None]] = field(factory=list)

    @classmethod
    def build(cls, infrastructure: Infrastructure, config: Config, signing_key: SigningKey) -> Self:
        peers = infrastructure.peers or build_peers(infrastructure, config, signing_key)
        notaries = [Notary(one.server_name, one.verify_keys) for one in config.trusted_key_servers]
        keyring = Keyring(
            infrastructure.requests,
            peers,
            infrastructure.clock,
            signing_key,
            retired_keys(config),
            notaries,
        )
        heard_from: list[Callable[[str], None]] = []
        authenticator = ServerAuthenticator(
            keyring,
            infrastructure.clock,
            config.server_name,
            config.federation_domain_whitelist,
            heard_from,
        )
        allowed = config.federation_domain_whitelist
        recipients = Recipients(config.server_name, None if allowed is None else frozenset(allowed))
        policies = PolicyServers(peers, infrastructure.clock)
        return cls(
            signing_key, peers, keyring, PduChecker(keyring), authenticator, recipients, policies, heard_from
        )


@frozen
class FederatedRooms:
    """How events of other servers come into rooms, and users of this server into rooms of others."""

    handshakes: Handshakes
    resync: RoomResync
    receiver: EventReceiver
    inbound: InboundEvents
    runs: RunReceiver
    backfill: Backfill
    outside: OutsideMemberships
    heads: HeadReader
    queries: Queries
    remote_rooms: RemoteRooms
    remote_members: RemoteMembers

    @classmethod
    def build(
        cls, infrastructure: Infrastructure, config: Config, parts: FederationParts, events: EventStore,
        state: StateStore, contributors: Sequence[Contributor], services: ServiceQueries,
    ) -> Self:  # fmt: skip
        database, clock, server_name = infrastructure.requests, infrastructure.clock, config.server_name
        receiver = EventReceiver(database, events, state, clock, contributors)
        fetcher = EventFetcher(parts.peers, parts.checker)
        room_filler = RoomFiller(events, state, contributors, go_on)
        branches = BranchReceiver(database, events, state, clock, contributors)
        inbound = InboundEvents(
            database,
            events,
            receiver,
            branches,
            fetcher,
            room_filler,
            parts.policies,
            Trust(clock),
            server_name,
        )
        resync = RoomResync(
            database,
            events,
            state,
            fetcher,
            parts.keyring,
            receiver,
            room_filler,
            infrastructure.bus,
            server_name,
        )
        queue = TaskQueue(database, infrastructure.bus)
        filler = HistoryFiller(database, events, state, clock, HISTORY_CONTRIBUTORS)
        backfill = Backfill(database, events, fetcher, inbound, receiver, filler, clock, server_name)
        outside = OutsideMemberships(
            database, OutsideStore(events, clock, server_name, config.forget_rooms_on_leave)
        )
        heads = HeadReader(events, state)
        queries = Queries(parts.peers)
        handshakes = Handshakes(parts.peers, parts.checker, parts.signing_key, clock)
        remote_members = RemoteMembers(
            RemoteParts(
                database,
                events,
                PrejoinState.build(events, state, config),
                heads,
                handshakes,
                RoomEntrance(
                    database, events, state, clock, contributors, server_name, partial(_resync, queue, clock)
                ),
                outside,
                inbound,
                JoinsUnderWay(database, infrastructure.bus, clock),
                state,
                parts.policies,
                queue,
                resync,
                parts.signing_key,
                clock,
            )
        )
        remote_rooms = RemoteRooms(database, queries, services, server_name)
        return cls(
            handshakes, resync, receiver, inbound, RunReceiver(events, state, clock, contributors), backfill,
            outside, heads, queries, remote_rooms, remote_members,
        )  # fmt: skip


def _resync(queue: TaskQueue, clock: Clock, txn: Transaction, room: Room) -> None:
    """Fetch the members of a room that was entered without them; those of small rooms will be there before the task begins."""
    queue.enqueue_in(
        txn,
        RESYNC_ROOM,
        ResyncRoomParams(room_id=room.room_id),
        requester=room.room_id,
        endpoint="a join",
        run_at_ms=clock.now_ms() + round(MEMBERS_SECONDS * 1000),
    )


def build_peers(infrastructure: Infrastructure, config: Config, signing_key: SigningKey) -> Peers:
    reactor, clock = infrastructure.reactor, infrastructure.clock
    http = build_federation_client(reactor, clock, config)
    discovery = build_discovery(reactor, clock, http)
    return FederationClient(http, discovery, signing_key, config.federation_domain_whitelist)


def retired_keys(config: Config) -> list[RetiredKey]:
    return [RetiredKey(key_id, old.key, old.expired_ts) for key_id, old in config.old_signing_keys.items()]
