"""Making accounts, logging in and out, one's own account."""

from synapse_lite.handlers.app_services.accounts import ServiceAccounts
from synapse_lite.handlers.audit import AuditLog
from synapse_lite.handlers.auto_join import AutoJoin
from synapse_lite.handlers.closed_server import ClosedServer
from synapse_lite.handlers.deactivation import Deactivation
from synapse_lite.handlers.login import PasswordChanges
from synapse_lite.handlers.registration import Registration, SharedSecretRegistration
from synapse_lite.rest.admin.register import SharedSecretRegisterApi
from synapse_lite.rest.client.account import AccountApi
from synapse_lite.rest.client.auth_fallback import AuthFallbackApi
from synapse_lite.rest.client.discovery import client_well_known
from synapse_lite.rest.client.login import LoginApi
from synapse_lite.rest.client.login_tokens import LoginTokenApi
from synapse_lite.rest.client.register import RegisterApi
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature
from synapse_lite.workers.features.rooms import room_creation


def auto_join(core: Core) -> AutoJoin:
    return AutoJoin(
        core.requests,
        core.appender,
        core.rooms.current,
        room_creation(core),
        core.clock,
        core.config,
        core.config,
        core.server_name,
    )


def build_registration(core: Core) -> Registration:
    terms = core.config.user_consent
    return Registration(
        core.requests,
        core.accounts.passwords,
        core.clock,
        options=core.config,
        server_name=core.server_name,
        on_registered=auto_join(core).on_registered,
        terms_version=terms.version if terms and terms.require_at_registration else None,
        closed=ClosedServer.of(core.config),
        active=core.accounts.active,
        services=core.accounts.services,
    )


def build(core: Core) -> Feature:
    config, accounts = core.config, core.accounts
    passwords = config.password_config
    registration = build_registration(core)
    service_accounts = ServiceAccounts(
        core.requests,
        accounts.access_tokens,
        accounts.services,
        core.clock,
        core.server_name,
        ClosedServer.of(config),
    )
    shared_secret = SharedSecretRegistration(
        core.requests, core.clock, registration, config.registration_shared_secret
    )
    limiter = core.limits.limiter("rc_registration", config.rc_registration, is_exact=True)
    token_limiter = core.limits.limiter(
        "rc_registration_token_validity", config.rc_registration_token_validity
    )
    return Feature(
        routes=[
            *LoginApi(
                accounts.logins,
                service_accounts,
                accounts.login_tokens,
                accounts.access_tokens,
                passwords_enabled=passwords.enabled is True and passwords.localdb_enabled,
                well_known=client_well_known(config),
            ).routes(),
            *RegisterApi(
                registration,
                service_accounts,
                accounts.access_tokens,
                accounts.logins,
                accounts.auth,
                limiter,
                token_limiter,
            ).routes(),
            *AuthFallbackApi(accounts.auth, token_limiter).routes(),
            *SharedSecretRegisterApi(
                shared_secret, accounts.access_tokens, AuditLog(core.requests, core.clock)
            ).routes(),
            *LoginTokenApi(accounts.login_tokens, accounts.auth).routes(),
            *AccountApi(
                accounts.auth,
                PasswordChanges(core.requests, accounts.passwords),
                Deactivation(core.requests, core.queue),
                passwords_enabled=bool(passwords.enabled),
            ).routes(),
        ],
        lives=(accounts.passwords, accounts.last_seen, *((accounts.active,) if accounts.active else ())),
    )
