"""The terms of the server, and the links by which users agree to them."""

import hmac
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import urlencode

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.config.consent import UserConsent
from synapse_lite.config.model import Config
from synapse_lite.errors import forbidden
from synapse_lite.handlers.requester import MissingConsent

PATH = "_matrix/consent"
LANGUAGE = "en"


@frozen
class Terms:
    """The terms that the configuration names. `base_url` ends in a slash."""

    options: UserConsent
    secret: bytes
    base_url: str

    @classmethod
    def of(cls, config: Config) -> Self | None:
        if config.user_consent is None or config.form_secret is None:
            return None
        return cls(config.user_consent, config.form_secret.encode(), config.base_url)

    def sign(self, user_id: str) -> str:
        return hmac.digest(self.secret, user_id.encode(), "sha256").hex()

    def check_signature(self, user_id: str, signature: str) -> None:
        """403 unless the server itself gave the link to the user."""
        if not hmac.compare_digest(self.sign(user_id).encode(), signature.encode()):
            raise forbidden("HMAC incorrect")

    def uri(self, user_id: str) -> str:
        """The page on which the user agrees."""
        return f"{self.base_url}{PATH}?{urlencode({'u': user_id, 'h': self.sign(user_id)})}"

    def policies(self) -> JsonObject:
        """The parameters of the stage `m.login.terms`."""
        url = f"{self.base_url}{PATH}?{urlencode({'v': self.options.version})}"
        shown = {"name": self.options.policy_name, "url": url}
        return {"policies": {"privacy_policy": {"version": self.options.version, LANGUAGE: shown}}}

    def missing(self, user_id: str, agreed_to: str | None) -> MissingConsent | None:
        """What somebody who agreed to that version is still asked for before they write; None: nothing."""
        if self.options.block_events_error is None or agreed_to == self.options.version:
            return None
        uri = self.uri(user_id)
        return MissingConsent(with_uri(self.options.block_events_error, uri), uri)


def with_uri(value: Any, uri: str) -> Any:
    """The link in the place of `%(consent_uri)s`, in all texts of a content."""
    if isinstance(value, str):
        return value.replace("%(consent_uri)s", uri)
    if isinstance(value, Mapping):
        return {name: with_uri(one, uri) for name, one in value.items()}
    return [with_uri(one, uri) for one in value] if isinstance(value, list) else value
