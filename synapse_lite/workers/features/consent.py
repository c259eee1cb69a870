"""What users have to agree to."""

from importlib import import_module

from synapse_lite.handlers.consent import Consent
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature
from synapse_lite.workers.features.server_notices import server_notices


def consent(core: Core) -> Consent | None:
    terms = core.accounts.terms
    if terms is None:
        return None
    return Consent(core.requests, core.clock, terms, server_notices(core))


def build(core: Core) -> Feature:
    asked = consent(core)
    if asked is None:
        return Feature()
    api = import_module("synapse_lite.rest.client.consent")  # Jinja2 costs 2 MB
    return Feature(api.ConsentApi(asked, api.pages(asked.terms.options)).routes())
