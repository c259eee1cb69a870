"""Messages of the operator to single users."""

from synapse_lite.handlers.server_notices import ServerNotices
from synapse_lite.rest.admin.server_notices import ServerNoticesApi
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature


def server_notices(core: Core) -> ServerNotices:
    return ServerNotices(
        core.requests,
        core.appender,
        core.sender,
        core.rooms.current,
        core.clock,
        options=core.config.server_notices,
        room_options=core.config,
        server_name=core.server_name,
    )


def build(core: Core) -> Feature:
    return Feature(ServerNoticesApi(server_notices(core)).routes())
