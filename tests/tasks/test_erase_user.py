"""Erasing a user: events, media, memberships, account; one report; a dry run; cancelled as a whole."""

from collections.abc import Callable
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.storage import accounts, devices
from synapse_lite.storage.accounts import NewAccount
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.deactivation import devices_of, is_deactivated
from synapse_lite.storage.events import StoredEvent
from synapse_lite.tasks.actions.deactivate_user import DEACTIVATE_USER, DeactivateUser
from synapse_lite.tasks.actions.delete_media import DELETE_MEDIA, DeleteMedia
from synapse_lite.tasks.actions.erase_user import ERASE_USER, EraseParams, EraseUser
from synapse_lite.tasks.actions.erase_users import ERASE_EACH_USER, ERASE_USERS, EraseUsersParams
from synapse_lite.tasks.actions.redact_all_events import REDACT_ALL_EVENTS, RedactAllEvents
from synapse_lite.tasks.actions.redact_all_events.spec import RedactCursor
from synapse_lite.tasks.outcome import Done, Fail, Later, Outcome
from synapse_lite.tasks.queue import Status, Task
from synapse_lite.tasks.registry import TaskRegistry
from tests.builders import ALICE, MALLORY, SERVER, TickingClock, World
from tests.tasks.conftest import ADMIN, Engine, Scripted

ASKED: dict[str, str] = {"requester": ADMIN, "endpoint": "test"}
ROOMS = 3


class Site:
    """A user who has written and uploaded."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.clock = TickingClock()
        self.world = World(self.clock)
        self.events: list[StoredEvent] = []
        self.room: Any = None

    async def make(self) -> None:
        await self.engine.database.transact(self._make)

    def _make(self, txn: Transaction) -> None:
        accounts.create_account(txn, NewAccount(MALLORY, 1, "hash", displayname="Mallory"))
        devices.create_device(txn, MALLORY, "PHONE", None, 1)
        for _ in range(ROOMS):
            self.room = self.world.room(txn, ALICE, MALLORY)
            self.say(txn)
        self.upload(txn, "x")

    def say(self, txn: Transaction) -> None:
        self.events.append(self.world.message(txn, self.room, MALLORY))

    def upload(self, txn: Transaction, media_id: str) -> None:
        txn.execute(
            "INSERT INTO media_blobs (sha256, size, stored) VALUES ('\\x00', 5, TRUE) ON CONFLICT DO NOTHING;"
            "INSERT INTO media (origin, media_id, sha256, size, user_id, created_ts, authenticated)"
            " VALUES (%s, %s, '\\x00', 5, %s, 1, TRUE)",
            (SERVER, media_id, MALLORY),
        )

    async def start(
        self,
        redact: Callable[[Transaction, Any], Outcome] | None = None,
        late: Callable[[Transaction], None] | None = None,
    ) -> None:
        """The engine, with all the tasks; `redact` instead of redacting; `late` while the account's data go."""
        world, clock = self.world, self.clock
        redacting = RedactAllEvents(world.appender, world.events, world.state, clock, SERVER)
        registry = TaskRegistry()
        registry.register(ERASE_USER, EraseUser())
        registry.register(ERASE_USERS, ERASE_EACH_USER)
        registry.register(REDACT_ALL_EVENTS, redacting if redact is None else Scripted(redact))
        registry.register(DELETE_MEDIA, DeleteMedia(clock, SERVER))
        deactivating = DeactivateUser(world.appender, clock)

        def deactivate(txn: Transaction, task: Any) -> Outcome:
            if late is not None and task.cursor is None:
                late(txn)
            return deactivating.step(txn, task)

        registry.register(DEACTIVATE_USER, Scripted(deactivate))
        await self.engine.start_all(registry)

    async def ask(self, **more: Any) -> str:
        params = EraseParams(user_id=MALLORY, **more)
        return (await self.engine.queue.enqueue(ERASE_USER, params, **ASKED)).id

    async def erase(self, **more: Any) -> Task:
        return await self.engine.until_ended(await self.ask(**more))

    async def count(self, sql: str, *arguments: object) -> int:
        count: int = await self.engine.database.read(
            lambda txn: txn.value(f"SELECT count(*) FROM {sql}", arguments)
        )
        return count

    async def left(self) -> dict[str, int]:
        """What there is of the user."""
        nids = [event.nid for event in self.events]
        return {
            "redacted": await self.count("redactions WHERE applied AND target_nid = ANY(%s)", nids),
            "media": await self.count("media"),
            "devices": await self.count("devices WHERE user_id = %s", MALLORY),
            "joined": await self.count("memberships WHERE user_id = %s AND membership = 'join'", MALLORY),
            "forgotten": await self.count("memberships WHERE user_id = %s AND forgotten", MALLORY),
            "open": await self.count("users WHERE user_id = %s AND NOT deactivated", MALLORY),
            "named": await self.count("users WHERE user_id = %s AND displayname IS NOT NULL", MALLORY),
        }


ERASED = {
    "redacted": ROOMS,
    "media": 0,
    "devices": 0,
    "joined": 0,
    "forgotten": ROOMS,
    "open": 0,
    "named": 0,
}
UNTOUCHED = {
    "redacted": 0,
    "media": 1,
    "devices": 1,
    "joined": ROOMS,
    "forgotten": 0,
    "open": 1,
    "named": 1,
}


@ensureDeferred
async def test_everything_of_a_user_goes(engine: Engine) -> None:
    """Once and for all, in parts that the report names; asked again, there is nothing left to do."""
    site = Site(engine)
    await site.make()
    await site.start()
    task = await site.erase(reason="spam")
    assert (task.status, await site.left()) == (Status.COMPLETE, ERASED)
    assert task.result is not None
    assert task.result.keys() == {"redact", "media", "account", "forgotten_rooms"}
    assert {part["status"] for name, part in task.result.items() if name != "forgotten_rooms"} == {"complete"}
    assert task.result["media"]["result"] == {"deleted": 1, "bytes": 5}
    assert task.result["account"]["result"]["left_rooms"] == ROOMS
    assert task.result["forgotten_rooms"] == ROOMS
    assert (task.done, task.total) == (4, 4)
    again = await site.erase()
    assert (again.status, await site.left()) == (Status.COMPLETE, ERASED)


KINDS = {
    "a guest": "is_guest = TRUE",
    "a ghost of a bridge": "appservice_id = 'bridge', displayname = 'Ghost'",
    "who has neither password nor name": "displayname = NULL",
}


@pytest.mark.parametrize("kind", KINDS)
@ensureDeferred
async def test_any_kind_of_account(engine: Engine, kind: str) -> None:
    """That has no profile, no device, no room and no file: it is closed, and erased twice it is no error either."""
    site = Site(engine)

    def make(txn: Transaction) -> None:
        accounts.create_account(txn, NewAccount(MALLORY, 1))
        txn.execute(f"UPDATE users SET {KINDS[kind]} WHERE user_id = %s", (MALLORY,))

    await engine.database.transact(make)
    await site.start()
    for task in (await site.erase(), await site.erase()):
        assert (task.status, task.error) == (Status.COMPLETE, None)
        assert await engine.database.transact(is_deactivated, MALLORY)


@ensureDeferred
async def test_nobody_writes_while_they_are_erased(engine: Engine) -> None:
    """The account is closed, and its sessions have ended, before the first room is looked at."""
    site = Site(engine)
    await site.make()
    found: list[tuple[bool, list[str]]] = []

    def redact(txn: Transaction, _task: Any) -> Outcome:
        found.append((is_deactivated(txn, MALLORY), devices_of(txn, MALLORY, 10)))
        return Done()

    await site.start(redact)
    await site.erase()
    assert found == [(True, [])]


@ensureDeferred
async def test_what_was_under_way_goes_too(engine: Engine) -> None:
    """A message and an upload that were let in before the account was closed, and stored when all seemed to be done."""
    site = Site(engine)
    await site.make()

    def finish(txn: Transaction) -> None:
        site.say(txn)
        site.upload(txn, "y")

    await site.start(late=finish)
    task = await site.erase()
    assert (task.status, await site.left()) == (Status.COMPLETE, {**ERASED, "redacted": ROOMS + 1})
    assert task.result is not None
    assert [task.result[name]["result"]["redacted"] for name in ("redact", "redact_again")] == [2 * ROOMS, 1]
    assert [task.result[name]["result"]["deleted"] for name in ("media", "media_again")] == [1, 1]
    assert (task.done, task.total) == (4, 4)


@ensureDeferred
async def test_a_dry_run_counts(engine: Engine) -> None:
    """What would be redacted and deleted; nothing is, and nobody is logged out."""
    site = Site(engine)
    await site.make()
    await site.start()
    task = await site.erase(dry_run=True)
    assert (task.status, await site.left()) == (Status.COMPLETE, UNTOUCHED)
    assert task.result is not None
    assert task.result.keys() == {"redact", "media"}
    assert task.result["media"]["result"] == {"would_delete": 1, "bytes": 5}
    assert (task.done, task.total) == (2, 2)


@ensureDeferred
async def test_a_part_that_fails_stops_no_other(engine: Engine) -> None:
    """What else there is to erase is erased; the whole has failed, and its report says at what."""
    site = Site(engine)
    await site.make()
    await site.start(redact=lambda _txn, _task: Fail("no"))
    task = await site.erase()
    assert (task.status, await site.left()) == (Status.FAILED, {**ERASED, "redacted": 0})
    assert task.error == "not all is erased, see the result: redact"
    assert task.result is not None
    assert (task.result["redact"]["status"], task.result["redact"]["error"]) == ("failed", "no")


@ensureDeferred
async def test_cancelled_as_a_whole(engine: Engine) -> None:
    """Its part is cancelled with it; the account is closed from the first moment, and stays so."""
    site = Site(engine)
    await site.make()
    await site.start(redact=lambda _txn, _task: Later(RedactCursor(), 3600))
    task_id = await site.ask()
    await engine.until(task_id, lambda task: task.phase == "redact" and task.status is Status.SCHEDULED)
    parts = (await engine.queue.find(parent_id=task_id, limit=100)).tasks
    assert [part.action for part in parts] == ["redact_all_events"]
    await engine.queue.cancel(task_id)
    assert (await engine.until_ended(task_id)).status is Status.CANCELLED
    assert (await engine.until_ended(parts[0].id)).status is Status.CANCELLED
    assert await site.left() == {**UNTOUCHED, "open": 0, "devices": 0}


@ensureDeferred
async def test_tried_again_it_does_what_had_failed(engine: Engine) -> None:
    """The report is of after that."""
    site = Site(engine)
    await site.make()
    broken = [True]
    await site.start(redact=lambda _txn, _task: Fail("no") if broken else Done({"redacted": 1}))
    task = await site.erase()
    broken.clear()
    await engine.queue.retry(task.id, from_start=False, requester=ADMIN, endpoint="test")
    task = await engine.until_ended(task.id)
    assert task.result is not None
    assert (task.status, task.done, task.total) == (Status.COMPLETE, 4, 4)
    assert (task.result["redact"]["status"], task.result["redact"]["result"]) == ("complete", {"redacted": 1})


@ensureDeferred
async def test_who_is_not_all_erased_counts_as_failed(engine: Engine) -> None:
    """Where many are erased, too; and all is tried again with the whole."""
    site = Site(engine)
    await site.make()
    broken = [True]
    await site.start(redact=lambda _txn, _task: Fail("no") if broken else Done({"redacted": 1}))
    params = EraseUsersParams(user_ids=(MALLORY,), erasure=EraseParams(user_id=MALLORY))
    task = await engine.until_ended((await engine.queue.enqueue(ERASE_USERS, params, **ASKED)).id)
    assert task.result is not None
    assert (task.result["complete"], task.result["failed"]) == (0, 1)
    broken.clear()
    await engine.queue.retry(task.id, from_start=False, requester=ADMIN, endpoint="test")
    task = await engine.until_ended(task.id)
    assert task.result is not None
    assert (task.result["complete"], task.result["failed"]) == (1, 0)
