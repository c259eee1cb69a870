"""Users in the hands of administrators."""

from synapse_lite.handlers.account_validity import AccountValidity
from synapse_lite.handlers.deactivation import Deactivation
from synapse_lite.handlers.experimental_features import ExperimentalFeatures
from synapse_lite.handlers.rate_limit_overrides import RateLimitOverrides
from synapse_lite.handlers.user_admin import UserAdmin
from synapse_lite.handlers.user_erasure import UserErasure
from synapse_lite.handlers.user_facts import UserFacts
from synapse_lite.handlers.user_selection import UserSelection
from synapse_lite.rest.admin.account_validity import AccountValidityApi
from synapse_lite.rest.admin.experimental_features import ExperimentalFeaturesApi
from synapse_lite.rest.admin.rate_limit_overrides import RateLimitOverridesApi
from synapse_lite.rest.admin.user_erasure import UserErasureApi
from synapse_lite.rest.admin.user_facts import UserFactsApi
from synapse_lite.rest.admin.users import UsersApi
from synapse_lite.rest.client.user_moderation import UserModerationApi
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature
from synapse_lite.workers.features.accounts import build_registration
from synapse_lite.workers.features.profiles import room_profiles


def build(core: Core) -> Feature:
    users = UserAdmin(
        core.requests,
        core.clock,
        registration=build_registration(core),
        passwords=core.accounts.passwords,
        access_tokens=core.accounts.access_tokens,
        closing=Deactivation(core.requests, core.queue),
        queue=core.queue,
        room_profiles=room_profiles(core),
        server_name=core.server_name,
    )
    follows_threads = core.config.experimental_features.msc4306_enabled
    facts = UserFacts(core.requests, core.server_name, follows_threads=follows_threads)
    validity = AccountValidity(
        core.requests, core.clock, core.config.account_validity.effective_period, core.server_name
    )
    erasure = UserErasure(core.queue, UserSelection(core.requests), core.server_name)
    enabled = core.config.password_config.enabled is True
    return Feature(
        routes=[
            *UsersApi(users, passwords_enabled=enabled).routes(),
            *UserErasureApi(users, erasure).routes(),
            *UserFactsApi(facts).routes(),
            *UserModerationApi(users, facts).routes(),
            *AccountValidityApi(validity).routes(),
            *ExperimentalFeaturesApi(ExperimentalFeatures(core.requests, core.server_name)).routes(),
            *RateLimitOverridesApi(RateLimitOverrides(core.requests, core.server_name)).routes(),
        ]
    )
