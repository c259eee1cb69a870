"""The past of rooms."""

from synapse_lite.handlers.history import HistoryHandler
from synapse_lite.rest.client.history import HistoryApi
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature


def history_handler(core: Core) -> HistoryHandler:
    rooms = core.rooms
    return HistoryHandler(
        core.requests,
        core.events,
        core.state,
        rooms.visibility,
        rooms.ignored,
        rooms.missing_history,
        rooms.history,
        core.clock,
    )


def build(core: Core) -> Feature:
    return Feature(HistoryApi(history_handler(core)).routes())
