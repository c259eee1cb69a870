"""What operators' tools ask first, and the admin page."""

from synapse_lite.rest.admin.server import ServerApi
from synapse_lite.rest.admin.ui import UiApi
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature


def build(_core: Core) -> Feature:
    return Feature([*ServerApi().routes(), *UiApi().routes()])
