"""What a deployment of Synapse would lose here: its options that change nothing, in the words of its users."""

from collections.abc import Iterator

from synapse_lite.cli.doctor.findings import Finding, ok, warning
from synapse_lite.config.model import Config
from synapse_lite.config.synapse_options import IGNORED

LOSSES = {
    "account_validity.renew_at": "nobody is told by e-mail that their account expires",
    "app_service_config_files": "bridges and other application services are not served",
    "auto_accept_invites": "invites wait for their users",
    "cas_config": "no login by CAS",
    "email": "no mail: neither notifications nor a new password by e-mail",
    "enable_registration_captcha": "registration asks for no captcha",
    "experimental_features": "features behind a flag are not there",
    "federation_sender_instances": "other servers hear nothing of what happens here",
    "http_proxy": "requests to the outside go without the proxy",
    "https_proxy": "requests to the outside go without the proxy",
    "jwt_config": "no login by JSON web token",
    "limit_usage_by_mau": "the number of active users is not limited",
    "matrix_authentication_service": "no login by Matrix Authentication Service: its users cannot log in",
    "modules": "Python modules are not loaded: spam checkers, password providers and others do nothing",
    "oidc_providers": "no single sign-on by OpenID Connect",
    "opentracing": "no traces",
    "password_providers": "passwords are those of the database only: no LDAP",
    "redis": "none: processes talk through PostgreSQL",
    "saml2_config": "no single sign-on by SAML",
    "sentry": "errors are in the log only",
    "stats": "no statistics of rooms and users",
    "turn_uris": "calls behind some firewalls fail: clients are given no TURN server",
    "url_preview_enabled": "links are shown without a preview",
    "user_directory": "no user directory",
}


def check_losses(config: Config) -> Iterator[Finding]:
    lost = list(describe_losses(config))
    if lost:
        yield warning(
            "synapse",
            "some of what Synapse would do is not done here",
            "see whether your users miss it",
            lost,
        )
    else:
        yield ok("synapse", "every option of Synapse that is given has its effect")


def describe_losses(config: Config) -> Iterator[str]:
    """`option: what is lost`, or only the option."""
    for option in config.ignored:
        yield f"{option}: {LOSSES[option]}" if option in LOSSES else option
    federates = any("federation" in listener.resource_names for listener in config.effective_listeners)
    if federates and "federation_sender_instances" in IGNORED:
        yield "listeners, resource federation: other servers reach this one, and hear nothing from it"
