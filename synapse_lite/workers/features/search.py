"""Searching in what has been said."""

from synapse_lite.handlers.search import SearchHandler
from synapse_lite.rest.client.search import SearchApi
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature


def build(core: Core) -> Feature:
    rooms = core.rooms
    search = SearchHandler(
        core.requests,
        core.events,
        core.state,
        rooms.visibility,
        rooms.ignored,
        core.clock,
        enabled=core.config.enable_search,
    )
    return Feature(SearchApi(search).routes())
