"""Who is there. Off, nothing of it is in the way of anything."""

from synapse_lite.handlers.sync.presence import PresenceSection
from synapse_lite.rest.client.presence import PresenceApi
from synapse_lite.rooms.contributors.presence import announce_joined
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature


def build(core: Core) -> Feature:
    options, presence = core.config.presence, core.rooms.presence
    routes = PresenceApi(presence).routes()
    if not options.is_shown:
        return Feature(routes)
    core.log.listen(presence.on_changes)
    section = PresenceSection(
        core.rooms.joined,
        core.log,
        core.clock,
        frozenset(core.config.exclude_rooms_from_presence),
        options.include_offline_users_on_sync,
    )
    return Feature(routes, sync_sections=(section,), contributors=(announce_joined,), lives=(presence,))
