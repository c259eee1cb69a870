"""PostgreSQL goes away under running processes, and comes back."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from synapse_lite.cli.demo.connection import User
from tests.chaos.postgres import FallibleDatabase
from tests.processes.harness import START, wait_until
from tests.processes.site import PATIENT, Site, act, create_room, say

REQUESTS = 40


@pytest.fixture
def database(tmp_path: Path) -> Iterator[FallibleDatabase]:
    database = FallibleDatabase(tmp_path / "postgres")
    yield database
    database.stop()


def ask(site: Site, path: str, user: User | None = None) -> tuple[int, dict[str, str], Any]:
    """Status, headers, JSON body if it is one."""
    headers = {"Authorization": f"Bearer {user.access_token}"} if user else {}
    request = urllib.request.Request(f"{site.url()}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=START) as answer:
            status, found, body = answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            status, found, body = error.code, dict(error.headers), error.read()
    is_json = found.get("Content-Type") == "application/json"
    return status, found, json.loads(body) if is_json else None


def test_an_outage_is_answered_and_told_once(tmp_path: Path, database: FallibleDatabase) -> None:
    """Clients get 503 and when to come back, probes an answer, the log one line; then all goes on."""
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

        status, headers, body = ask(site, rooms, user)
        assert (status, body["errcode"]) == (503, "M_UNKNOWN")
        assert int(headers["Retry-After"]) > 0
        assert ask(site, "/ready")[0] == 503
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
        expected = ("the database is not available", "expired; its tasks are dropped", "a new key is made")
        assert [line for line in warnings if not any(words in line for words in expected)] == []
    finally:
        site.close()


def test_a_restart_of_the_database_fails_no_request(tmp_path: Path, database: FallibleDatabase) -> None:
    """Who asks meanwhile waits until it is back."""
    site = Site(tmp_path, database.start(), runners=["main"])
    try:
        site.start("main", module=PATIENT)
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
