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
    return Feature(api.routes())
