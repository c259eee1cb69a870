"""What a deployment of Synapse would lose here: its options that change nothing, in the words of its users."""

from collections.abc import Iterator

from synapse_lite.config.model import Config

LOSSES = {
    "account_validity.renew_at": "nobody is told by e-mail that their account expires",
    "app_service_config_files": "bridges and other application services are not served",
    "cas_config": "no login by CAS",
    "email": "no mail: neither notifications nor a new password by e-mail",
    "enable_registration_captcha": "there is no captcha, so registration stays closed",
    "exclude_rooms_from_sync": "users see these rooms",
    "experimental_features.*": "features behind a flag may not be there",
    "hs_disabled": "the server serves all the same",
    "jwt_config": "no login by JSON web token",
    "limit_remote_rooms": "rooms of any size can be joined",
    "limit_usage_by_mau": "the number of active users is not limited",
    "matrix_authentication_service": "no login by Matrix Authentication Service: its users cannot log in",
    "modules": "Python modules are not loaded: spam checkers, password providers and others do nothing",
    "oidc_config": "no single sign-on by OpenID Connect",
    "oidc_providers": "no single sign-on by OpenID Connect",
    "opentracing": "no traces",
    "password_providers": "passwords are those of the database only: no LDAP",
    "redis": "none: processes talk through PostgreSQL",
    "registrations_require_3pid": "no address can be confirmed, so registration stays closed",
    "saml2_config": "no single sign-on by SAML",
    "sentry": "errors are in the log only",
    "spam_checker": "nothing is checked for spam",
    "third_party_event_rules": "events are accepted whatever that module would say",
}


def describe_losses(config: Config) -> Iterator[str]:
    """`option: what is lost`, or only the option."""
    for option in config.ignored:
        yield f"{option}: {LOSSES[option]}" if option in LOSSES else option
