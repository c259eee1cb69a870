"""How much each scenario does."""

import attrs


@attrs.frozen
class Sizes:
    registrations: int = 40
    seq_sends: int = 300
    rooms_sends: int = 1600
    shared_sends: int = 1008
    big_members: int = 300
    big_sends: int = 200
    latency_messages: int = 200
    fanout_users: int = 200
    fanout_messages: int = 30
    sync_rooms: int = 100
    sync_repeats: int = 20
    history_events: int = 1000
    history_repeats: int = 5
    redact_messages: int = 1000
    many_users: int = 10
    many_messages: int = 2000  # of each user
    purge_events: int = 3000
    large_events: int = 1_000_000  # where the server can make them in bulk; else purge_events
    large_members: int = 20_000
    limit_s: int = 1200  # of one scenario


FULL = Sizes()
QUICK = Sizes(
    registrations=8,
    seq_sends=50,
    rooms_sends=160,
    shared_sends=160,
    big_members=20,
    big_sends=30,
    latency_messages=20,
    fanout_users=20,
    fanout_messages=5,
    sync_rooms=10,
    sync_repeats=5,
    history_events=200,
    history_repeats=2,
    redact_messages=100,
    many_users=4,
    many_messages=25,
    purge_events=200,
    large_events=5000,
    large_members=200,
    limit_s=120,
)
