"""What was redacted long enough ago is gone from the disk."""

import json
from typing import Any

from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.erasure import erase_redacted
from synapse_lite.storage.events import StoredEvent
from synapse_lite.storage.rooms import Room
from tests.builders import ALICE, BOB, World


def speak(txn: Transaction, world: World) -> tuple[Room, list[StoredEvent]]:
    room = world.room(txn, ALICE, BOB)
    return room, [world.message(txn, room, BOB, f"secret {number}") for number in range(6)]


def redact(txn: Transaction, world: World, room: Room, said: StoredEvent) -> StoredEvent:
    return world.send(txn, room, "m.room.redaction", ALICE, {}, redacts=said.event.event_id)


async def stored(database: Database, event: StoredEvent) -> Any:
    sql = "SELECT json FROM events WHERE event_nid = %s"
    return json.loads(await database.read(lambda txn: txn.value(sql, (event.nid,))))


async def erase(database: Database, before_ms: int, limit: int = 100) -> int:
    """To the end, in steps of `limit`."""
    total, after = 0, 0
    while True:
        rows, following = await database.transact(erase_redacted, before_ms, after, limit)
        total += rows
        if following is None:
            return total
        after = following


@ensureDeferred
async def test_redacted_content_is_erased(database: Database) -> None:
    """What survives a redaction stays as it was, signatures and all; readers notice nothing."""
    world = World()
    room, said = await database.transact(speak, world)
    for event in said[:5]:
        await database.transact(redact, world, room, event)
    before = await stored(database, said[0])
    views = await database.read(World().events.views, [event.nid for event in said])
    assert await erase(database, world.clock.now_ms(), limit=2) == 5
    after = await stored(database, said[0])
    assert after == {key: value for key, value in before.items() if key != "unsigned"} | {"content": {}}
    for event in said[:5]:
        assert "secret" not in json.dumps(await stored(database, event))
    assert (await stored(database, said[5]))["content"]["body"] == "secret 5"
    seen = await database.read(World().events.views, [event.nid for event in said])
    for old, new in zip(views, seen, strict=True):
        assert old.stored.event.event_id == new.stored.event.event_id
        assert (old.redaction and old.redaction.nid) == (new.redaction and new.redaction.nid)


@ensureDeferred
async def test_what_is_erased_is_not_read_again(database: Database) -> None:
    """The next run looks only at redactions whose targets are still there."""
    world = World()
    room, said = await database.transact(speak, world)
    first = await database.transact(redact, world, room, said[0])
    assert await erase(database, world.clock.now_ms()) == 1
    assert await erase(database, world.clock.now_ms()) == 0
    await database.transact(redact, world, room, said[1])
    assert await erase(database, world.clock.now_ms()) == 1
    left = "SELECT count(*) FROM redactions WHERE applied AND NOT erased"
    assert await database.read(lambda txn: txn.value(left)) == 0
    assert first.event.type == "m.room.redaction"


@ensureDeferred
async def test_young_redactions_are_left_alone(database: Database) -> None:
    """Content stays until the retention period is over, counted from the redaction."""
    world = World()
    room, said = await database.transact(speak, world)
    await database.transact(redact, world, room, said[0])
    boundary = world.clock.now_ms()
    await database.transact(redact, world, room, said[1])
    assert await erase(database, boundary) == 1
    assert "content" in (kept := await stored(database, said[1]))
    assert kept["content"]["body"] == "secret 1"


@ensureDeferred
async def test_a_redaction_of_an_event_that_is_not_here(database: Database) -> None:
    """It waits for its target, and keeps nothing else from being erased."""
    world = World()
    room, said = await database.transact(speak, world)
    redaction = await database.transact(redact, world, room, said[0])
    await database.transact(redact, world, room, said[1])
    orphan = "UPDATE redactions SET target_nid = NULL WHERE event_nid = %s"
    await database.transact(lambda txn: txn.execute(orphan, (redaction.nid,)))
    assert await erase(database, world.clock.now_ms(), limit=1) == 1
