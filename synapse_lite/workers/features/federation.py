"""What other servers ask of this one."""

from synapse_lite.federation.staging import StagedRooms
from synapse_lite.handlers.device_keys import DeviceKeys
from synapse_lite.handlers.federation.edus import Edus
from synapse_lite.handlers.federation.history import ServedHistory
from synapse_lite.handlers.federation.invites import ServedInvites
from synapse_lite.handlers.federation.keys import ServerKeys
from synapse_lite.handlers.federation.members import ServedMembers
from synapse_lite.handlers.federation.presence import ToldPresence
from synapse_lite.handlers.federation.queries import ServedQueries
from synapse_lite.handlers.federation.rooms import RoomGate
from synapse_lite.handlers.federation.third_party_invites import ThirdPartyInvites
from synapse_lite.handlers.federation.transactions import Transactions
from synapse_lite.handlers.public_keys import PublicKeys
from synapse_lite.handlers.remote_keys import RemoteKeys
from synapse_lite.rest.federation.history import HistoryApi
from synapse_lite.rest.federation.invites import InvitesApi
from synapse_lite.rest.federation.keys import KeysApi
from synapse_lite.rest.federation.members import MembersApi
from synapse_lite.rest.federation.queries import QueriesApi
from synapse_lite.rest.federation.third_party_invites import ThirdPartyInvitesApi
from synapse_lite.rest.federation.transactions import TransactionsApi
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature
from synapse_lite.workers.federation import retired_keys


def build(core: Core) -> Feature:
    config, parts = core.config, core.federation
    keys = ServerKeys(
        core.requests,
        parts.keyring,
        core.clock,
        parts.signing_key,
        retired_keys(config),
        config.key_refresh_interval,
    )
    checker, inbound = parts.checker, core.federated.inbound
    presence = ToldPresence(core.clock, config.presence.is_tracked)
    edus = Edus(core.rooms.current, core.clock, core.server_name, core.dropped, {"m.presence": presence.take})
    invites = ServedInvites(
        core.requests,
        core.rooms.current,
        checker,
        inbound,
        core.federated.outside,
        core.rooms.membership_limits,
        core.accounts.service_queries,
        parts.signing_key,
        only_admins_invite=config.block_non_admin_invites,
    )
    transactions = Transactions(
        core.requests, checker, core.rooms.current, edus, invites, core.bus, core.clock, core.server_name
    )
    gate = RoomGate(core.events, core.state, core.rooms.current, core.server_name)
    history = ServedHistory(core.requests, gate, core.clock, core.server_name)
    members = ServedMembers(
        core.requests,
        gate,
        core.rooms.prejoin,
        checker,
        inbound,
        core.federated.heads,
        parts.signing_key,
        core.clock,
    )
    third_party_invites = ThirdPartyInvites(
        core.requests,
        gate,
        parts.peers,
        core.federated.remote_members,
        inbound,
        core.federated.heads,
        core.rooms.membership_limits,
        parts.signing_key,
        core.clock,
    )
    staged = StagedRooms(
        core.requests,
        inbound,
        core.federated.runs,
        core.bus,
        core.clock,
        config.worker_name,
        core.server_name,
    )
    return Feature(
        [
            *KeysApi(keys).routes(),
            *TransactionsApi(transactions).routes(),
            *HistoryApi(history).routes(),
            *MembersApi(members).routes(),
            *InvitesApi(invites).routes(),
            *ThirdPartyInvitesApi(third_party_invites).routes(),
            *QueriesApi(_queries(core)).routes(),
        ],
        lives=[staged],
    )


def _queries(core: Core) -> ServedQueries:
    public = PublicKeys(core.requests, core.log)
    core.log.listen(public.on_changes)
    remote = RemoteKeys(core.requests, core.federation.peers, core.clock, core.server_name)
    keys = DeviceKeys(core.requests, public, remote, core.server_name)
    tells_profiles = core.config.allow_profile_lookup_over_federation
    return ServedQueries(
        core.requests, keys, core.accounts.service_queries, core.server_name, tells_profiles=tells_profiles
    )
