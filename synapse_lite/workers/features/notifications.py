"""What is unread, and push notifications."""

from functools import partial

from synapse_lite.handlers.notifications import Notifications
from synapse_lite.handlers.push import PUSH, PUSHERS, Gateways, Pushers, PushFollower, PushReader, PushSender
from synapse_lite.handlers.sync.unread import UnreadNotifications, UnreadThreadNotifications
from synapse_lite.handlers.unread import UnreadCounts, UnreadReader
from synapse_lite.rest.client.notifications import NotificationsApi
from synapse_lite.rest.client.pushers import PushersApi
from synapse_lite.rooms.contributors.notices import NoticesContributor
from synapse_lite.tasks.followers import RegisteredFollower
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature
from synapse_lite.workers.outbound import build_http_client
from synapse_lite.workers.roles import Role


def build(core: Core) -> Feature:
    follows_threads = core.config.experimental_features.msc4306_enabled
    reader = UnreadReader(core.events, core.state, follows_threads)
    counts = UnreadCounts(core.requests, reader)
    core.log.listen(counts.on_changes)
    gateways = Gateways(build_http_client(core.reactor, core.clock, core.config), core.clock)
    pushes = PushReader(reader, counts, core.config.push)
    sender = PushSender(core.tasks, pushes, gateways, core.bus, core.clock)
    role, is_on = Role.of(core.config), core.config.push.enabled
    wake = sender.wake if role.pushes else partial(core.bus.publish, PUSHERS)
    return Feature(
        [
            *PushersApi(Pushers(core.requests, core.clock)).routes(),
            *NotificationsApi(Notifications(core.requests, reader, core.clock)).routes(),
        ],
        room_sections=(
            UnreadNotifications(counts, core.events),
            UnreadThreadNotifications(counts, core.events),
        ),
        contributors=(NoticesContributor(core.events, core.state, core.server_name),),
        followers=(RegisteredFollower(PUSH, PushFollower(reader, core.clock, wake)),)
        if is_on and role.runs_tasks
        else (),
        lives=(sender,) if is_on and role.pushes else (),
    )
