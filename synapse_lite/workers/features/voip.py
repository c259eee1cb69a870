"""Calls: TURN servers, and what calls of many go through."""

from synapse_lite.handlers.voip import TurnServers
from synapse_lite.rest.client.rtc import RtcApi
from synapse_lite.rest.client.voip import VoipApi
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature


def build(core: Core) -> Feature:
    return Feature(
        routes=[
            *VoipApi(TurnServers(core.config, core.clock)).routes(),
            *RtcApi(core.config.matrix_rtc.transports).routes(),
        ]
    )
