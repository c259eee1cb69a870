"""The tasks of the server, for administrators."""

from synapse_lite.handlers.background_updates import BackgroundUpdates
from synapse_lite.handlers.tasks import TasksHandler
from synapse_lite.rest.admin.background_updates import BackgroundUpdatesApi
from synapse_lite.rest.admin.tasks import TasksApi
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature


def build(core: Core) -> Feature:
    updates = BackgroundUpdatesApi(BackgroundUpdates(core.queue))
    return Feature([*TasksApi(TasksHandler(core.queue)).routes(), *updates.routes()])
