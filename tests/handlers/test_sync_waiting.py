"""Long polls: what wakes them, what does not, and that nothing is lost."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.sync import handler as handler_module
from synapse_lite.replication.bus import LocalBus
from synapse_lite.replication.changes import POLL_SECONDS, WOKEN_PER_TURN
from synapse_lite.replication.waiters import KEPT_SECONDS
from synapse_lite.storage.database import Database
from synapse_lite.storage.ephemeral import Receipt, put_receipt
from tests.builders import ALICE, BOB, MALLORY
from tests.handlers.sync_server import (
    SyncServer,
    requester,
    section,
    state_keys,
    timeline_ids,
)

LAZY = {"state": {"lazy_load_members": True}}


@pytest_twisted.async_yield_fixture
async def other(server: SyncServer, other_connections: Database) -> AsyncIterator[SyncServer]:
    """A second process. It gets no wake-ups: nothing but its own polls."""
    process = SyncServer(other_connections, LocalBus())
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


@ensureDeferred
async def test_a_lazy_client_is_answered_from_memory(
    server: SyncServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Element asks for takes no statement: the speaker's member event, receipts, replaced state."""
    room = await server.room(ALICE, BOB)
    wanted = {"room": {"timeline": {"limit": 20, "unread_thread_notifications": True}, **LAZY}}
    first = await server.sync(ALICE, await server.token(), filter=wanted)
    poll = await server.poll(ALICE, first["next_batch"], filter=wanted)
    await server.say(room, BOB)
    answer = await poll  # the first time that Bob speaks, his member event is read
    assert state_keys(answer, room) == {("m.room.member", BOB)}
    poll = await server.poll(ALICE, answer["next_batch"], filter=wanted)
    monkeypatch.setattr(Database, "snapshot", Broken().nothing)
    monkeypatch.setattr(Database, "read", Broken().nothing)
    said = await server.say(room, BOB)
    answer = await poll
    assert timeline_ids(answer, room) == [said]
    poll = await server.poll(ALICE, answer["next_batch"], filter=wanted)
    await server.do(put_receipt, Receipt(room.nid, BOB, "m.read", "", said, 5))
    assert section(await poll, room)["ephemeral"]["events"] == [
        {"type": "m.receipt", "content": {said: {"m.read": {BOB: {"ts": 5}}}}}
    ]


@ensureDeferred
async def test_nobody_is_introduced_twice(server: SyncServer) -> None:
    """A member event comes once, and again to who asks from an older token, wants it, or had a gap."""
    room = await server.room(ALICE, BOB)
    wanted = {"room": {"timeline": {"limit": 2}, **LAZY}}
    eager = {"room": {"state": {"lazy_load_members": True, "include_redundant_members": True}}}
    bob = {("m.room.member", BOB)}
    since = (await server.sync(ALICE, await server.token(), filter=wanted))["next_batch"]
    await server.say(room, BOB)
    first = await server.sync(ALICE, since, filter=wanted)
    assert state_keys(first, room) == bob
    await server.say(room, BOB)
    second = await server.sync(ALICE, first["next_batch"], filter=wanted)
    assert state_keys(second, room) == set()
    assert state_keys(await server.sync(ALICE, first["next_batch"], filter=eager), room) == bob
    assert (
        state_keys(await server.sync(ALICE, first["next_batch"], device="OTHER", filter=wanted), room) == bob
    )
    assert state_keys(await server.sync(ALICE, since, filter=wanted), room) == bob
    third = await server.sync(ALICE, second["next_batch"], filter=wanted)
    for _ in range(3):
        await server.say(room, BOB)
    gap = await server.sync(ALICE, third["next_batch"], filter=wanted)
    assert section(gap, room)["timeline"]["limited"]
    assert state_keys(gap, room) == bob


@ensureDeferred
async def test_who_changed_is_introduced_again(server: SyncServer) -> None:
    """A new member event is told, also when it is the one that was there before a resolution."""
    room = await server.room(ALICE, BOB)
    old = (await server.sync(BOB))["rooms"]["join"][room.room_id]["timeline"]["events"][-1]["event_id"]
    since = (await server.sync(ALICE, filter={"room": LAZY}))["next_batch"]
    named = {"membership": "join", "displayname": "Bobby"}
    await server.set(room, "m.room.member", named, BOB, BOB)
    answer = await server.sync(ALICE, since, filter={"room": LAZY})
    await server.revert(room, ("m.room.member", BOB), old)
    answer = await server.sync(ALICE, answer["next_batch"], filter={"room": LAZY})
    assert [event["event_id"] for event in section(answer, room)["state"]["events"]] == [old]


@ensureDeferred
async def test_what_many_need_is_read_once(server: SyncServer) -> None:
    """A new member wakes a room of lazy clients: one reading of the member, one of the summary, for all."""
    users = [f"@u{n}:hs.test" for n in range(10)]
    room = await server.room(ALICE, *users)
    since = await server.token()
    polls = [await server.poll(user_id, since, filter={"room": LAZY}) for user_id in users]
    reads = []
    snapshot = server.database.snapshot

    def count(function: Any, *arguments: Any) -> Any:
        reads.append(function)
        return snapshot(function, *arguments)

    server.database.snapshot = count  # type: ignore[method-assign]
    try:
        joined = await server.join(room, BOB)
        server.clock.advance(0)
        answers = [await poll for poll in polls]
    finally:
        del server.database.snapshot  # type: ignore[method-assign]
    assert [timeline_ids(answer, room) for answer in answers] == [[joined]] * len(users)
    assert {section(answer, room)["summary"]["m.joined_member_count"] for answer in answers} == {12}
    assert len(reads) == 2


@ensureDeferred
async def test_a_member_event_is_never_out_of_date(server: SyncServer) -> None:
    """Who changed their name since it was read is shown with the new one, and without it once it is redacted."""
    room = await server.room(ALICE, BOB)
    since = await server.token()

    async def next_state() -> list[JsonObject]:
        nonlocal since
        poll = await server.poll(ALICE, since, filter={"room": LAZY})
        await server.say(room, BOB)
        answer = await poll
        since = answer["next_batch"]
        events: list[JsonObject] = section(answer, room)["state"]["events"]
        return events

    await next_state()
    named = await server.set(room, "m.room.member", {"membership": "join", "displayname": "Bobby"}, BOB, BOB)
    since = (await server.sync(ALICE))["next_batch"]
    assert [event["content"].get("displayname") for event in await next_state()] == ["Bobby"]
    await server.redact(room, named)
    since = (await server.sync(ALICE))["next_batch"]
    assert [event["content"].get("displayname") for event in await next_state()] == [None]


class Broken:
    """No database: whoever asks it fails the test."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError("the database is not needed")

    def nothing(self, *_arguments: Any) -> Any:
        raise AssertionError("the database is not needed")


@ensureDeferred
async def test_many_waiters(server: SyncServer) -> None:
    """More than wake in one turn of the reactor: each gets the message, none needs the database."""
    users = [f"@u{n}:hs.test" for n in range(WOKEN_PER_TURN + 5)]
    room = await server.room(ALICE, *users)
    since = await server.token()
    polls = [await server.poll(user_id, since) for user_id in users]
    server.handler._database = server.joined._reads._database = Broken()
    said = await server.say(room, ALICE)
    await deferLater(reactor, 0)  # type: ignore[arg-type]
    assert [poll.called for poll in polls].count(True) == WOKEN_PER_TURN
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
    await server.waiting.get()  # it looked, and waits again
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
async def test_a_clock_that_is_set_back_keeps_nobody_waiting(server: SyncServer) -> None:
    """Who is woken for nothing waits for the rest of their time, though it is an hour earlier by the wall clock."""
    room = await server.room(ALICE, BOB)
    silent = {"room": {"timeline": {"not_types": ["m.room.message"]}}}
    poll = await server.poll(ALICE, await server.token(), timeout_ms=5000, filter=silent)
    server.waiting.pending.clear()
    again = server.waiting.get()
    server.clock.step(-3600)
    await server.say(room, BOB)
    await again
    assert not poll.called
    server.clock.advance(6)
    assert (await poll).keys() == {"next_batch"}


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
    assert server.waiting.size is None or not server.waiting.pending
    server.clock.advance(31)
    assert (await poll).keys() == {"next_batch"}


@ensureDeferred
async def test_a_client_that_goes_away(server: SyncServer) -> None:
    """Nobody waits for it any longer."""
    await server.room(ALICE)
    poll = await server.poll(ALICE, await server.token())
    assert server.log.waiters
    poll.addErrback(lambda failure: failure.trap(CancelledError))
    poll.cancel()
    assert not server.log.waiters
    server.clock.advance(KEPT_SECONDS + POLL_SECONDS)
    assert server.log.waiters.is_empty


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
