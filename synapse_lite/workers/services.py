"""The handlers of a process and the routes on top of them."""

from typing import Any

from attrs import frozen

from synapse_lite.config.model import Config
from synapse_lite.handlers.account_data import AccountData
from synapse_lite.handlers.aliases import Aliases
from synapse_lite.handlers.auth import LastSeen, Sessions
from synapse_lite.handlers.current_state import CurrentState
from synapse_lite.handlers.ephemeral import EphemeralHandler
from synapse_lite.handlers.history import HistoryHandler
from synapse_lite.handlers.history_purge import HistoryPurge
from synapse_lite.handlers.login import LoginLimiters, Logins, PasswordChanges
from synapse_lite.handlers.membership import Memberships
from synapse_lite.handlers.membership_limits import MembershipLimits
from synapse_lite.handlers.passwords import Passwords
from synapse_lite.handlers.profiles import Profiles
from synapse_lite.handlers.redactions import RedactionsHandler
from synapse_lite.handlers.registration import Registration, SharedSecretRegistration
from synapse_lite.handlers.retention import Retention
from synapse_lite.handlers.room_admin import RoomAdmin
from synapse_lite.handlers.room_creation import RoomCreation
from synapse_lite.handlers.room_deletion import RoomDeletion
from synapse_lite.handlers.room_profiles import RoomProfiles
from synapse_lite.handlers.room_state import RoomState
from synapse_lite.handlers.rooms import Rooms
from synapse_lite.handlers.sending import Sending, SendingLimits
from synapse_lite.handlers.sync.handler import SyncHandler
from synapse_lite.handlers.sync.joined import JoinedRoomsReader
from synapse_lite.handlers.sync.reading import SyncReader
from synapse_lite.handlers.tasks import TasksHandler
from synapse_lite.handlers.uia import InteractiveAuth
from synapse_lite.handlers.visibility import Visibility
from synapse_lite.http.ratelimit import RateLimiter
from synapse_lite.http.router import Route
from synapse_lite.rest.admin.purge_history import PurgeHistoryApi
from synapse_lite.rest.admin.redactions import RedactionsApi
from synapse_lite.rest.admin.register import SharedSecretRegisterApi
from synapse_lite.rest.admin.room_deletion import RoomDeletionApi
from synapse_lite.rest.admin.rooms import RoomsApi
from synapse_lite.rest.admin.server import ServerApi
from synapse_lite.rest.admin.tasks import TasksApi
from synapse_lite.rest.admin.ui import UiApi
from synapse_lite.rest.client.account import AccountApi
from synapse_lite.rest.client.account_data import AccountDataApi
from synapse_lite.rest.client.aliases import AliasApi
from synapse_lite.rest.client.discovery import (
    DiscoveryApi,
    capabilities,
    client_well_known,
    fixed_profile_fields,
)
from synapse_lite.rest.client.ephemeral import EphemeralApi
from synapse_lite.rest.client.history import HistoryApi
from synapse_lite.rest.client.login import LoginApi
from synapse_lite.rest.client.membership import MembershipApi
from synapse_lite.rest.client.profile import ProfileApi
from synapse_lite.rest.client.push_rules import PushRulesApi
from synapse_lite.rest.client.register import RegisterApi
from synapse_lite.rest.client.room_state import RoomStateApi
from synapse_lite.rest.client.rooms import RoomApi
from synapse_lite.rest.client.send import SendApi
from synapse_lite.rest.client.sync import SyncApi
from synapse_lite.rest.gate import Gate
from synapse_lite.tasks.waiting import TaskWaiter
from synapse_lite.workers.core import Core
from synapse_lite.workers.retention import retention_policy


@frozen
class Services:
    """The routes, and the handlers that have a life of their own."""

    routes: tuple[Route, ...]
    last_seen: LastSeen
    passwords: Passwords
    ephemeral: EphemeralHandler

    async def start(self) -> None:
        self.passwords.start()
        self.last_seen.start()
        await self.ephemeral.expire()

    async def stop(self) -> None:
        await self.last_seen.stop()
        self.passwords.stop()


def build_services(reactor: Any, config: Config, core: Core) -> Services:
    sessions = Sessions(core.requests, core.clock)
    core.log.listen(sessions.on_changes)
    last_seen = LastSeen(core.requests, core.clock)
    gate = Gate(sessions, last_seen)
    passwords = Passwords(reactor, pepper=config.password_config.pepper, policy=config.password_config.policy)
    ephemeral = EphemeralHandler(core.requests, core.clock)
    routes = [
        *_account_routes(config, core, gate, sessions, passwords),
        *_room_routes(config, core, gate),
        *_reading_routes(config, core, gate),
        *EphemeralApi(gate, ephemeral).routes(),
        *_admin_routes(config, core, gate),
    ]
    return Services(tuple(routes), last_seen, passwords, ephemeral)


def _account_routes(
    config: Config, core: Core, gate: Gate, sessions: Sessions, passwords: Passwords
) -> list[Route]:
    limits = LoginLimiters(
        RateLimiter(core.clock, config.rc_login.address),
        RateLimiter(core.clock, config.rc_login.account),
        RateLimiter(core.clock, config.rc_login.failed_attempts),
    )
    logins = Logins(core.requests, sessions, passwords, limits, config.server_name)
    auth = InteractiveAuth(core.requests, core.clock, logins.check_password)
    room_profiles = RoomProfiles(core.requests, core.events, core.sender, core.clock)
    registration = Registration(
        core.requests,
        passwords,
        core.clock,
        options=config,
        server_name=config.server_name,
        on_registered=_nothing,
    )
    shared_secret = SharedSecretRegistration(
        core.requests, core.clock, registration, config.registration_shared_secret
    )
    by_password = config.password_config.enabled is True and config.password_config.localdb_enabled
    well_known = client_well_known(config)
    profiles = Profiles(core.requests, room_profiles.show, fixed_profile_fields(config))
    return [
        *DiscoveryApi(gate, capabilities(config), well_known).routes(),
        *LoginApi(gate, logins, sessions, passwords_enabled=by_password, well_known=well_known).routes(),
        *RegisterApi(registration, sessions, auth, RateLimiter(core.clock, config.rc_registration)).routes(),
        *SharedSecretRegisterApi(shared_secret, sessions).routes(),
        *AccountApi(
            gate,
            auth,
            PasswordChanges(core.requests, passwords),
            passwords_enabled=bool(config.password_config.enabled),
        ).routes(),
        *ProfileApi(gate, profiles, require_token=config.require_auth_for_profile_requests).routes(),
        *AccountDataApi(gate, AccountData(core.requests)).routes(),
        *PushRulesApi(gate).routes(),
    ]


def _room_routes(config: Config, core: Core, gate: Gate) -> list[Route]:
    rooms = Rooms(core.requests)
    core.log.listen(rooms.on_changes)
    current = CurrentState(core.events, core.state)
    member_limits = MembershipLimits.build(config, core.clock)
    limits = SendingLimits(
        RateLimiter(core.clock, config.rc_message),
        RateLimiter(core.clock, config.rc_admin_redaction or config.rc_message),
    )
    memberships = Memberships(
        core.requests, rooms, current, core.sender, member_limits, core.clock, config.server_name
    )
    sending = Sending(
        core.requests, rooms, current, core.sender, memberships, limits, core.clock, config.server_name
    )
    creation = RoomCreation(
        core.requests,
        core.appender,
        RateLimiter(core.clock, config.rc_room_creation),
        member_limits,
        core.clock,
        config,
    )
    aliases = Aliases(
        core.requests,
        rooms,
        current,
        core.appender,
        core.clock,
        config.server_name,
        require_membership=config.require_membership_for_aliases,
    )
    room_state = RoomState(core.requests, rooms, current, core.clock)
    return [
        *RoomApi(gate, creation, rooms).routes(),
        *MembershipApi(gate, memberships).routes(),
        *RoomStateApi(gate, room_state, sending).routes(),
        *SendApi(gate, sending).routes(),
        *AliasApi(gate, aliases, config.server_name).routes(),
    ]


def _reading_routes(config: Config, core: Core, gate: Gate) -> list[Route]:
    retention = Retention(retention_policy(config.retention), core.clock)
    visibility = Visibility(core.events, core.state, retention)
    reader = SyncReader(core.events, core.state, visibility)
    joined = JoinedRoomsReader(core.requests, core.events, core.log)
    sync = SyncHandler(core.requests, core.events, reader, joined, core.log, retention, core.clock)
    history = HistoryHandler(core.requests, core.events, core.state, visibility, core.clock)
    return [
        *SyncApi(gate, sync, AccountData(core.requests), config.filter_timeline_limit).routes(),
        *HistoryApi(gate, history).routes(),
    ]


def _admin_routes(config: Config, core: Core, gate: Gate) -> list[Route]:
    waiter = TaskWaiter(core.queue, core.bus, core.clock)
    deletion = RoomDeletion(core.queue, waiter, config, core.server_name)
    rooms = RoomAdmin(core.requests, core.events, core.state, core.clock, core.server_name)
    return [
        *ServerApi().routes(),
        *RedactionsApi(gate, RedactionsHandler(core.queue)).routes(),
        *RoomsApi(gate, rooms).routes(),
        *RoomDeletionApi(gate, deletion).routes(),
        *PurgeHistoryApi(gate, HistoryPurge(core.requests, core.queue)).routes(),
        *TasksApi(gate, TasksHandler(core.queue)).routes(),
        *UiApi().routes(),
    ]


async def _nothing(_user_id: str) -> None:
    """Nothing happens after a registration."""
