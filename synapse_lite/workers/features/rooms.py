"""Rooms: creating them, who is in them, their state, sending into them."""

from synapse_lite.handlers.delayed_events import DelayedEvents
from synapse_lite.handlers.mutual_rooms import MutualRooms
from synapse_lite.handlers.room_creation import RoomCreation
from synapse_lite.handlers.room_state import RoomState
from synapse_lite.handlers.room_upgrade import RoomUpgrade
from synapse_lite.rest.client.delayed_events import DelayedEventsApi
from synapse_lite.rest.client.membership import MembershipApi
from synapse_lite.rest.client.mutual_rooms import MutualRoomsApi
from synapse_lite.rest.client.room_state import RoomStateApi
from synapse_lite.rest.client.room_upgrade import RoomUpgradeApi
from synapse_lite.rest.client.rooms import RoomApi
from synapse_lite.rest.client.send import SendApi
from synapse_lite.rooms.contributors.guest_access import GuestAccessContributor
from synapse_lite.rooms.contributors.successions import SuccessionsContributor
from synapse_lite.tasks.actions.remove_guests import put_out
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature


def room_creation(core: Core) -> RoomCreation:
    return RoomCreation(
        core.requests,
        core.appender,
        core.limits.limiter("rc_room_creation", core.config.rc_room_creation),
        core.rooms.membership_limits,
        core.accounts.services,
        core.accounts.service_queries,
        core.federated.remote_members,
        core.clock,
        core.config,
    )


def room_upgrade(core: Core) -> RoomUpgrade:
    return RoomUpgrade(
        core.requests,
        core.rooms.rooms,
        core.rooms.current,
        core.appender,
        core.limits.limiter("rc_room_creation", core.config.rc_room_creation),
        core.clock,
    )


def room_state(core: Core) -> RoomState:
    return RoomState(core.requests, core.rooms.rooms, core.rooms.current, core.bus, core.clock)


def build(core: Core) -> Feature:
    rooms, config = core.rooms, core.config
    delayed = DelayedEvents(
        core.requests,
        rooms.sending,
        core.appender,
        core.clock,
        core.limits.limiter("rc_delayed_event_mgmt", config.rc_delayed_event_mgmt),
        config.max_event_delay_duration,
    )
    return Feature(
        routes=[
            *RoomApi(room_creation(core), rooms.rooms).routes(),
            *MutualRoomsApi(MutualRooms(core.requests)).routes(),
            *RoomUpgradeApi(room_upgrade(core)).routes(),
            *MembershipApi(rooms.memberships).routes(),
            *RoomStateApi(room_state(core), rooms.sending, delayed).routes(),
            *SendApi(rooms.sending, delayed).routes(),
            *DelayedEventsApi(delayed).routes(),
        ],
        lives=(delayed,),
        contributors=(
            SuccessionsContributor(core.events, core.state, core.server_name),
            GuestAccessContributor(put_out),
        ),
    )
