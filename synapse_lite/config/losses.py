"""What a deployment of Synapse would lose here: its options that change nothing, in the words of its users."""

from collections.abc import Iterator

from synapse_lite.config.model import Config

LOSSES = {
    "account_threepid_delegates": "no text messages: telephone numbers cannot be confirmed",
    "account_validity.renew_at": "nobody is told by e-mail that their account expires",
    "allow_device_name_lookup_over_federation": "other servers never see the names of devices",
    "backup_media_store_path": "media are in one place only: copy it to keep a second one",
    "bind_port": "nothing listens there: name the port in listeners",
    "caches.cache_autotuning": "memory is not measured: caches.global_factor says how much each process keeps in it",
    "caches.per_cache_factors": "the caches here are other ones: caches.global_factor sizes all of them, event_cache_size that of events",
    "cas_config": "no login by CAS",
    "daemonize": "the process stays in the foreground, for systemd or a container to watch",
    "database_path": "the database is that of database",
    "databases": "the database is that of database",
    "dummy_events_threshold": "nothing is sent only to join the ends of a room: what users here say next joins 20 of them",
    "email": "no mail: neither notifications nor a new password by e-mail",
    "enable_ephemeral_messages": "messages do not vanish by themselves",
    "enable_registration_captcha": "there is no captcha, so registration stays closed",
    "experimental_features.*": "there is no such feature here",
    "experimental_features.msc3861": "no login by Matrix Authentication Service: its users cannot log in",
    "jwt_config": "no login by JSON web token",
    "ldap_config": "passwords are those of the database only: no LDAP",
    "listeners.manhole": "no debugging shell",
    "log_file": "the log goes where log or log_config says",
    "manhole": "no debugging shell",
    "matrix_authentication_service": "no login by Matrix Authentication Service: its users cannot log in",
    "media_storage_providers.config.sse_customer_key": "objects are encrypted as the bucket says: no key goes with them",
    "media_storage_providers.config.storage_class": "objects have the class that the bucket gives",
    "metrics_port": "nothing listens there: name a listener of the type metrics",
    "modules": "Python modules are not loaded: spam checkers, password providers and others do nothing",
    "oidc_config": "no single sign-on by OpenID Connect",
    "oidc_providers": "no single sign-on by OpenID Connect",
    "opentracing": "no traces",
    "outbound_federation_restricted_to": "every process speaks with other servers",
    "password_providers": "passwords are those of the database only: no LDAP",
    "presence_router": "presence is told to those who share a room only",
    "registrations_require_3pid": "no address can be confirmed, so registration stays closed",
    "saml2_config": "no single sign-on by SAML",
    "sentry": "errors are in the log only",
    "spam_checker": "nothing is checked for spam",
    "sso": "no single sign-on",
    "templates": "pages and messages have the texts of this server",
    "third_party_event_rules": "events are accepted whatever that module would say",
    "unsecure_port": "nothing listens there: name the port in listeners",
    "user_types": "users have the types bot and support, or none",
    "worker_daemonize": "the process stays in the foreground, for systemd or a container to watch",
    "worker_listeners.manhole": "no debugging shell",
    "worker_manhole": "no debugging shell",
}


def describe_losses(config: Config) -> Iterator[str]:
    """`option: what is lost`."""
    for option in config.ignored:
        if loss := _loss(option):
            yield f"{option}: {loss}"


def without_loss(config: Config) -> list[str]:
    """Options that change nothing, and that nobody misses: it is done otherwise here, or there is no need of it."""
    return [option for option in config.ignored if _loss(option) is None]


def _loss(option: str) -> str | None:
    section = option.partition(".")[0]
    return LOSSES.get(option) or LOSSES.get(f"{section}.*")
