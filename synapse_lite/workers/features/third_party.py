"""Networks behind bridges."""

from synapse_lite.rest.client.third_party import ThirdPartyApi
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature


def build(_core: Core) -> Feature:
    return Feature(ThirdPartyApi().routes())
