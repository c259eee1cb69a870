"""Everything that is timed.  Each scenario checks that the server did it, or raises `ScenarioError`.

Metrics ending in `_per_s` or `_gain` are better when higher; in `_s`, `_ms`, `_mb` or `_rise`
when lower.
"""

from benchmarks.scenarios.process import memory, start
from benchmarks.scenarios.purging import purge_large, purge_room
from benchmarks.scenarios.reading import initial_sync, messages, sync_fanout, sync_latency
from benchmarks.scenarios.sending import big_room, register_login, send_rooms, send_seq, send_shared
from benchmarks.scenarios.tasks import redact, redact_banned, redact_many

SCENARIOS = {
    scenario.__name__: scenario
    for scenario in (
        register_login,
        send_seq,
        send_rooms,
        send_shared,
        big_room,
        sync_latency,
        sync_fanout,
        initial_sync,
        messages,
        redact,
        redact_banned,
        redact_many,
        purge_room,
        memory,
        start,
        purge_large,
    )
}
