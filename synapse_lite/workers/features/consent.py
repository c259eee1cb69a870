"""What users have to agree to."""

from jinja2 import Environment, FileSystemLoader, TemplateError

from synapse_lite.config.consent import UserConsent
from synapse_lite.errors import ConfigError
from synapse_lite.handlers.consent import Consent
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.terms import LANGUAGE
from synapse_lite.rest.client.consent import ConsentApi
from synapse_lite.rest.client.sync import OnSync
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature
from synapse_lite.workers.features.server_notices import server_notices


def consent(core: Core) -> Consent | None:
    terms = core.accounts.terms
    if terms is None:
        return None
    return Consent(core.requests, core.clock, terms, server_notices(core))


def on_sync(core: Core) -> OnSync:
    asked = consent(core)
    return _nothing if asked is None else asked.ask


async def _nothing(_requester: Requester) -> None:
    """Nobody has to agree to anything."""


def pages(options: UserConsent) -> Environment:
    """`ConfigError` when one of the pages that will be shown is not there, or no template."""
    directory = options.template_dir / LANGUAGE
    environment = Environment(loader=FileSystemLoader(directory), autoescape=True)
    for name in (options.version, "success"):
        try:
            environment.get_template(f"{name}.html")
        except TemplateError as error:
            raise ConfigError(f"user_consent.template_dir: {directory / name}.html: {error}") from error
    return environment


def build(core: Core) -> Feature:
    asked = consent(core)
    if asked is None:
        return Feature()
    return Feature(ConsentApi(asked, pages(asked.terms.options)).routes())
