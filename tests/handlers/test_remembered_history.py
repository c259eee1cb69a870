"""Pages of what was read lately come from memory, and are those of the database."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from copy import copy
from random import Random
from typing import Any

import pytest
import pytest_twisted
from attrs import define, field
from pytest_twisted import ensureDeferred

from synapse_lite.errors import MatrixError
from synapse_lite.handlers.history_values import Asked, Page
from synapse_lite.handlers.remembered_history import RememberedHistory
from synapse_lite.storage.database import Database
from synapse_lite.storage.memory_only import NotInMemoryError, memory_only
from synapse_lite.storage.room_closure import close_room
from synapse_lite.storage.rooms import Room, room_by_id
from synapse_lite.storage.stream import read_position
from synapse_lite.tasks.actions.purge_history import PURGE_HISTORY, PurgeHistoryParams
from synapse_lite.tasks.outcome import Next
from tests.builders import ALICE, BOB, MALLORY
from tests.handlers.sync_server import SyncServer
from tests.tasks.steps import Steps

CAROL = "@carol:hs.test"
USERS = (ALICE, BOB, CAROL, MALLORY)
LIMITS = (1, 3, 10, 50)
SEEDS = range(8)


@define
class Process:
    """One that serves clients: by what it remembers, and from the database alone."""

    server: SyncServer
    reads: int = 0

    def __attrs_post_init__(self) -> None:
        history, read = self.server.history, self.server.history._read

        async def counted(asked: Asked) -> Page:
            self.reads += 1
            return await read(asked)

        history._read = counted  # type: ignore[method-assign]

    async def asked(self, *request: Any, **more: Any) -> Any:
        """What a reader is shown, but for the age of events, and the order of state."""
        try:
            answer = _without_ages(await self.server.messages(*request, **more))
        except MatrixError as error:
            return error.status, error.errcode
        answer.get("state", []).sort(key=lambda event: event["event_id"])
        return answer

    async def asked_of_database(self, *request: Any, **more: Any) -> Any:
        history = self.server.history
        self.server.history = copy(history)
        self.server.history._remembered = RememberedHistory(
            self.server.log, history._events, history._remembered._retention, 0
        )
        del self.server.history._read
        try:
            return await self.asked(*request, **more)
        finally:
            self.server.history = history


@pytest.fixture
def process(server: SyncServer) -> Process:
    return Process(server)


@pytest_twisted.async_yield_fixture
async def other_process(process: Process, other_connections: Database) -> AsyncIterator[Process]:
    started = SyncServer(other_connections)
    await started.start()
    yield Process(started)
    started.log.stop()


@ensureDeferred
async def test_whoever_reads_on_where_somebody_read_takes_no_statement(process: Process) -> None:
    """Any stretch of it, in both directions, also when more was said since; as others do who have read there before."""
    server = process.server
    room = await server.room(ALICE, BOB)
    for _ in range(12):
        await server.say(room, BOB)
    for user_id in (ALICE, BOB):
        first = await server.messages(user_id, room, limit=5)
        await server.messages(user_id, room, first["end"], limit=5)
    await server.say(room, ALICE)
    process.reads = 0
    for user_id in (ALICE, BOB):
        assert len((await server.messages(user_id, room, first["start"], limit=7))["chunk"]) == 7
        assert len((await server.messages(user_id, room, first["end"], limit=3))["chunk"]) == 3
        page = await server.messages(user_id, room, first["end"], first["start"], dir="f", limit=20)
        assert len(page["chunk"]) == 5
    assert process.reads == 0
    newest = await server.messages(ALICE, room, limit=1)
    assert newest["chunk"][0]["sender"] == ALICE
    assert process.reads == 1
    assert (await server.messages(ALICE, room, limit=1))["chunk"][0]["event_id"] == newest["chunk"][0][
        "event_id"
    ]
    assert process.reads == 1


@ensureDeferred
async def test_what_changes_while_it_is_read_is_not_remembered(process: Process) -> None:
    server = process.server
    room = await server.room(ALICE, BOB)
    said = [await server.say(room, BOB) for _ in range(3)]
    snapshot = server.database.snapshot

    async def slow(*work: Any) -> Any:
        found = await snapshot(*work)
        await server.redact(room, said[0])
        return found

    server.database.snapshot = slow  # type: ignore[method-assign]
    try:
        await server.messages(ALICE, room)
    finally:
        server.database.snapshot = snapshot  # type: ignore[method-assign]
    assert await process.asked(ALICE, room) == await process.asked_of_database(ALICE, room)


@ensureDeferred
async def test_a_room_that_is_about_to_be_deleted_is_not_remembered(process: Process) -> None:
    server = process.server
    room = await server.room(ALICE, BOB)
    for _ in range(2):
        await server.messages(ALICE, room)
    assert process.reads == 1
    await server.do(close_room, room.nid, 1)
    for _ in range(2):
        await server.messages(ALICE, room)
    assert process.reads == 3


def test_a_function_that_sends_a_statement_is_told_apart() -> None:
    with pytest.raises(NotInMemoryError):
        read_position(memory_only())
    with pytest.raises(NotInMemoryError):
        room_by_id(memory_only(), "!room")


@define
class Happenings:
    """Two rooms in which things happen by chance, through either process."""

    processes: tuple[Process, Process]
    random: Random
    rooms: list[Room] = field(factory=list)
    said: list[tuple[Room, str]] = field(factory=list)
    purge: Any = None

    @property
    def server(self) -> SyncServer:
        return self.random.choice(self.processes).server

    async def begin(self) -> None:
        for version in ("10", "12"):
            self.rooms.append(await self.server.room(ALICE, BOB, CAROL, version=version))
        for _ in range(10):
            await self.act()

    async def act(self) -> None:
        room, sender = self.random.choice(self.rooms), self.random.choice(USERS)
        acts = [self._say] * 8 + [self._relate, self._redact, self._purge, self._forget]
        acts += [self._move] * 3 + [self._set]
        with suppress(MatrixError):  # whoever may not, does not
            await self.random.choice(acts)(room, sender)

    async def heard(self) -> None:
        """Both processes know of everything."""
        for process in self.processes:
            await process.server.catch_up()

    async def _say(self, room: Room, sender: str) -> None:
        self.said.append((room, await self.server.say(room, sender)))

    async def _relate(self, room: Room, sender: str) -> None:
        relation = {"rel_type": self.random.choice(["m.thread", "m.reference", "m.replace"])}
        relation["event_id"] = self._any(room)
        await self.server.set(room, "m.room.message", {"body": "", "m.relates_to": relation}, sender, None)

    async def _redact(self, room: Room, sender: str) -> None:
        await self.server.redact(room, self._any(room), self.random.choice([sender, ALICE]))

    async def _move(self, room: Room, target: str) -> None:
        how = self.random.choice(["join", "join", "leave", "ban", "invite"])
        await self.server.member(
            room, target if how == "join" else ALICE, target if target != ALICE else MALLORY, how
        )

    async def _set(self, room: Room, _sender: str) -> None:
        if self.random.random() < 0.5:
            await self.server.show_history_to(
                room, self.random.choice(["shared", "joined", "invited", "world_readable"])
            )
        else:
            await self.server.set(room, "m.room.topic", {"topic": str(self.random.random())})

    async def _forget(self, room: Room, sender: str) -> None:
        await self.server.forget(room, sender)

    async def _purge(self, room: Room, _sender: str) -> None:
        """A step of a purge that deletes little at a time, so that pages are read in its midst."""
        steps = Steps(self.server.database)
        if self.purge is None:
            await steps.open()
        if self.purge in {None, False}:
            wanted = PurgeHistoryParams(
                room_id=room.room_id, depth=self.random.randrange(5, 40), delete_local_events=True
            )
            await steps.ask(PURGE_HISTORY, wanted)
            self.purge = await steps.claim(PURGE_HISTORY)
        for _ in range(2):
            if self.purge and not isinstance(await steps.step(PURGE_HISTORY, self.purge, 2), Next):
                self.purge = False

    def _any(self, room: Room) -> str:
        mine = [event_id for place, event_id in self.said if place == room]
        return self.random.choice(mine[-6:] or ["$none"])


@pytest.mark.parametrize("seed", SEEDS)
@ensureDeferred
async def test_memory_and_database_show_the_same(process: Process, other_process: Process, seed: int) -> None:
    """Whatever happened meanwhile, in either process: to all users, for all stretches and filters."""
    random = Random(seed)
    happenings = Happenings((process, other_process), random)
    await happenings.begin()
    outcomes: Counter[str] = Counter()
    for _ in range(25):
        for _ in range(random.randrange(4)):
            await happenings.act()
        await happenings.heard()
        end = await process.server.database.read(read_position)
        for one in (process, other_process):
            for _ in range(6):
                request = random.choice(USERS), random.choice(happenings.rooms), *_stretch(random, end)
                more: dict[str, Any] = {"dir": random.choice("bbf"), "limit": random.choice(LIMITS)}
                more["lazy_load_members"] = random.random() < 0.5
                before = one.reads
                shown = [await one.asked(*request, **more) for _ in range(2)]
                outcomes["memory"] += 2 - (one.reads - before)
                true = await one.asked_of_database(*request, **more)
                assert shown == [true, true], (request, more)
                outcomes["shown"] += isinstance(true, dict)
    assert outcomes["memory"] > outcomes["shown"] / 2, outcomes


def _stretch(random: Random, end: int) -> tuple[str | None, str | None]:
    start = random.choice([None, f"s{end}", f"s{random.randrange(end)}", f"s{random.randrange(end)}"])
    return start, random.choice([None, None, f"s{random.randrange(end)}"])


def _without_ages(answer: Any) -> Any:
    if isinstance(answer, dict):
        return {key: _without_ages(value) for key, value in answer.items() if key != "age"}
    return [_without_ages(value) for value in answer] if isinstance(answer, list) else answer
