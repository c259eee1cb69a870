"""How often a user, an address or a room may do something."""

from collections.abc import Mapping
from typing import Annotated, Any, get_args

from pydantic import Field, model_validator

from synapse_lite.config.options import Options
from synapse_lite.config.units import Duration


class RateLimit(Options):
    """A bucket of `burst_count` actions that refills with `per_second` actions a second."""

    per_second: float = Field(gt=0, description="Actions a second in the long run.")
    burst_count: int = Field(ge=0, description="Actions that may come at once.")


def _limit(per_second: float, burst_count: int) -> RateLimit:
    return RateLimit(per_second=per_second, burst_count=burst_count)


class LoginLimits(Options):
    address: RateLimit = Field(default=_limit(0.003, 5), description="Logins from one address.")
    account: RateLimit = Field(default=_limit(0.003, 5), description="Logins to one account.")
    failed_attempts: RateLimit = Field(default=_limit(0.17, 3), description="Failed logins to one account.")


class JoinLimits(Options):
    local: RateLimit = Field(default=_limit(0.1, 10), description="Joins to rooms the server is in.")
    remote: RateLimit = Field(default=_limit(0.01, 10), description="Joins through another server.")


class InviteLimits(Options):
    per_room: RateLimit = Field(default=_limit(0.3, 10), description="Invites into one room.")
    per_user: RateLimit = Field(default=_limit(0.003, 5), description="Invites received by one user.")
    per_issuer: RateLimit = Field(default=_limit(0.3, 10), description="Invites sent by one user.")


class PresenceLimits(Options):
    per_user: RateLimit = Field(
        default=_limit(0.1, 1), description="How often a user may say that they are there, or not."
    )


class FederationLimits(Options):
    """Of the requests of one server, in each process."""

    window_size: Annotated[Duration, Field(ge=1)] = Field(
        default=1000, description="The time in which the requests of a server are counted."
    )
    sleep_limit: int = Field(
        default=10, ge=0, description="Requests in that time that are served without a delay."
    )
    sleep_delay: Duration = Field(default=500, description="How long each further one is delayed.")
    reject_limit: int = Field(
        default=50,
        ge=1,
        description="Requests under way at once, those that wait included; what is beyond is refused.",
    )
    concurrent: int = Field(default=3, ge=1, description="Requests that are served at the same time.")


_FLAT_NAMES: Mapping[str, Mapping[str, str]] = {
    "rc_message": {"rc_messages_per_second": "per_second", "rc_message_burst_count": "burst_count"},
    "rc_federation": {f"federation_rc_{name}": name for name in FederationLimits.model_fields},
}


class RateLimitOptions(Options):
    """Rate limits"""

    rc_message: RateLimit = Field(
        default=_limit(0.2, 10), description="Events that a user sends. A rate is {per_second, burst_count}."
    )
    rc_registration: RateLimit = Field(default=_limit(0.17, 3), description="Registrations from one address.")
    rc_registration_token_validity: RateLimit = Field(
        default=_limit(0.1, 5), description="Questions from one address whether a token is good."
    )
    rc_login: LoginLimits = Field(default=LoginLimits(), description="Logins.")
    rc_admin_redaction: RateLimit | None = Field(
        default=None, description="Redactions by moderators of a room; null: as rc_message."
    )
    rc_joins: JoinLimits = Field(default=JoinLimits(), description="Joins of one user.")
    rc_joins_per_room: RateLimit = Field(default=_limit(1, 10), description="Joins into one room.")
    rc_invites: InviteLimits = Field(default=InviteLimits(), description="Invites.")
    rc_room_creation: RateLimit = Field(default=_limit(0.016, 10), description="Rooms that a user creates.")
    rc_reports: RateLimit = Field(default=_limit(1, 5), description="Reports by one user.")
    rc_key_uploads: RateLimit = Field(
        default=_limit(1, 50),
        description="Uploads of keys and signatures for end-to-end encryption by one user.",
    )
    rc_delayed_event_mgmt: RateLimit = Field(
        default=_limit(1, 5),
        description="Events that a user asks to be sent later, and what is done with one.",
    )
    rc_user_directory: RateLimit = Field(
        default=_limit(0.016, 200), description="Searches of a user in the user directory."
    )
    rc_presence: PresenceLimits = Field(default=PresenceLimits(), description="Presence.")
    rc_federation: FederationLimits = Field(
        default=FederationLimits(), description="Requests of each other server."
    )

    rc_media_create: RateLimit = Field(default=_limit(10, 50), description="Names that a user reserves.")

    @model_validator(mode="before")
    @classmethod
    def _read_flat_names(cls, values: Any) -> Any:
        """The old forms of options that are sections now; a section counts instead of its old form."""
        if not isinstance(values, Mapping):
            return values
        rest = dict(values)
        sections = {
            section: {
                key: value for name, key in names.items() if (value := rest.pop(name, None)) is not None
            }
            for section, names in _FLAT_NAMES.items()
        }
        return {section: given for section, given in sections.items() if given} | rest


_PLENTY = _limit(100_000, 100_000)
_ALL_SERVERS = FederationLimits(sleep_limit=100_000, reject_limit=100_000, concurrent=100_000)


def no_rate_limits() -> dict[str, Any]:
    """Every limit so wide that nobody meets it, as options of a configuration file."""
    return _widened(RateLimitOptions)


def _widened(options: type[Options]) -> dict[str, Any]:
    widened: dict[str, Any] = {}
    for name, option in options.model_fields.items():
        kind = next(
            (one for one in (option.annotation, *get_args(option.annotation)) if _is_options(one)), None
        )
        if kind is FederationLimits:
            widened[name] = _ALL_SERVERS.model_dump()
        elif kind is not None:
            widened[name] = _PLENTY.model_dump() if kind is RateLimit else _widened(kind)
    return widened


def _is_options(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Options)
