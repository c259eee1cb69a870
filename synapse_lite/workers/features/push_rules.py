"""Push rules."""

from synapse_lite.handlers.push_rules import PushRules
from synapse_lite.rest.client.push_rules import PushRulesApi
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature


def build(core: Core) -> Feature:
    follows_threads = core.config.experimental_features.msc4306_enabled
    rules = PushRules(core.requests, core.writer, follows_threads=follows_threads)
    return Feature(PushRulesApi(rules).routes())
