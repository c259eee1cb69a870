"""OpenID tokens."""

from synapse_lite.handlers.openid import OpenId
from synapse_lite.rest.client.openid import OpenIdApi
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature


def build(core: Core) -> Feature:
    return Feature(OpenIdApi(OpenId(core.requests, core.clock), core.server_name).routes())
