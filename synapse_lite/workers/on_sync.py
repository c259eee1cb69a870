"""What users are told when they sync, by the server itself."""

from synapse_lite.handlers.limit_notices import LimitNotices
from synapse_lite.handlers.requester import Requester
from synapse_lite.rest.client.sync import OnSync
from synapse_lite.workers.core import Core
from synapse_lite.workers.features.consent import consent
from synapse_lite.workers.features.server_notices import server_notices


def on_sync(core: Core) -> OnSync:
    calls: list[OnSync] = []
    if asked := consent(core):
        calls.append(asked.ask)
    if limit := _limit_notices(core):
        calls.append(limit.tell)

    async def call_each(requester: Requester) -> None:
        for call in calls:
            await call(requester)

    return call_each


def _limit_notices(core: Core) -> LimitNotices | None:
    config, active = core.config, core.accounts.active
    is_wanted = config.limit_usage_by_mau and config.mau_limit_alerting
    if active is None or not is_wanted or config.server_notices.system_mxid_localpart is None:
        return None
    return LimitNotices(active, server_notices(core), core.clock, config.admin_contact)
