"""How often a join through another server asks the database while the room is locked."""

from collections.abc import Iterator
from typing import Any

import pytest
from psycopg2 import extensions
from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from synapse_lite.storage.database import Database
from tests.federation.hall import ROOM
from tests.federation.network import Scripted
from tests.federation.pair import join_path
from tests.federation.resident import Resident
from tests.server import TestServer

ENTERING = 8


@pytest.fixture
def sent() -> list[str]:
    """What was asked of the database."""
    return []


@pytest.fixture
def watched(database_arguments: dict[str, Any], sent: list[str]) -> Iterator[Database]:
    class Cursor(extensions.cursor):
        def execute(self, query: Any, arguments: Any = None) -> None:
            sent.append(query if isinstance(query, str) else query.decode())
            super().execute(query, arguments)

    arguments = {**database_arguments, "cursor_factory": Cursor}
    database = Database(reactor, arguments, name="watched", size=1, settings={})
    database.start()
    yield database
    database.stop()


@ensureDeferred
async def test_entering_a_room(
    server: TestServer, other: Scripted, watched: Database, sent: list[str]
) -> None:
    """With the answer of the other server the room is entered by one transaction: its lock, who of ours is there, what is known of
    the state, two for the numbers of its keys, presence, the task for the members, and the commit with the stream.
    """
    peers = server.core.federation.peers
    process = TestServer(watched, bus=server.bus, peers=peers, signing_key=server.signing_key)
    await process.start()
    resident = Resident(other, 10)
    resident.user = f"@bob:{server.name}"
    bob = await server.user("bob")
    sent.clear()
    await process.ok("POST", join_path(ROOM), {}, bob)
    await process.stop()
    start = next(place for place, text in enumerate(sent) if text.startswith("BEGIN;INSERT INTO rooms"))
    end = next(place for place, text in enumerate(sent) if place >= start and ";COMMIT" in text)
    once_a_process = ("PREPARE", "SELECT nextval")
    assert len([text for text in sent[start : end + 1] if not text.startswith(once_a_process)]) == ENTERING
