"""PostgreSQL goes away under running processes, and comes back."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from synapse_lite.cli.demo.connection import User
from synapse_lite.storage.outage import PATIENCE_SECONDS
from tests.chaos.postgres import FallibleDatabase
from tests.processes.harness import wait_until
from tests.processes.site import Site, act, create_room, say

REQUESTS = 40


@pytest.fixture
def database(tmp_path: Path) -> Iterator[FallibleDatabase]:
    database = FallibleDatabase(tmp_path / "postgres")
    yield database
    database.stop()


def ask(site: Site, path: str, user: User | None = None) -> tuple[int, dict[str, str], Any, float]:
    """Status, headers, JSON body if it is one, and seconds."""
    headers = {"Authorization": f"Bearer {user.access_token}"} if user else {}
    request = urllib.request.Request(f"{site.url()}{path}", headers=headers)
    started = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            status, found, body = answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            status, found, body = error.code, dict(error.headers), error.read()
    is_json = found.get("Content-Type") == "application/json"
    return status, found, json.loads(body) if is_json else None, time.monotonic() - started


def test_an_outage_is_answered_and_told_once(tmp_path: Path, database: FallibleDatabase) -> None:
    """Clients get 503 and when to come back, probes an answer at once, the log one line; then all goes on."""
    site = Site(tmp_path, database.start(), runners=["main"])
    try:
        site.start("main")
        user = site.user("ada")
        room_id = create_room(user)
        database.stop()
        rooms = "/_matrix/client/v3/joined_rooms"
        with ThreadPoolExecutor(REQUESTS) as threads:
            first = list(threads.map(lambda _: ask(site, rooms, user), range(REQUESTS)))
        assert {status for status, *_ in first} == {503}
        assert all(seconds < 3 * PATIENCE_SECONDS for *_, seconds in first)

        status, headers, body, seconds = ask(site, rooms, user)
        assert (status, body["errcode"]) == (503, "M_UNKNOWN")
        assert int(headers["Retry-After"]) > 0
        assert seconds < PATIENCE_SECONDS
        status, _, _, seconds = ask(site, "/ready")
        assert (status, seconds < PATIENCE_SECONDS) == (503, True)
        assert ask(site, "/health")[0] == 200

        database.start()
        wait_until(lambda: ask(site, "/ready")[0] == 200, "the database in use again")
        with user.connect() as connection:
            say(connection, room_id, "after")
        act(user, room_id, "leave")
        log = site.processes["main"].log()
        assert log.count("the database is not available") == 1
        assert log.count("the database is available again") == 1
        assert "Traceback" not in log
        warnings = [line for line in log.splitlines() if " WARNING " in line or " ERROR " in line]
        assert [line for line in warnings if "the database is not available" not in line] == [
            line for line in warnings if "expired; its tasks are dropped" in line
        ]
    finally:
        site.close()


def test_a_restart_of_the_database_fails_no_request(tmp_path: Path, database: FallibleDatabase) -> None:
    """Who asks meanwhile waits until it is back."""
    site = Site(tmp_path, database.start(), runners=["main"])
    try:
        site.start("main")
        user = site.user("ada")
        database.stop()
        with ThreadPoolExecutor(REQUESTS) as threads:
            answers = [
                threads.submit(ask, site, "/_matrix/client/v3/joined_rooms", user) for _ in range(REQUESTS)
            ]
            site.processes["main"].wait_for_log("the database is not available")
            database.start()
            assert {answer.result()[0] for answer in answers} == {200}
    finally:
        site.close()
