"""Handlers that several features use."""

from typing import Self

from attrs import frozen

from synapse_lite.config.app_services import read_registrations
from synapse_lite.config.model import Config
from synapse_lite.handlers.access_tokens import AccessTokens, TokenLifetimes
from synapse_lite.handlers.active_users import ActiveUsers
from synapse_lite.handlers.app_services import AppServices, AppServiceSessions
from synapse_lite.handlers.app_services.calls import ServiceCalls
from synapse_lite.handlers.app_services.queries import ServiceQueries
from synapse_lite.handlers.avatars import Avatars
from synapse_lite.handlers.broken_rooms import BrokenRooms
from synapse_lite.handlers.current_state import CurrentState
from synapse_lite.handlers.event_writer import Sender
from synapse_lite.handlers.ignored_users import IgnoredUsers
from synapse_lite.handlers.invited_joins import InvitedJoins
from synapse_lite.handlers.last_seen import LastSeen
from synapse_lite.handlers.login import LoginLimiters, Logins
from synapse_lite.handlers.login_tokens import LoginTokens
from synapse_lite.handlers.lost_joins import LostJoins
from synapse_lite.handlers.membership import Memberships
from synapse_lite.handlers.membership_limits import MembershipLimits
from synapse_lite.handlers.missing_history import MissingHistory
from synapse_lite.handlers.passwords import Passwords
from synapse_lite.handlers.prejoin_state import PrejoinState
from synapse_lite.handlers.presence import PresenceHandler
from synapse_lite.handlers.rate_limits import RateLimits
from synapse_lite.handlers.remembered_history import RememberedHistory
from synapse_lite.handlers.retention import Retention
from synapse_lite.handlers.room_complexity import ComplexityLimit
from synapse_lite.handlers.rooms import Rooms
from synapse_lite.handlers.send_event import SendEvent, SendingLimits
from synapse_lite.handlers.sync.joined import JoinedRoomsReader
from synapse_lite.handlers.sync.live_state import LiveState
from synapse_lite.handlers.terms import Terms
from synapse_lite.handlers.uia import InteractiveAuth
from synapse_lite.handlers.visibility import Visibility
from synapse_lite.http.ratelimit import RateLimiter
from synapse_lite.replication.changes import ChangeLog
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.state import StateStore
from synapse_lite.storage.writer import Writer
from synapse_lite.workers.federation import FederatedRooms
from synapse_lite.workers.infrastructure import Infrastructure
from synapse_lite.workers.outbound import build_app_service_client
from synapse_lite.workers.retention import retention_policy


@frozen
class AccountHandlers:
    """Who asks, and how they prove it."""

    access_tokens: AccessTokens
    login_tokens: LoginTokens
    last_seen: LastSeen
    passwords: Passwords
    logins: Logins
    auth: InteractiveAuth
    terms: Terms | None
    active: ActiveUsers | None
    services: AppServices
    service_sessions: AppServiceSessions
    service_calls: ServiceCalls
    service_queries: ServiceQueries

    @classmethod
    def build(cls, infrastructure: Infrastructure, config: Config, log: ChangeLog, rates: RateLimits) -> Self:
        database, clock = infrastructure.requests, infrastructure.clock
        terms = Terms.of(config)
        active = ActiveUsers.of(database, clock, infrastructure.metrics, config)
        access_tokens = AccessTokens(database, clock, TokenLifetimes.of(config), terms, active)
        log.listen(access_tokens.on_changes)
        passwords = Passwords(
            infrastructure.reactor,
            pepper=config.password_config.pepper,
            policy=config.password_config.policy,
            hasher=infrastructure.password_hasher,
        )
        limits = LoginLimiters(
            rates.limiter("rc_login.address", config.rc_login.address, is_exact=True),
            rates.limiter("rc_login.account", config.rc_login.account, is_exact=True),
            rates.limiter("rc_login.failed_attempts", config.rc_login.failed_attempts, is_exact=True),
        )
        login_tokens = LoginTokens(database, clock, config.login_via_existing_session)
        logins = Logins(database, access_tokens, login_tokens, passwords, limits, config.server_name, active)
        auth = InteractiveAuth(
            database,
            clock,
            logins.check_password,
            terms.policies() if terms else None,
            config.ui_auth.session_timeout,
        )
        registrations = read_registrations(config.app_service_config_files, config.server_name)
        services = AppServices.of(registrations, config.server_name, config.experimental_features)
        service_sessions = AppServiceSessions(database, clock)
        log.listen(service_sessions.on_changes)
        service_calls = ServiceCalls(
            build_app_service_client(infrastructure.reactor, clock, config),
            config.use_appservice_legacy_authorization,
        )
        return cls(
            access_tokens,
            login_tokens,
            LastSeen(database, clock),
            passwords,
            logins,
            auth,
            terms,
            active,
            services,
            service_sessions,
            service_calls,
            ServiceQueries(database, services, service_calls, config.server_name),
        )


@frozen
class RoomHandlers:
    """Which rooms there are, who is in them, who may see what."""

    rooms: Rooms
    broken: BrokenRooms
    missing_history: MissingHistory
    joined: JoinedRoomsReader
    live: LiveState
    current: CurrentState
    retention: Retention
    visibility: Visibility
    history: RememberedHistory
    prejoin: PrejoinState
    ignored: IgnoredUsers
    membership_limits: MembershipLimits
    messages: RateLimiter
    memberships: Memberships
    invited_joins: InvitedJoins
    lost_joins: LostJoins
    avatars: Avatars
    presence: PresenceHandler
    sending: SendEvent

    @classmethod
    def build(
        cls,
        infrastructure: Infrastructure,
        config: Config,
        log: ChangeLog,
        events: EventStore,
        state: StateStore,
        sender: Sender,
        writer: Writer,
        rates: RateLimits,
        federated: FederatedRooms,
        services: ServiceQueries,
    ) -> Self:
        database, clock = infrastructure.requests, infrastructure.clock
        rooms = Rooms(database)
        log.listen(rooms.on_changes)
        joined = JoinedRoomsReader(database, events, log)
        log.share_rooms(joined.rooms_of)
        live = LiveState(database, events, state)
        log.listen(live.on_changes)
        current = CurrentState(events, state)
        retention = Retention(retention_policy(config.retention), clock)
        messages = rates.limiter("rc_message", config.rc_message)
        member_limits = MembershipLimits.build(config, rates, messages)
        memberships = Memberships(
            database,
            rooms,
            current,
            sender,
            member_limits,
            federated.remote_rooms,
            federated.remote_members,
            ComplexityLimit(database, federated.queries, config.limit_remote_rooms),
            services,
            clock,
            config.server_name,
            only_admins_invite=config.block_non_admin_invites,
            own_profiles=config.allow_per_room_profiles,
            shows_invited=config.include_profile_data_on_invite,
        )
        redactions = config.rc_admin_redaction
        limits = SendingLimits(
            messages, rates.limiter("rc_admin_redaction", redactions) if redactions else messages
        )
        avatars = Avatars(database, config.max_avatar_size, config.allowed_avatar_mimetypes)
        presence = PresenceHandler(
            database,
            writer,
            clock,
            config.presence,
            config.exclude_rooms_from_presence,
            rates.limiter("rc_presence.per_user", config.rc_presence.per_user),
            rates.limiter("rc_presence.per_user by sync", config.rc_presence.per_user),
        )
        sending = SendEvent(
            database,
            rooms,
            current,
            sender,
            memberships,
            avatars,
            presence,
            limits,
            clock,
            config.server_name,
        )
        visibility = Visibility(events, state, retention)
        ignored = IgnoredUsers(database)
        log.listen(ignored.on_changes)
        history = RememberedHistory(log, events, retention, config.caches.history_bytes)
        log.listen(history.on_changes)
        return cls(
            rooms,
            BrokenRooms(infrastructure.metrics),
            MissingHistory(rooms, federated.backfill, clock),
            joined,
            live,
            current,
            retention,
            visibility,
            history,
            PrejoinState.build(events, state, config),
            ignored,
            member_limits,
            messages,
            memberships,
            InvitedJoins(database, memberships, clock),
            LostJoins(database, memberships, federated.remote_rooms, federated.remote_members, clock),
            avatars,
            presence,
            sending,
        )
