"""Read receipts and typing."""

from synapse_lite.handlers.ephemeral import EphemeralHandler
from synapse_lite.handlers.sync.receipts import Receipts
from synapse_lite.handlers.sync.typing import Typing
from synapse_lite.rest.client.ephemeral import EphemeralApi
from synapse_lite.rooms.contributors.typing import end_typing_of_departed
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature


def build(core: Core) -> Feature:
    ephemeral = EphemeralHandler(
        core.requests, core.writer, core.rooms.presence, core.clock, core.rooms.messages
    )
    return Feature(
        EphemeralApi(ephemeral).routes(),
        room_sections=(Receipts(), Typing(core.requests, core.clock)),
        contributors=(end_typing_of_departed,),
        lives=(ephemeral,),
    )
