"""Relations between events, and threads."""

from synapse_lite.handlers.relations import RelationsHandler
from synapse_lite.rest.client.relations import RelationsApi
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature


def build(core: Core) -> Feature:
    handler = RelationsHandler(
        core.requests, core.events, core.rooms.visibility, core.rooms.ignored, core.clock
    )
    return Feature(RelationsApi(handler).routes())
