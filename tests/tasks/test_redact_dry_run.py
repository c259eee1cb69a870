"""Redacting all events of a user, as a rehearsal."""

from pytest_twisted import ensureDeferred

from synapse_lite.tasks.outcome import Done, Next
from tests.builders import ALICE, MALLORY
from tests.tasks.redacting import Moderation, is_complete

ONLY_MESSAGES = ("m.room.message",)


@ensureDeferred
async def test_a_dry_run_counts_and_touches_nothing(moderation: Moderation) -> None:
    """The counts by room are those of the real run, which may follow at once."""
    rooms = [await moderation.room(MALLORY) for _ in range(2)]
    spam = await moderation.say(rooms[0], 5) + await moderation.say(rooms[1], 2)
    await moderation.say(rooms[1], 3, ALICE)
    task = await moderation.redact(dry_run=True)
    assert is_complete(task)
    assert task.result == {"would_redact": 9, "rooms": {rooms[0].room_id: 6, rooms[1].room_id: 3}}
    assert (task.done, task.total) == (9, 9)
    assert not any(await moderation.redacted(spam))
    assert await moderation.redactions(*rooms) == {}
    assert await moderation.reports(task) == {}
    real = await moderation.redact()
    assert real.result is not None
    assert real.result["redacted"] == 9
    again = await moderation.redact(dry_run=True)
    assert again.result == {"would_redact": 0, "rooms": {}}


@ensureDeferred
async def test_a_dry_run_in_small_steps(moderation: Moderation) -> None:
    """Rooms are counted across steps, no further than the limit of a room."""
    rooms = [await moderation.room(MALLORY) for _ in range(3)]
    for room, count in zip(rooms, (5, 3, 4), strict=True):
        await moderation.say(room, count)
    wanted = {"dry_run": True, "event_types": ONLY_MESSAGES}
    task = await moderation.redact(batch=3, **wanted)
    assert task.result == {
        "would_redact": 12,
        "rooms": {room.room_id: count for room, count in zip(rooms, (5, 3, 4), strict=True)},
    }
    limited = await moderation.redact(batch=2, limit=4, rooms=(rooms[0].room_id, rooms[1].room_id), **wanted)
    assert limited.result == {"would_redact": 7, "rooms": {rooms[0].room_id: 4, rooms[1].room_id: 3}}


@ensureDeferred
async def test_a_dry_run_is_in_nobodys_way(moderation: Moderation) -> None:
    """A real run is asked for while a dry run is pending, and another dry run too."""
    room = await moderation.room(MALLORY)
    await moderation.say(room)
    pending = {await moderation.ask(dry_run=True), await moderation.ask(), await moderation.ask(dry_run=True)}
    assert len(pending) == 3
    assert len({*pending, await moderation.ask()}) == 3
    lease = await moderation.claim()
    assert isinstance(await moderation.step(lease), Next)
    assert isinstance(await moderation.step(lease), Done)
