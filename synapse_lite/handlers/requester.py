"""The user behind a request."""

import attrs

from synapse_lite.errors import Errcode, MatrixError, forbidden
from synapse_lite.matrix.experimental_features import FEATURES_OF_MOST


@attrs.frozen
class MessageLimit:
    """Of one user, instead of `rc_message`."""

    per_second: float
    burst_count: float


@attrs.frozen
class MissingConsent:
    """What the user reads who has not agreed to the terms, and where they do so."""

    message: str
    uri: str


UNLIMITED = MessageLimit(1e6, 1e12)
"""More than anybody can send, and room for what was poured into the bucket before."""


@attrs.frozen
class Requester:
    """`session` scopes transaction ids: the same for all tokens that a device ever has, and for a token
    without a device as long as it lives. `message_limit`: None where `rc_message` holds. `token_nid` and
    `token_hash` are the token itself. `features` are experimental ones that the user has.
    """

    user_id: str
    device_id: str | None
    session: str
    is_admin: bool = False
    is_guest: bool = False
    shadow_banned: bool = False
    suspended: bool = False
    message_limit: MessageLimit | None = None
    missing_consent: MissingConsent | None = None
    token_nid: int | None = None
    token_hash: bytes | None = attrs.field(default=None, repr=False)
    features: frozenset[str] = FEATURES_OF_MOST

    def check_is(self, user_id: str, refusal: str) -> None:
        """403 `M_FORBIDDEN` with the words `refusal` unless they ask about themselves."""
        if self.user_id != user_id:
            raise forbidden(refusal)

    def check_consent(self) -> None:
        """403 `M_CONSENT_NOT_GIVEN` for who has to agree to the terms before they write."""
        missing = self.missing_consent
        if missing is not None:
            raise MatrixError(403, Errcode.CONSENT_NOT_GIVEN, missing.message, {"consent_uri": missing.uri})
