"""Room aliases and the list of public rooms."""

from synapse_lite.handlers.aliases import Aliases
from synapse_lite.handlers.directory_rules import DirectoryRules
from synapse_lite.rest.client.aliases import AliasApi
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature


def aliases(core: Core) -> Aliases:
    return Aliases(
        core.requests,
        core.rooms.rooms,
        core.rooms.current,
        core.appender,
        core.clock,
        core.server_name,
        DirectoryRules.of(core.config),
        core.accounts.services,
        require_membership=core.config.require_membership_for_aliases,
    )


def build(core: Core) -> Feature:
    return Feature(AliasApi(aliases(core), core.federated.remote_rooms).routes())
