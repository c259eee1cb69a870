"""Media that are asked for again come from memory, and are those of the database."""

import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
import pytest_twisted
from attrs import define, evolve, field
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.errors import MatrixError
from synapse_lite.matrix.media import parse_mxc
from synapse_lite.replication.changes import CURRENT_SECONDS, POLL_SECONDS, URGENT_TOPIC
from synapse_lite.storage.accounts import NewAccount, create_account
from synapse_lite.storage.database import Database, DatabaseError, Transaction
from synapse_lite.storage.media import blobs, files, quarantine, thumbnails
from synapse_lite.storage.media.files import ExpiredError, FilledError, Media, NewMedia
from synapse_lite.storage.media.quarantine import Reason
from synapse_lite.storage.media.thumbnails import Box, Thumbnail
from synapse_lite.storage.stream import read_position
from tests.builders import ALICE, SERVER
from tests.databases import ReusedDatabase
from tests.handlers.media_home import MediaHome, chunks, who
from tests.http.memory import ManualClock

OTHER = "other.test"
NAMES = [(origin, f"{number}") for origin in (SERVER, OTHER) for number in range(4)]
BYTES = [b"one", b"two", b"three"]
HASHES = [hashlib.sha256(data).digest() for data in BYTES]
BOXES = [Box(32, 32, "crop", False), Box(96, 96, "scale", True)]
REASON = Reason("@admin:hs.test", "test", 1)
SEEDS = range(8)
NOW_MS = 10


@define
class Process:
    """One that serves clients, as far as rows of media are concerned."""

    home: MediaHome
    clock: ManualClock
    statements: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        for memory in (self.home.media_rows, self.home.thumbnails._rows):
            memory._read = self._counted(memory._read)  # type: ignore[method-assign, assignment]

    def _counted(self, read: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
        async def counted(key: Any) -> Any:
            self.statements += 1
            return await read(key)

        return counted

    async def media(self, name: tuple[str, str]) -> Media | None:
        found = await self.home.media_rows.of(name)
        return None if found is None else evolve(found, last_access_ts=None)

    async def thumbnail(self, key: tuple[bytes, Box]) -> Thumbnail | str | None:
        return await self.home.thumbnails._rows.of(key)

    async def all(self) -> list[Any]:
        return [
            *[await self.media(name) for name in NAMES],
            *[await self.thumbnail((sha256, box)) for sha256 in HASHES for box in BOXES],
        ]

    async def all_of_database(self) -> list[Any]:
        def read(txn: Transaction) -> list[Any]:
            found = files.read_many(txn, NAMES)
            media = [found.get(name) for name in NAMES]
            made = [thumbnails.read_thumbnail(txn, sha256, box) for sha256 in HASHES for box in BOXES]
            return [*[one and evolve(one, last_access_ts=None) for one in media], *made]

        return await self.home.database.snapshot(read)

    async def do(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What is uploaded is remembered at once."""
        doing = self.home.database.transact(function, *arguments)
        return await (self.home.media_rows.learn(arguments[0], doing) if function in {put, fill} else doing)

    async def catch_up(self) -> None:
        """Until this process has seen what others wrote, by the bus or by looking."""
        log = self.home.log
        position = await self.home.database.read(read_position)
        while log.position < position or not log.is_current:
            if not log._reading:
                self.clock.advance(POLL_SECONDS)
            await self.home.database.read(read_position)


@pytest_twisted.async_yield_fixture
async def processes(
    connections: Database, other_connections: Database, reused_database: ReusedDatabase, tmp_path: Path
) -> AsyncIterator[list[Process]]:
    """Two, which hear of each other only when they look into the stream."""
    reused_database.empty()
    started = []
    for database in (connections, other_connections):
        clock = ManualClock()
        started.append(Process(MediaHome(database, tmp_path, clock=clock), clock))
    for process in started:
        await process.home.log.start()
    yield started
    for process in started:
        process.home.log.stop()
        process.home.threads.stop()


async def create_alice(process: Process) -> None:
    await process.do(create_account, NewAccount(ALICE, 1))


def put(txn: Transaction, name: tuple[str, str], data: bytes) -> Media | None:
    """As an upload, or what another server gives; a name that has other bytes gets these."""
    sha256 = hashlib.sha256(data).digest()
    user = ALICE if name[0] == SERVER else None
    blobs.hold(txn, sha256, len(data), NOW_MS)
    return files.add(txn, NewMedia(*name, user, "text/plain", None, NOW_MS, True), sha256, len(data))


def reserve(txn: Transaction, name: tuple[str, str]) -> None:
    if files.read_media(txn, *name) is None:
        files.reserve(txn, NewMedia(*name, ALICE, "", None, NOW_MS, True), 1000, 100)


def fill(txn: Transaction, name: tuple[str, str], data: bytes) -> Media | None:
    sha256 = hashlib.sha256(data).digest()
    blobs.hold(txn, sha256, len(data), NOW_MS)
    with suppress(FilledError, ExpiredError):
        return files.fill(txn, NewMedia(*name, ALICE, "text/plain", None, NOW_MS, True), sha256, len(data))
    return None


def delete(txn: Transaction, *names: tuple[str, str]) -> None:
    found = [files.read_media(txn, *name) for name in names]
    files.delete(txn, [one.nid for one in found if one is not None], NOW_MS)


def clean(txn: Transaction) -> None:
    """What a cleanup does in two steps, an hour later."""
    for _ in range(2):
        doomed, _ = blobs.pick_unreferenced(txn, NOW_MS + 2 * blobs.HOLD_MS, 100)
        if doomed:
            blobs.delete(txn, doomed, NOW_MS)


def make(txn: Transaction, source: bytes, box: Box, data: bytes) -> None:
    """A thumbnail of what is there."""
    sha256 = hashlib.sha256(data).digest()
    blobs.hold(txn, sha256, len(data), NOW_MS)
    thumbnails.add_thumbnail(txn, source, box, Thumbnail("image/png", sha256, len(data)), NOW_MS)


class Story:
    """What may happen to media, at random."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.steps = [
            *3 * [self.put], self.put, self.reserve, self.fill, self.delete, self.hide, self.show, self.protect,
            self.clean, *3 * [self.make], self.lose, self.refuse, self.use,
        ]  # fmt: skip

    def step(self) -> tuple[Any, ...]:
        """A function of a transaction, and its arguments."""
        return self.random.choice(self.steps)()

    def name(self) -> tuple[str, str]:
        return self.random.choice(NAMES)

    def put(self) -> tuple[Any, ...]:
        return put, self.name(), self.random.choice(BYTES)

    def reserve(self) -> tuple[Any, ...]:
        return reserve, self.random.choice(NAMES[:4])

    def fill(self) -> tuple[Any, ...]:
        return fill, self.random.choice(NAMES[:4]), self.random.choice(BYTES)

    def delete(self) -> tuple[Any, ...]:
        return delete, *self.random.sample(NAMES, self.random.randint(1, 3))

    def hide(self) -> tuple[Any, ...]:
        return quarantine.quarantine, self.random.sample(NAMES, self.random.randint(1, 2)), REASON

    def show(self) -> tuple[Any, ...]:
        return quarantine.unquarantine, self.random.sample(NAMES, self.random.randint(1, 2)), REASON

    def protect(self) -> tuple[Any, ...]:
        return files.protect, *self.name(), self.random.random() < 0.5

    def clean(self) -> tuple[Any, ...]:
        return (clean,)

    def make(self) -> tuple[Any, ...]:
        return make, self.random.choice(HASHES), self.random.choice(BOXES), self.random.choice((b"t1", b"t2"))

    def lose(self) -> tuple[Any, ...]:
        return thumbnails.forget_lost, hashlib.sha256(b"t1").digest(), NOW_MS

    def refuse(self) -> tuple[Any, ...]:
        return blobs.write_image_error, self.random.choice(HASHES), "no picture"

    def use(self) -> tuple[Any, ...]:
        return files.note_access, range(1, 20), self.random.randint(1, 1000)


@pytest.mark.parametrize("seed", SEEDS)
@ensureDeferred
async def test_memory_is_the_database(processes: list[Process], seed: int) -> None:
    """Whatever happens through either of two processes, while both are asked.

    Who changed something knows at once, the other one when it has looked into the stream.
    """
    random = Random(seed)
    story, asked = Story(random), 0
    for _ in range(120):
        acting, other = random.sample(processes, 2)
        await gatherResults(
            [
                Deferred.fromCoroutine(acting.do(*story.step())),
                *[
                    Deferred.fromCoroutine(random.choice(processes).media(random.choice(NAMES)))
                    for _ in range(4)
                ],
                Deferred.fromCoroutine(other.thumbnail((random.choice(HASHES), random.choice(BOXES)))),
            ]
        )
        for process in (acting, other):
            if process is other or not process.home.log.is_current:
                await process.catch_up()
            assert await process.all() == await process.all_of_database()
            asked += len(NAMES) + len(HASHES) * len(BOXES)
    assert sum(process.statements for process in processes) < asked * 0.9


@ensureDeferred
async def test_what_is_asked_for_again_takes_no_statement(processes: list[Process]) -> None:
    """What is hidden by another process is shown until this one looks, at most until the next poll."""
    acting, other = processes
    await acting.do(put, NAMES[0], b"one")
    await other.catch_up()
    before = [await other.media(NAMES[0]) for _ in range(3)]
    assert other.statements == 1
    await acting.do(quarantine.quarantine, NAMES[:1], REASON)
    assert await other.media(NAMES[0]) == before[0]
    other.clock.advance(POLL_SECONDS)
    await other.catch_up()
    hidden = await other.media(NAMES[0])
    assert hidden is not None
    assert hidden.quarantined_by == "@admin:hs.test"


@ensureDeferred
async def test_what_is_uploaded_is_known(processes: list[Process]) -> None:
    """Its first download takes no statement where it was uploaded, at once or into a reserved name."""
    (process, _) = processes
    await create_alice(process)
    mxc = await process.home.upload(b"one")
    reserved = await process.home.uploads.create(who())
    filled = parse_mxc(reserved["content_uri"])
    assert filled is not None
    await process.home.uploads.fill(
        who(), filled, chunks(b"two"), length=3, content_type="text/plain", name=None
    )
    process.statements = 0
    assert await process.home.download(mxc) == b"one"
    assert await process.home.download(filled) == b"two"
    assert process.statements == 0


@ensureDeferred
async def test_what_is_hidden_while_it_is_uploaded(processes: list[Process]) -> None:
    """By another process, just before the upload is committed or just after, and heard of before it is remembered."""
    acting, other = processes
    await create_alice(acting)
    await acting.do(put, NAMES[0], b"one")
    await other.do(quarantine.quarantine, NAMES[:1], REASON)
    same = await acting.home.upload(b"one")
    transact = acting.home.database.transact

    async def hidden_meanwhile(function: Any, *arguments: Any) -> Any:
        done = await transact(function, *arguments)
        if isinstance(done, Media):
            await other.do(quarantine.quarantine, [(done.origin, done.media_id)], REASON)
            await acting.catch_up()
        return done

    acting.home.database.transact = hidden_meanwhile  # type: ignore[method-assign, assignment]
    mxc = await acting.home.upload(b"two")
    acting.home.database.transact = transact  # type: ignore[method-assign]
    for one in (same, mxc):
        with pytest.raises(MatrixError) as refused:
            await acting.home.download(one)
        assert refused.value.status == 404


@ensureDeferred
async def test_what_is_told_while_it_is_read_counts(processes: list[Process]) -> None:
    """What was read before it was hidden is shown to who asked then, and to nobody later."""
    process, other = processes
    await other.do(put, NAMES[0], b"one")
    memory = process.home.media_rows
    read = memory._read

    async def slow(name: Any) -> Any:
        found = await read(name)
        await process.do(quarantine.quarantine, NAMES[:1], REASON)
        return found

    memory._read = slow  # type: ignore[method-assign]
    await process.media(NAMES[0])
    memory._read = read  # type: ignore[method-assign]
    hidden = await process.media(NAMES[0])
    assert hidden is not None
    assert hidden.quarantined_by is not None


@ensureDeferred
async def test_pending_names_are_not_remembered(processes: list[Process]) -> None:
    """Nor absent ones: what comes is seen by every process at once, whether it hears anything or not."""
    acting, other = processes
    assert await other.media(NAMES[0]) is None
    await acting.do(reserve, NAMES[0])
    reserved = await other.media(NAMES[0])
    assert reserved is not None
    assert reserved.sha256 is None
    await acting.do(fill, NAMES[0], b"one")
    filled = await other.media(NAMES[0])
    assert filled is not None
    assert filled.sha256 == HASHES[0]


@ensureDeferred
async def test_who_cannot_hear_forgets(processes: list[Process], monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that cannot read the stream remembers nothing after some seconds; then what it had is gone."""
    acting, deaf = processes
    await acting.do(put, NAMES[0], b"one")
    await deaf.catch_up()
    await deaf.media(NAMES[0])
    read = deaf.home.log._database.read

    async def fails(*_arguments: Any) -> Any:
        raise DatabaseError("the network is gone")

    with monkeypatch.context() as patched:
        patched.setattr(deaf.home.log, "_database", type("Away", (), {"read": staticmethod(fails)}))
        await acting.do(quarantine.quarantine, NAMES[:1], REASON)
        for _ in range(round(CURRENT_SECONDS / POLL_SECONDS) + 1):
            deaf.clock.advance(POLL_SECONDS)
        assert not deaf.home.log.is_current
        hidden = await deaf.media(NAMES[0])
        assert hidden is not None
        assert hidden.quarantined_by is not None
        deaf.statements = 0
        await deaf.media(NAMES[0])
        assert deaf.statements == 1
    assert deaf.home.log._database.read == read


@ensureDeferred
async def test_whoever_was_told_to_look_does_not_remember_until_it_has(processes: list[Process]) -> None:
    """An urgent word of the bus counts before the stream is read."""
    acting, other = processes
    await acting.do(put, NAMES[0], b"one")
    await other.catch_up()
    await other.media(NAMES[0])
    await acting.do(quarantine.quarantine, NAMES[:1], REASON)
    other.home.bus.publish(URGENT_TOPIC, str(acting.home.log.position))
    hidden = await other.media(NAMES[0])
    assert hidden is not None
    assert hidden.quarantined_by is not None


@ensureDeferred
async def test_it_is_bounded(processes: list[Process]) -> None:
    """What was asked for least lately goes first."""
    (process, _) = processes
    memory = process.home.media_rows
    memory._most = 2
    memory._kept = memory._nothing()
    for name in NAMES[:3]:
        await process.do(put, name, b"one")
        await process.media(name)
    process.statements = 0
    await process.media(NAMES[2])
    await process.media(NAMES[1])
    assert process.statements == 0
    await process.media(NAMES[0])
    assert process.statements == 1
