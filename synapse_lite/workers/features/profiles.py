"""Profiles, and how they show in rooms."""

from synapse_lite.handlers.profiles import Profiles
from synapse_lite.handlers.remote_profiles import RemoteProfiles
from synapse_lite.handlers.room_profiles import RoomProfiles
from synapse_lite.rest.client.discovery import fixed_profile_fields
from synapse_lite.rest.client.profile import ProfileApi
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature


def room_profiles(core: Core) -> RoomProfiles:
    return RoomProfiles(core.requests, core.events, core.sender, core.queue, core.clock)


def build(core: Core) -> Feature:
    config = core.config
    limited = config.limit_profile_requests_to_users_who_share_rooms
    profiles = Profiles(
        core.requests,
        room_profiles(core),
        core.rooms.messages,
        core.rooms.avatars,
        RemoteProfiles(core.federated.queries, core.clock),
        core.accounts.service_queries,
        core.server_name,
        fixed_profile_fields(config),
        share_rooms_only=limited,
    )
    require_token = limited or config.require_auth_for_profile_requests
    return Feature(ProfileApi(profiles, require_token=require_token).routes())
