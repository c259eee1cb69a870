"""Registration, passwords, sessions and profiles."""

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from synapse_lite.config.options import NOT_MISSED, UNUSED, Options
from synapse_lite.config.units import DAY, MINUTE, Duration


class PasswordPolicy(Options):
    enabled: bool = Field(default=False, description="Check new passwords.")
    minimum_length: int = Field(default=0, ge=0, description="Fewest characters.")
    require_digit: bool = Field(default=False, description="At least one digit.")
    require_symbol: bool = Field(
        default=False, description="At least one character that is not alphanumeric."
    )
    require_lowercase: bool = Field(default=False, description="At least one lower-case letter.")
    require_uppercase: bool = Field(default=False, description="At least one upper-case letter.")


class Passwords(Options):
    enabled: Literal[True, False, "only_for_reauth"] = Field(
        default=True, description="Log in by password; only_for_reauth: only to confirm who one is."
    )
    localdb_enabled: bool = Field(default=True, description="Check passwords against the database.")
    pepper: str = Field(
        default="", repr=False, description="Secret mixed into every password hash; cannot change later."
    )
    policy: PasswordPolicy = Field(default=PasswordPolicy(), description="What a new password must have.")


class AutoJoinOptions(Options):
    """Rooms of new users"""

    auto_join_rooms: tuple[str, ...] = Field(
        default=(), description="Rooms (aliases or IDs) that every new user joins."
    )
    autocreate_auto_join_rooms: bool = Field(
        default=True, description="Make those that do not exist, if they are named by aliases of this server."
    )
    autocreate_auto_join_rooms_federated: bool = Field(
        default=True, description="Users of other servers may join rooms made so."
    )
    autocreate_auto_join_room_preset: Literal["private_chat", "trusted_private_chat", "public_chat"] = Field(
        default="public_chat", description="Their preset; private ones need auto_join_mxid_localpart."
    )
    auto_join_mxid_localpart: str | None = Field(
        default=None, description="Name of the user who makes these rooms and invites to them."
    )
    auto_join_rooms_for_guests: bool = Field(
        default=True, description="Guests join them too, where guests are admitted."
    )


class AccountValidityOptions(Options):
    enabled: bool = Field(default=False, description="New accounts expire after `period`.")
    period: Duration | None = Field(
        default=None, description="How long an account is valid; no e-mails remind of it."
    )

    @field_validator("period")
    @classmethod
    def _is_known(cls, period: int | None, info: ValidationInfo) -> int | None:
        if info.data.get("enabled") and not period:
            raise ValueError("must be given when account_validity is enabled")
        return period

    @property
    def effective_period(self) -> int | None:
        """Milliseconds; None: accounts do not expire by themselves."""
        return self.period if self.enabled else None


class RegistrationOptions(Options):
    """Registration"""

    enable_registration: bool = Field(
        default=False,
        description="Let people make accounts. Needs a check, or the last option of this group.",
    )
    registration_requires_token: bool = Field(default=False, description="Registration needs a token.")
    enable_registration_captcha: bool = Field(
        default=False,
        description="Ask a captcha. There is none here, so registration stays closed when this is true.",
    )
    registrations_require_3pid: tuple[str, ...] = Field(
        default=(),
        description="Ask for an e-mail address (email) or phone (msisdn). That is not possible here, so registration stays closed when this is not empty.",
    )
    enable_registration_without_verification: bool = Field(
        default=False,
        validate_default=True,
        description="Yes: anyone may make accounts, without any check.",
    )
    registration_shared_secret: str | None = Field(
        default=None,
        repr=False,
        description="Who knows it may register users, also admins, by the admin API.",
    )
    registration_shared_secret_path: Path | None = Field(
        default=None, description="File with that secret, instead of it. Made when missing."
    )
    inhibit_user_in_use_error: bool = Field(
        default=False,
        description="Nobody can find out which names are taken: it is told to who has proved all that is asked.",
    )
    allow_underscore_prefixed_registration: bool = Field(
        default=False, description="Names may begin with an underscore."
    )
    allow_guest_access: bool = Field(default=False, description="Guest accounts.")
    account_validity: AccountValidityOptions = Field(
        default=AccountValidityOptions(),
        description="Accounts that expire; administrators renew them, or let single ones expire, by the admin API.",
    )

    @field_validator("enable_registration_without_verification")
    @classmethod
    def _really_open(cls, really: bool, info: ValidationInfo) -> bool:
        checks = ("registration_requires_token", "enable_registration_captcha", "registrations_require_3pid")
        checked = any(info.data.get(check) for check in checks)
        if info.data.get("enable_registration") and not checked and not really:
            raise ValueError(
                "should be true, or registration_requires_token, when enable_registration is true: "
                "an open server without any check attracts spammers"
            )
        return really

    @property
    def registration_is_open(self) -> bool:
        """Whether people may register, some with a token. False when another check is asked for: there is none."""
        unavailable = self.enable_registration_captcha or self.registrations_require_3pid
        return self.enable_registration and not unavailable


class UiAuth(Options):
    """User-interactive authentication"""

    session_timeout: Duration = Field(
        default=0, description="Who has given the password deletes devices for so long without it."
    )


class LoginViaExistingSession(Options):
    """Login tokens for a second device"""

    enabled: bool = Field(default=False, description="A session may get a token that logs in another device.")
    require_ui_auth: bool = Field(default=True, description="The user has to give the password for it.")
    token_timeout: Duration = Field(default=5 * MINUTE, description="Life of such a token.")


class AccountOptions(Options):
    """Passwords, sessions, profiles"""

    password_config: Passwords = Field(default=Passwords(), description="Passwords.")
    bcrypt_rounds: int = Field(
        default=12,
        ge=4,
        le=31,
        description="Accepted: new passwords are hashed with argon2id.",
        json_schema_extra=UNUSED,
    )
    session_lifetime: Duration | None = Field(default=None, description="Life of a session; null: for ever.")
    refreshable_access_token_lifetime: Duration | None = Field(
        default=5 * MINUTE, description="Life of an access token that can be refreshed."
    )
    refresh_token_lifetime: Duration | None = Field(
        default=None, description="Life of a refresh token; null: for ever."
    )
    nonrefreshable_access_token_lifetime: Duration | None = Field(
        default=None, description="Life of any other access token; null: for ever."
    )
    ui_auth: UiAuth = Field(default=UiAuth(), description="User-interactive authentication.")
    login_via_existing_session: LoginViaExistingSession = Field(
        default=LoginViaExistingSession(), description="Logging in on another device without the password."
    )
    delete_stale_devices_after: Duration | None = Field(
        default=None, description="Devices that were not used for so long are deleted; null: never."
    )
    macaroon_secret_key: str | None = Field(
        default=None,
        repr=False,
        description="Accepted: tokens are random, and their hashes are in the database.",
        json_schema_extra=NOT_MISSED,
    )
    macaroon_secret_key_path: Path | None = Field(
        default=None, description="File with that secret, instead of it.", json_schema_extra=NOT_MISSED
    )
    enable_set_displayname: bool = Field(default=True, description="Users may change their display name.")
    enable_set_avatar_url: bool = Field(default=True, description="Users may change their avatar.")
    enable_3pid_changes: bool = Field(
        default=True, description="Users may remove addresses of their account; administrators add them."
    )
    require_auth_for_profile_requests: bool = Field(
        default=False, description="Profiles are shown only to users who are logged in."
    )
    limit_profile_requests_to_users_who_share_rooms: bool = Field(
        default=False,
        description="Profiles are shown only to who is logged in, and in a room with the user.",
    )
    allow_per_room_profiles: bool = Field(
        default=True,
        description="Users may have another name and avatar in a room; false: what is asked for is not heeded.",
    )
    user_ips_max_age: Duration | None = Field(
        default=28 * DAY,
        description="How long after its last use a device's address and user agent are kept; null: for ever.",
    )
