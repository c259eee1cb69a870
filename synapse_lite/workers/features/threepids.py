"""Addresses of accounts."""

from synapse_lite.handlers.threepids import Threepids
from synapse_lite.rest.client.threepids import ThreepidsApi
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature


def build(core: Core) -> Feature:
    return Feature(
        ThreepidsApi(Threepids(core.requests), may_delete=core.config.enable_3pid_changes).routes()
    )
