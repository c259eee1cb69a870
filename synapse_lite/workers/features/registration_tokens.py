"""Tokens with which one may register."""

from synapse_lite.handlers.registration_tokens import RegistrationTokens
from synapse_lite.rest.admin.registration_tokens import RegistrationTokensApi
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature


def build(core: Core) -> Feature:
    return Feature(RegistrationTokensApi(RegistrationTokens(core.requests, core.clock)).routes())
