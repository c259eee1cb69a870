"""Account data, tags and filters."""

from synapse_lite.handlers.account_data import AccountData
from synapse_lite.handlers.sync.account_data import GlobalAccountData, RoomAccountData
from synapse_lite.rest.client.account_data import AccountDataApi
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature


def build(core: Core) -> Feature:
    follows_threads = core.config.experimental_features.msc4306_enabled
    data = AccountData(core.requests, core.writer, follows_threads=follows_threads)
    return Feature(
        AccountDataApi(data).routes(),
        sync_sections=(GlobalAccountData(follows_threads=follows_threads),),
        room_sections=(RoomAccountData(),),
    )
