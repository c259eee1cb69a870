"""Invites that are accepted for their users."""

from synapse_lite.handlers.auto_accept import AUTO_ACCEPT, AutoAccept
from synapse_lite.tasks.followers import RegisteredFollower
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature
from synapse_lite.workers.roles import Role


def build(core: Core) -> Feature:
    options = core.config.auto_accept_invites
    if not options.enabled or not Role.of(core.config).runs_tasks:
        return Feature()
    accept = AutoAccept(
        core.tasks,
        core.events,
        core.rooms.invited_joins,
        core.queue,
        core.clock,
        options,
        core.server_name,
    )
    return Feature(followers=(RegisteredFollower(AUTO_ACCEPT, accept),))
