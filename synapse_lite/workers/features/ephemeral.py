"""Read receipts and typing."""

from synapse_lite.handlers.ephemeral import EphemeralHandler
from synapse_lite.handlers.sync.receipts import Receipts
from synapse_lite.handlers.sync.typing import Typing
from synapse_lite.rest.client.ephemeral import EphemeralApi
from synapse_lite.rooms.contributors.typing import end_typing_of_departed
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature


def ephemeral_handler(core: Core) -> EphemeralHandler:
    return EphemeralHandler(core.requests, core.writer, core.rooms.presence, core.clock, core.rooms.messages)


def build(core: Core) -> Feature:
    ephemeral = ephemeral_handler(core)
    return Feature(
        EphemeralApi(ephemeral).routes(),
        room_sections=(Receipts(), Typing(core.requests, core.clock)),
        contributors=(end_typing_of_departed,),
        lives=(ephemeral,),
    )
