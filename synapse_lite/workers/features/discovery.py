"""What the server is and can do."""

from synapse_lite.rest.client.discovery import (
    DiscoveryApi,
    capabilities,
    client_well_known,
    password_policy,
    server_well_known,
    support,
    unstable_features,
)
from synapse_lite.rest.client.landing import LandingApi
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature


def build(core: Core) -> Feature:
    config = core.config
    api = DiscoveryApi(
        capabilities(config),
        client_well_known(config),
        server_well_known(config),
        support(config),
        password_policy(config.password_config.policy),
        unstable_features(config),
    )
    landing = LandingApi(
        config.web_client_location,
        config.federation_domain_whitelist,
        tells_neighbours=config.federation_whitelist_endpoint_enabled,
    )
    return Feature([*api.routes(), *landing.routes()])
