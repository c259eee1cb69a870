"""/sync."""

from synapse_lite.handlers.account_data import AccountData
from synapse_lite.handlers.old_sync import OldSync
from synapse_lite.handlers.sync.filters import SyncFilters
from synapse_lite.handlers.sync.handler import SyncHandler
from synapse_lite.handlers.sync.live import LiveReader
from synapse_lite.handlers.sync.live_news import NewsReader
from synapse_lite.handlers.sync.reading import SyncReader
from synapse_lite.handlers.sync.sections import Sections
from synapse_lite.handlers.sync.summary import Summary
from synapse_lite.rest.client.old_sync import OldSyncApi
from synapse_lite.rest.client.sync import SyncApi
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature
from synapse_lite.workers.features.history import history_handler
from synapse_lite.workers.features.rooms import room_state
from synapse_lite.workers.on_sync import on_sync

MAX_TIMELINE = 1000  # events of a room, where the configuration sets no limit


def sync_handler(core: Core) -> SyncHandler:
    """Complete when all features are built: it has the sections of all of them."""
    sections = Sections(core.extensions.sync_sections, core.extensions.room_sections)
    broken, joined = core.rooms.broken, core.rooms.joined
    reader = SyncReader(core.events, core.state, core.rooms.visibility, core.rooms.prejoin, sections, broken)
    news = NewsReader(core.log, core.events, joined, core.rooms.retention, sections)
    live = LiveReader(news, core.rooms.live)
    tokens = core.accounts.access_tokens
    return SyncHandler(
        core.requests,
        reader,
        live,
        joined,
        core.log,
        sections,
        tokens,
        core.rooms.ignored,
        broken,
        core.clock,
    )


def build(core: Core) -> Feature:
    sync = sync_handler(core)
    limit = core.config.filter_timeline_limit
    filters = SyncFilters(
        AccountData(core.requests, core.writer),
        limit if limit >= 0 else MAX_TIMELINE,
        core.config.exclude_rooms_from_sync,
    )
    return Feature(
        [
            *SyncApi(sync, filters, core.rooms.presence, on_sync(core)).routes(),
            *OldSyncApi(
                OldSync(core.requests, room_state(core), history_handler(core), sync, filters, core.clock)
            ).routes(),
        ],
        room_sections=(Summary(core.requests),),
    )
