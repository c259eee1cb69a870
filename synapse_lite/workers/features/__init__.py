"""The features of the server. A new one is its own files, and one line here."""

from collections.abc import Callable, Sequence

from attrs import evolve

from synapse_lite.handlers.audit import AuditLog
from synapse_lite.http.throttle import Throttle
from synapse_lite.rest.admin.audited import audited
from synapse_lite.rest.federation.limited import limited
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature
from synapse_lite.workers.features import (
    account_data,
    accounts,
    aliases,
    app_services,
    audit,
    auto_accept,
    consent,
    devices,
    discovery,
    encryption,
    ephemeral,
    federation,
    federation_sending,
    hierarchy,
    history,
    media,
    notifications,
    openid,
    presence,
    profiles,
    public_rooms,
    push_rules,
    redactions,
    registration_tokens,
    relations,
    rendezvous,
    reports,
    room_admin,
    rooms,
    search,
    server_admin,
    server_notices,
    sliding_sync,
    sync,
    tasks,
    third_party,
    thread_subscriptions,
    threepids,
    user_admin,
    user_directory,
    voip,
)

Build = Callable[[Core], Feature]

FEATURES: tuple[Build, ...] = (
    discovery.build,
    accounts.build,
    threepids.build,
    app_services.build,
    devices.build,
    encryption.build,
    profiles.build,
    account_data.build,
    push_rules.build,
    notifications.build,
    rooms.build,
    auto_accept.build,
    aliases.build,
    public_rooms.build,
    hierarchy.build,
    sync.build,
    sliding_sync.build,
    history.build,
    search.build,
    user_directory.build,
    media.build,
    ephemeral.build,
    presence.build,
    federation.build,
    federation_sending.build,
    server_admin.build,
    room_admin.build,
    user_admin.build,
    registration_tokens.build,
    server_notices.build,
    consent.build,
    redactions.build,
    relations.build,
    thread_subscriptions.build,
    reports.build,
    tasks.build,
    openid.build,
    voip.build,
    rendezvous.build,
    third_party.build,
    audit.build,
)


def build_features(core: Core, builds: Sequence[Build] = FEATURES) -> tuple[Feature, ...]:
    """Each feature's extensions are known to the core then."""
    log, throttle = AuditLog(core.requests, core.clock), Throttle(core.clock, core.config.rc_federation)
    features = tuple(
        evolve(feature, routes=limited(audited(feature.routes, log), throttle))
        for feature in (build(core) for build in builds)
    )
    for feature in features:
        core.extensions.add(feature)
    return features
