"""Long polls: what wakes them, what does not, and that nothing is lost."""

from collections.abc import AsyncIterator
from typing import Any

import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet.defer import CancelledError

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.sync import handler as handler_module
from synapse_lite.replication.bus import LocalBus
from synapse_lite.replication.changes import WOKEN_PER_TURN
from synapse_lite.storage.database import Database
from tests.builders import ALICE, BOB, MALLORY
from tests.handlers.sync_server import SyncServer, TickingManualClock, requester, section, timeline_ids


@pytest_twisted.async_yield_fixture
async def other(server: SyncServer, other_connections: Database) -> AsyncIterator[SyncServer]:
    """A second process. It gets no wake-ups: nothing but its own polls."""
    process = SyncServer(other_connections, LocalBus(), TickingManualClock())
    await process.start()
    yield process
    process.log.stop()


@ensureDeferred
async def test_an_event_wakes(server: SyncServer) -> None:
    """The answer to a waiting poll comes from memory, and its token follows on."""
    room = await server.room(ALICE, BOB)
    since = await server.token()
    poll = await server.poll(ALICE, since)
    server.handler._database = Broken()
    said = await server.say(room, BOB)
    answer = await poll
    assert timeline_ids(answer, room) == [said]
    poll = await server.poll(ALICE, answer["next_batch"])
    said = await server.say(room, BOB)
    assert timeline_ids(await poll, room) == [said]


class Broken:
    """No database: whoever asks it fails the test."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError("the database is not needed")


@ensureDeferred
async def test_many_waiters(server: SyncServer) -> None:
    """More than wake in one turn of the reactor: each gets the message, none needs the database."""
    users = [f"@u{n}:hs.test" for n in range(WOKEN_PER_TURN + 5)]
    room = await server.room(ALICE, *users)
    since = await server.token()
    polls = [await server.poll(user_id, since) for user_id in users]
    server.handler._database = server.joined._database = Broken()
    said = await server.say(room, ALICE)
    assert [poll.called for poll in polls].count(True) == WOKEN_PER_TURN
    server.clock.advance(0)
    assert all([timeline_ids(await poll, room) == [said] for poll in polls])


@ensureDeferred
async def test_foreign_news_do_not_wake(server: SyncServer) -> None:
    """Other rooms, other people's data; events that the filter drops; then the time is up."""
    room, foreign = await server.room(ALICE, BOB), await server.room(BOB)
    since = await server.token()
    poll = await server.poll(ALICE, since, filter={"room": {"timeline": {"types": ["m.room.topic"]}}})
    await server.say(foreign, BOB)
    await server.put_account_data(BOB, "m.test", {})
    assert not poll.called
    hidden = await server.say(room, BOB)
    await server.log.waiting.get()  # it looked, and waits again
    assert not poll.called
    server.clock.advance(31)
    answer = await poll
    assert answer.keys() == {"next_batch"}
    assert int(answer["next_batch"][1:]) > int(since[1:])
    assert timeline_ids(await server.sync(ALICE, since), room) == [hidden]


@ensureDeferred
async def test_time_out_loses_nothing(server: SyncServer) -> None:
    """The token of an empty answer is good for what comes afterwards."""
    room = await server.room(ALICE)
    poll = await server.poll(ALICE, await server.token(), timeout_ms=5000)
    server.clock.advance(4)
    assert not poll.called
    server.clock.advance(2)
    since = (await poll)["next_batch"]
    said = await server.say(room, ALICE)
    assert timeline_ids(await server.sync(ALICE, since), room) == [said]


@ensureDeferred
async def test_timeouts_are_bounded(server: SyncServer) -> None:
    """Nobody waits for longer than the server allows."""
    await server.room(ALICE)
    poll = await server.poll(ALICE, await server.token(), timeout_ms=10**12)
    server.clock.advance(handler_module.MAX_TIMEOUT_MS / 1000 + 1)
    assert (await poll).keys() == {"next_batch"}


@ensureDeferred
async def test_what_else_wakes(server: SyncServer) -> None:
    """Invitations, one's own account data, receipts, typing, a room that one joins elsewhere."""
    room, other_room = await server.room(ALICE, BOB), await server.room(ALICE)
    said = await server.say(room, ALICE)

    async def wake(doing: Any) -> JsonObject:
        poll = await server.poll(BOB, await server.token(BOB))
        await doing
        return await poll

    invited = await wake(server.member(other_room, ALICE, BOB, "invite"))
    assert invited["rooms"]["invite"].keys() == {other_room.room_id}
    joined = await wake(server.join(other_room, BOB))
    assert joined["rooms"]["join"].keys() == {other_room.room_id}
    data = await wake(server.put_account_data(BOB, "m.test", {"a": 1}))
    assert {"type": "m.test", "content": {"a": 1}} in data["account_data"]["events"]
    tagged = await wake(server.put_account_data(BOB, "m.tag", {"tags": {}}, room))
    assert section(tagged, room)["account_data"]["events"] == [{"type": "m.tag", "content": {"tags": {}}}]
    read = await wake(server.ephemeral.read(requester(ALICE), room.room_id, {"m.read": said}))
    assert section(read, room)["ephemeral"]["events"][0]["type"] == "m.receipt"
    typing = await wake(server.ephemeral.type(requester(ALICE), room.room_id, 10_000))
    assert section(typing, room)["ephemeral"]["events"][0]["content"] == {"user_ids": [ALICE]}
    out = await wake(server.member(room, ALICE, BOB, "ban"))
    assert out["rooms"].keys() == {"leave"}


@ensureDeferred
async def test_typing_expires(server: SyncServer) -> None:
    """Who types and falls silent is forgotten when the time is over, and those who wait are told."""
    room = await server.room(ALICE, BOB)
    await server.ephemeral.type(requester(BOB), room.room_id, 10_000)
    poll = await server.poll(ALICE, await server.token())
    server.clock.advance(10.1)
    assert section(await poll, room)["ephemeral"]["events"][0]["content"] == {"user_ids": []}


@ensureDeferred
async def test_private_receipts_wake_nobody_else(server: SyncServer) -> None:
    """Not even for a moment: who reads what is no secret if everybody hears a noise."""
    room = await server.room(ALICE, BOB)
    said = await server.say(room, ALICE)
    poll = await server.poll(ALICE, await server.token())
    await server.ephemeral.read(requester(BOB), room.room_id, {"m.read.private": said})
    await server.ephemeral.read(requester(BOB), room.room_id, {"m.fully_read": said})
    assert server.log.waiting.size is None or not server.log.waiting.pending
    server.clock.advance(31)
    assert (await poll).keys() == {"next_batch"}


@ensureDeferred
async def test_a_client_that_goes_away(server: SyncServer) -> None:
    """Nobody waits for it any longer."""
    await server.room(ALICE)
    poll = await server.poll(ALICE, await server.token())
    assert server.log._by_user
    poll.addErrback(lambda failure: failure.trap(CancelledError))
    poll.cancel()
    assert not server.log._by_user
    assert not server.log._by_room


@ensureDeferred
async def test_a_stop_answers_those_who_wait(server: SyncServer) -> None:
    """A process that ends lets its clients go, with a token that loses nothing."""
    await server.room(ALICE)
    since = await server.token()
    poll = await server.poll(ALICE, since)
    server.log.stop()
    assert await poll == {"next_batch": since}
    await server.log.start()


@ensureDeferred
async def test_a_token_from_the_future(server: SyncServer) -> None:
    """One that the stream never reached (a backup was restored) counts as the present."""
    room = await server.room(ALICE)
    since = await server.token()
    assert await server.sync(ALICE, "s999999") == {"next_batch": since}
    poll = await server.poll(ALICE, "s999999")
    said = await server.say(room, ALICE)
    assert timeline_ids(await poll, room) == [said]
    assert (await server.sync(ALICE, "s999999", full_state=True))["next_batch"] != "s999999"


@ensureDeferred
async def test_a_token_of_another_process(server: SyncServer, other: SyncServer) -> None:
    """It may be ahead of what this process has seen: nothing is shown twice, nothing is lost."""
    room = await server.room(ALICE)
    await server.say(room, ALICE)
    since = await server.token()
    assert other.log.position < server.log.position
    poll = await other.poll(ALICE, since)
    said = await server.say(room, ALICE)
    await other.catch_up()
    assert timeline_ids(await poll, room) == [said]


@ensureDeferred
async def test_a_lost_wake_up_is_found_by_the_poll(server: SyncServer, other: SyncServer) -> None:
    """Events of another process arrive within a second, whatever becomes of its message."""
    room = await server.room(ALICE, BOB)
    poll = await other.poll(ALICE, await server.token())
    said = await server.say(room, BOB)
    assert not poll.called
    await other.catch_up()
    assert timeline_ids(await poll, room) == [said]


@ensureDeferred
async def test_a_room_joined_through_another_process(server: SyncServer, other: SyncServer) -> None:
    """Who joins there and waits here hears of the room, and of what happens in it."""
    room = await server.room(ALICE)
    await other.room(BOB)
    poll = await other.poll(BOB, await other.token(BOB))
    joined = await server.join(room, BOB)
    await other.catch_up()
    answer = await poll
    assert joined in timeline_ids(answer, room)
    poll = await other.poll(BOB, answer["next_batch"])
    said = await server.say(room, ALICE)
    await other.catch_up()
    assert timeline_ids(await poll, room) == [said]


@ensureDeferred
async def test_left_through_another_process(server: SyncServer, other: SyncServer) -> None:
    """What was said before the leave is shown although this process has heard of neither."""
    room = await server.room(ALICE, MALLORY)
    await other.sync(MALLORY, await other.token(MALLORY))
    since = await other.token(MALLORY)
    said = await server.say(room, ALICE)
    left = await server.leave(room, MALLORY)
    other.joined._cache.discard(lambda _: True)
    assert timeline_ids(await other.sync(MALLORY, since), room, "leave") == [said, left]
