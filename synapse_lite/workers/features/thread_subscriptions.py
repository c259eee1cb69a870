"""Thread subscriptions, where they are turned on; sliding sync tells of them."""

from synapse_lite.handlers.thread_subscriptions import ThreadSubscriptions
from synapse_lite.rest.client.thread_subscriptions import ThreadSubscriptionsApi
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature


def build(core: Core) -> Feature:
    if not core.config.experimental_features.msc4306_enabled:
        return Feature()
    handler = ThreadSubscriptions(core.requests, core.events, core.rooms.visibility)
    return Feature(ThreadSubscriptionsApi(handler).routes())
