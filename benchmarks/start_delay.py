"""From POST .../redact to the first step: how long a task waits for an idle worker.

    python -m benchmarks.start_delay

The user to be redacted has written nothing, so that the first steps are all there is. Times are by
the clock of the database, which is that of this machine, in whole milliseconds.
"""

import argparse
import asyncio
import random
import tempfile
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs
import psycopg2

from benchmarks.bench import Bench
from benchmarks.candidate import candidate
from benchmarks.client import ADMIN, User, latency, until_done
from benchmarks.http import Http
from benchmarks.postgres import postgres
from benchmarks.scenarios.tasks import redacted
from benchmarks.server import Server, Site
from benchmarks.sizes import QUICK

GOAL_MS = 50
IDLE_S = (0.1, 0.3)  # before each request; spread, so as not to keep step with any timer
_EVENTS = "SELECT kind, min(at) FROM task_events WHERE task_id = %s GROUP BY kind"


@attrs.frozen
class Delay:
    """Milliseconds from the request until the task was stored, claimed, and its last step committed."""

    enqueued: float
    claimed: float
    complete: float


async def sample(admin: User, user: User, database: dict[str, Any]) -> Delay:
    await asyncio.sleep(random.uniform(*IDLE_S))
    asked_ms = time.time() * 1000
    answer = await admin.call("POST", f"{ADMIN}/v1/user/{quote(user.user_id)}/redact", {"rooms": []})
    await until_done(partial(redacted, admin, answer["redact_id"]), limit_s=30)
    at = await asyncio.to_thread(read_events, database, answer["redact_id"])
    return Delay(*(at[kind] - asked_ms for kind in ("enqueued", "claimed", "complete")))


def read_events(database: dict[str, Any], task_id: str) -> dict[str, int]:
    with closing(psycopg2.connect(**database)) as connection, connection.cursor() as cursor:
        cursor.execute(_EVENTS, (task_id,))
        return dict(cursor.fetchall())


async def measure(server: Server, database: dict[str, Any], samples: int) -> list[Delay]:
    async with Http(server.base_url) as http:
        bench = Bench(server, http, QUICK)
        admin, user = await bench.admin(), await bench.register()
        await sample(admin, user, database)  # the first one warms everything up
        return [await sample(admin, user, database) for _ in range(samples)]


def run(samples: int) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as place, postgres(Path(place) / "postgres") as running:
        arguments = running.arguments("synapse_lite")
        server = candidate(Site.create(Path(place), "synapse_lite", running))
        database = {key: arguments[key] for key in ("user", "dbname", "host", "port")}
        try:
            server.start()
            delays = asyncio.run(measure(server, database, samples))
        finally:
            server.stop()
    print(f"From POST to ..., {samples} samples, goal of the median for the first step: {GOAL_MS} ms")
    for field in attrs.fields(Delay):
        values = latency([getattr(delay, field.name) / 1000 for delay in delays])
        print(f"  {field.name:9} median {values['p50_ms']:6.1f} ms   p99 {values['p99_ms']:6.1f} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.start_delay",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--samples", type=int, default=50, help="default: 50")
    run(parser.parse_args().samples)
