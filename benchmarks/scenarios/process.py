"""The processes themselves."""

import asyncio

from benchmarks.bench import Bench
from benchmarks.client import Metrics, check


async def memory(bench: Bench) -> Metrics:
    """Resident memory of the processes after the scenarios above, by process and together.

    And the longest time for which the garbage collector has stopped `main` in them.
    """
    resident = bench.server.memory_mb()
    by_name = {f"{name}_mb": size for name, size in resident.items()}
    pause = bench.server.metric("synapse_lite_gc_longest_pause_seconds")
    pauses = {} if pause is None else {"longest_gc_pause_ms": pause * 1000}
    return {**by_name, "all_processes_mb": sum(resident.values()), **pauses}


async def start(bench: Bench) -> Metrics:
    """From starting main to its first answer: on the data so far, and at first on no schema."""
    user = (await bench.users(1))[0]
    seconds = await asyncio.to_thread(bench.server.restart)
    answer = await user.call("GET", "/_matrix/client/v3/account/whoami")
    check(answer["user_id"] == user.user_id, "the token did not survive the restart")
    return {"first_answer_s": seconds, "empty_database_s": bench.server.empty_start_s}
