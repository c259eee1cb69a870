"""Everything that is timed.  Each scenario checks that the server did it, or raises `ScenarioError`.

Metrics ending in `_per_s` or `_gain` are better when higher; in `_s`, `_ms`, `_mb` or `_rise`
when lower.
"""

from benchmarks.scenarios.admin_lists import admin_lists
from benchmarks.scenarios.crowd import initial_sync_unread, presence, pushers, real_clients
from benchmarks.scenarios.encryption import e2ee_latency, e2ee_send, keys_claim, keys_query, to_device
from benchmarks.scenarios.federation import (
    fed_backfill,
    fed_fanout,
    fed_hostile,
    fed_inbound,
    fed_join,
    fed_resolution,
)
from benchmarks.scenarios.finding import hierarchy, public_rooms, search, user_directory
from benchmarks.scenarios.media import media, send_beside_media
from benchmarks.scenarios.process import memory, start
from benchmarks.scenarios.purging import purge_large, purge_room
from benchmarks.scenarios.reading import initial_sync, messages, sync_fanout, sync_latency
from benchmarks.scenarios.sending import big_room, register_login, send_rooms, send_seq, send_shared
from benchmarks.scenarios.sliding import sliding_large, sliding_sync
from benchmarks.scenarios.tasks import redact, redact_banned, redact_many, redact_spammers
from benchmarks.scenarios.writing import receipts, send_beside_busy

SCENARIOS = {
    scenario.__name__: scenario
    for scenario in (
        register_login,
        send_seq,
        send_rooms,
        send_shared,
        big_room,
        receipts,
        send_beside_busy,
        sync_latency,
        sync_fanout,
        initial_sync,
        initial_sync_unread,
        real_clients,
        pushers,
        presence,
        search,
        hierarchy,
        public_rooms,
        user_directory,
        sliding_sync,
        sliding_large,
        messages,
        keys_query,
        keys_claim,
        to_device,
        e2ee_send,
        e2ee_latency,
        fed_fanout,
        fed_inbound,
        fed_join,
        fed_backfill,
        fed_resolution,
        fed_hostile,
        media,
        send_beside_media,
        redact,
        redact_banned,
        redact_many,
        redact_spammers,
        purge_room,
        memory,
        start,
        purge_large,
        admin_lists,
    )
}
