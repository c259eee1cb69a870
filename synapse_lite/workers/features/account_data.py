"""Account data, tags and filters."""

from synapse_lite.handlers.account_data import AccountData
from synapse_lite.handlers.sync.account_data import GlobalAccountData, RoomAccountData
from synapse_lite.rest.client.account_data import AccountDataApi
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature


def build(core: Core) -> Feature:
    return Feature(
        AccountDataApi(AccountData(core.requests, core.writer)).routes(),
        sync_sections=(GlobalAccountData(),),
        room_sections=(RoomAccountData(),),
    )
