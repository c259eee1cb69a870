"""The user directory."""

from synapse_lite.handlers.user_directory import UserDirectoryHandler
from synapse_lite.rest.client.user_directory import UserDirectoryApi
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature


def build(core: Core) -> Feature:
    limiter = core.limits.limiter("rc_user_directory", core.config.rc_user_directory)
    directory = UserDirectoryHandler(
        core.requests, core.events, core.rooms.ignored, limiter, core.config.user_directory
    )
    return Feature(UserDirectoryApi(directory).routes())
