"""How often the database is asked: to send, and to read the past, never more for more events."""

from collections.abc import Iterator
from typing import Any

import pytest
from attrs import define, field
from psycopg2 import extensions
from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from synapse_lite.handlers.history import HistoryHandler
from synapse_lite.storage.database import Database
from synapse_lite.storage.rooms import Room
from synapse_lite.workers.features.history import history_handler
from tests.builders import ALICE, BOB
from tests.databases import ReusedDatabase
from tests.handlers.sync_server import SyncServer, decoded, requester, selection
from tests.server import TestServer

FEW, SOME, MANY = 4, 24, 60
COLD_PAGE, COLD_CONTEXT = {"shared": 13, "joined": 15}, 17  # statements at most when nothing is in memory


@define
class Watched:
    """A database, and the statements that were sent to it."""

    database: Database
    sent: list[str] = field(factory=list)

    def reader(self) -> "Reader":
        """A process that has nothing in memory."""
        return Reader(history_handler(TestServer(self.database).core), self.sent)


@define
class Reader:
    history: HistoryHandler
    sent: list[str]

    async def page(self, user_id: str, room: Room, limit: int, **more: Any) -> int:
        """Read the last events of the room; the number of round trips."""
        self.sent.clear()
        answer = await self.history.messages(
            requester(user_id),
            room.room_id,
            None,
            None,
            backwards=True,
            selection=selection(limit=limit, **more),
        )
        assert len(answer["chunk"]) == limit
        return self._count()

    async def context(self, user_id: str, room: Room, event_id: str, limit: int) -> int:
        self.sent.clear()
        answer = await self.history.context(
            requester(user_id), room.room_id, event_id, selection(limit=limit, lazy_load_members=True)
        )
        assert len(decoded(answer["events_before"])) == limit // 2
        return self._count()

    def _count(self) -> int:
        # Nobody waits for the end of a snapshot; a connection prepares a statement once.
        return sum(not str(statement).startswith(("ROLLBACK", "PREPARE")) for statement in self.sent)


@pytest.fixture
def watched(reused_database: ReusedDatabase) -> Iterator[Watched]:
    sent: list[str] = []

    class Cursor(extensions.cursor):
        def execute(self, query: Any, arguments: Any = None) -> None:
            sent.append(query)
            super().execute(query, arguments)

    arguments = {**reused_database.arguments, "cursor_factory": Cursor}
    database = Database(reactor, arguments, name="watched", size=1, settings={})
    database.start()
    yield Watched(database, sent)
    database.stop()


async def _room(server: SyncServer, visibility: str) -> tuple[Room, str]:
    """Many join, speak, are redacted, and change the topic; and an event in the midst.

    Bob is there all the time, but his last member event is the room's last event.
    """
    room = await server.room(ALICE)
    await server.show_history_to(room, visibility)
    await server.join(room, BOB)
    middle = ""
    for number in range(MANY // 4):
        user_id = f"@{number}:hs.test"
        await server.join(room, user_id)
        said = await server.say(room, user_id)
        await server.redact(room, said)
        await server.set(room, "m.room.topic", {"topic": str(number)})
        if number == MANY // 8:
            middle = said
    await server.set(room, "m.room.member", {"membership": "join", "displayname": "Bob"}, BOB, BOB)
    return room, middle


@ensureDeferred
async def test_a_page_of_what_is_in_memory(server: SyncServer, watched: Watched) -> None:
    """One; and another one where state is shown, with what it replaced, or the members who speak."""
    room, _ = await _room(server, "shared")
    reader = watched.reader()
    await reader.page(ALICE, room, MANY, lazy_load_members=True)
    for limit in (FEW, MANY):
        assert await reader.page(ALICE, room, limit) == 2
        assert await reader.page(ALICE, room, limit, lazy_load_members=True) == 2
    for _ in range(MANY):
        await server.say(room, ALICE)
    await reader.page(ALICE, room, MANY)
    for limit in (FEW, MANY):
        assert await reader.page(ALICE, room, limit) == 1


@pytest.mark.parametrize("visibility", ["shared", "joined"])
@ensureDeferred
async def test_a_page_of_what_is_not(server: SyncServer, watched: Watched, visibility: str) -> None:
    """As many statements for many events as for few, also where each one, and what relates to it, is judged by the state around it.

    Or one more: it is looked up what became of state that is not shown itself, but what came in its place.
    """
    room, middle = await _room(server, visibility)
    for user_id in (ALICE, BOB):
        counts = {
            await watched.reader().page(user_id, room, limit, lazy_load_members=True) for limit in (FEW, SOME)
        }
        assert max(counts) - min(counts) <= 1
        assert max(counts) <= COLD_PAGE[visibility]
    around = [await watched.reader().context(ALICE, room, middle, limit) for limit in (FEW, SOME)]
    assert max(around) <= COLD_CONTEXT


@ensureDeferred
async def test_a_message(watched: Watched) -> None:
    """The room is locked, and the event is written: the stream is locked for that second message alone."""
    server = TestServer(watched.database)
    token = await server.user("alice")
    path = f"{await server.room(token)}/send/m.room.message"
    for number in range(2):
        watched.sent.clear()
        await server.ok("PUT", f"{path}/{number}", {"msgtype": "m.text", "body": "hello"}, token)
    assert len(watched.sent) == 2
