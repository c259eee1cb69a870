"""Networks behind bridges."""

from synapse_lite.handlers.app_services.networks import Networks
from synapse_lite.rest.client.third_party import ThirdPartyApi
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature


def build(core: Core) -> Feature:
    networks = Networks(core.accounts.services, core.accounts.service_calls, core.clock)
    return Feature(ThirdPartyApi(networks).routes())
