"""Sliding sync."""

from synapse_lite.handlers.sliding_sync.bump_stamps import BumpStamps
from synapse_lite.handlers.sliding_sync.extensions import Extensions
from synapse_lite.handlers.sliding_sync.handler import SlidingSyncHandler
from synapse_lite.handlers.sliding_sync.live import LiveSlidingReader
from synapse_lite.handlers.sliding_sync.live_extensions import LiveExtensions
from synapse_lite.handlers.sliding_sync.reading import SlidingReader
from synapse_lite.handlers.sliding_sync.remembered import RememberedRooms
from synapse_lite.handlers.sync.live_news import NewsReader
from synapse_lite.handlers.sync.sections import Sections
from synapse_lite.handlers.thread_subscriptions import ThreadSubscriptionsSection
from synapse_lite.rest.client.sliding_sync import SlidingSyncApi
from synapse_lite.workers.core import Core
from synapse_lite.workers.feature import Feature
from synapse_lite.workers.on_sync import on_sync


def build(core: Core) -> Feature:
    sections = Sections(core.extensions.sync_sections, core.extensions.room_sections)
    follows_threads = core.config.experimental_features.msc4306_enabled
    extensions = Extensions(sections, more=(ThreadSubscriptionsSection(),) if follows_threads else ())
    remembered = RememberedRooms(core.rooms.retention)
    core.log.listen(remembered.on_changes)
    reader = SlidingReader(
        core.events,
        core.state,
        core.rooms.visibility,
        core.rooms.prejoin,
        extensions,
        remembered,
        core.rooms.broken,
        core.config.exclude_rooms_from_sync,
    )
    bumps = BumpStamps(core.requests, core.events)
    core.log.listen(bumps.on_changes)
    news = NewsReader(core.log, core.events, core.rooms.joined, core.rooms.retention, sections)
    sync = SlidingSyncHandler(
        core.requests,
        reader,
        LiveSlidingReader(reader, news, core.rooms.live, LiveExtensions(extensions), bumps),
        core.rooms.joined,
        core.log,
        extensions,
        core.accounts.access_tokens,
        core.rooms.ignored,
        core.clock,
    )
    return Feature(SlidingSyncApi(sync, core.rooms.presence, on_sync(core)).routes())
