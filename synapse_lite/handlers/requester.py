"""The user behind a request."""

import attrs

from synapse_lite.clock import Clock
from synapse_lite.errors import Errcode, MatrixError, forbidden
from synapse_lite.matrix.app_service import AppService
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


@attrs.frozen
class OverLimit:
    """More users are active than may be: see `limit_usage_by_mau`. `contact`: whom they may ask."""

    contact: str | None

    @property
    def error(self) -> MatrixError:
        """403 `M_RESOURCE_LIMIT_EXCEEDED`"""
        contact = {"admin_contact": self.contact} if self.contact else {}
        return MatrixError(
            403,
            Errcode.RESOURCE_LIMIT_EXCEEDED,
            "Monthly Active User Limit Exceeded",
            {"limit_type": "monthly_active_user", **contact},
        )


UNLIMITED = MessageLimit(1e6, 1e12)
"""More than anybody can send, and room for what was poured into the bucket before."""


@attrs.frozen
class Requester:
    """`session` scopes transaction ids: the same for all tokens that a device ever has, and for a token
    without a device as long as it lives. `message_limit`: None where `rc_message` holds. `token_nid` and
    `token_hash` are the token itself; None where a `service` speaks for the user. `features` are experimental ones that the
    user has. `said_ms`: when a service says that they said what they send (milliseconds since 1970).
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
    over_limit: OverLimit | None = None
    token_nid: int | None = None
    token_hash: bytes | None = attrs.field(default=None, repr=False)
    features: frozenset[str] = FEATURES_OF_MOST
    service: AppService | None = None
    said_ms: int | None = None

    def check_is(self, user_id: str, refusal: str) -> None:
        """403 `M_FORBIDDEN` with the words `refusal` unless they ask about themselves."""
        if self.user_id != user_id:
            raise forbidden(refusal)

    @property
    def is_limited(self) -> bool:
        """False: no rate limit holds."""
        return self.service is None or self.service.is_rate_limited

    def sent_ms(self, clock: Clock) -> int:
        """Which time their events bear (application service API, "Timestamp massaging")."""
        return clock.now_ms() if self.said_ms is None else self.said_ms

    @property
    def may_write(self) -> bool:
        """Whether `check_may_write` lets them."""
        return self.missing_consent is None and self.over_limit is None

    def check_served(self) -> None:
        """403 `M_RESOURCE_LIMIT_EXCEEDED` for who is one user too many."""
        if self.over_limit is not None:
            raise self.over_limit.error

    def check_may_write(self) -> None:
        """As `check_served`, and 403 `M_CONSENT_NOT_GIVEN` for who has to agree to the terms before they write."""
        self.check_served()
        missing = self.missing_consent
        if missing is not None:
            raise MatrixError(403, Errcode.CONSENT_NOT_GIVEN, missing.message, {"consent_uri": missing.uri})
