"""Where two devices meet when one signs in with a QR code."""

from synapse_lite.config.rate_limits import RateLimit
from synapse_lite.handlers.rendezvous import Rendezvous
from synapse_lite.rest.client.rendezvous import RendezvousApi, RendezvousElsewhere
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature

LIMIT = RateLimit(per_second=0.5, burst_count=20)  # new sessions of an address


def build(core: Core) -> Feature:
    options = core.config.experimental_features
    if options.msc4108_delegation_endpoint is not None:
        return Feature(RendezvousElsewhere(options.msc4108_delegation_endpoint).routes())
    if not options.msc4108_enabled:
        return Feature()
    limiter = core.limits.limiter("rendezvous", LIMIT)
    return Feature(
        RendezvousApi(Rendezvous(core.requests, core.clock), limiter, core.config.base_url).routes()
    )
