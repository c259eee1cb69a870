"""What other servers send: kept, answered and brought into its rooms; what must not be accepted is not."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import CancelledError, Deferred, gatherResults

from synapse_lite.canonical_json import JsonObject
from synapse_lite.federation import pdus
from synapse_lite.federation.inbound import InboundEvents
from synapse_lite.federation.staging import StagedRooms
from synapse_lite.matrix.event import Event
from synapse_lite.matrix.event_format import check_format
from synapse_lite.matrix.signing import generate_signing_key
from synapse_lite.rooms.branches import BranchReceiver
from synapse_lite.rooms.runs import RunReceiver
from synapse_lite.storage.events import Standing, StoredEvent
from synapse_lite.storage.rooms import Room
from tests.builders import ALICE
from tests.federation.network import Network, Scripted
from tests.federation.remote_room import remote_room, send, settle, texts, typists, until
from tests.server import TestServer

SEND = "/_matrix/federation/v1/send"


@pytest.mark.parametrize("version", [str(number) for number in range(1, 13)])
@ensureDeferred
async def test_events_of_every_room_version(server: TestServer, other: Scripted, version: str) -> None:
    """A join, a message, its redaction and a ban arrive, and clients see them."""
    room, token = await remote_room(server, other, room_version=version)
    said = await room.say("hello")
    after = await room.say("world", previous=[said])
    assert await send(server, other, said.pdu, after.pdu) == {said.event_id: {}, after.event_id: {}}
    assert await texts(server, room, token) == ["hello", "world"]
    await room.look()
    redaction = await room.build("m.room.redaction", {}, redacts=said.event_id)
    await send(server, other, redaction.pdu)
    assert await texts(server, room, token) == ["?", "world"]
    await server.ok("POST", f"rooms/{room.room_id}/ban", {"user_id": room.user}, token)
    late = await room.say("late")
    await send(server, other, late.pdu)
    stored = await room.stored(late)
    assert stored is not None
    assert stored.standing is Standing.SOFT_FAILED
    assert await texts(server, room, token) == ["?", "world"]


@ensureDeferred
async def test_a_fork_of_both_servers(server: TestServer, other: Scripted) -> None:
    """What was said on both sides at once meets: the next event follows both."""
    room, token = await remote_room(server, other)
    theirs = await room.say("theirs")
    await server.ok(
        "PUT", f"rooms/{room.room_id}/send/m.room.message/1", {"msgtype": "m.text", "body": "ours"}, token
    )
    await send(server, other, theirs.pdu)
    await room.look()
    assert {tip.content["body"] for tip in room.tips} == {"ours", "theirs"}
    both = await room.say("both")
    await send(server, other, both.pdu)
    await room.look()
    assert [tip.event_id for tip in room.tips] == [both.event_id]
    assert await texts(server, room, token) == ["ours", "theirs", "both"]


@ensureDeferred
async def test_a_repetition_gets_the_same_answer(server: TestServer, other: Scripted) -> None:
    """Also while the first is at work, and with other content: nothing is done twice."""
    room, token = await remote_room(server, other)
    said = await room.say("once")
    body = {"origin": other.name, "origin_server_ts": 1, "pdus": [said.pdu], "edus": []}
    answers = await gatherResults(
        [
            Deferred.fromCoroutine(other.ask(server, "PUT", f"{SEND}/same", {**body, "n": n}))
            for n in range(10)
        ]
    )
    assert answers == [(200, {"pdus": {said.event_id: {}}})] * 10
    await settle(server)
    assert await other.ask(server, "PUT", f"{SEND}/same/", {"pdus": []}) == answers[0]
    assert await texts(server, room, token) == ["once"]


@ensureDeferred
async def test_wrong_transactions(server: TestServer, other: Scripted) -> None:
    """Too much, or another shape, is 400, and nothing of it is taken; the next one is."""
    room, token = await remote_room(server, other)
    said = await room.say("hello")
    for wrong in (
        {"pdus": [said.pdu] * 51}, {"pdus": [said.pdu], "edus": [{}] * 101}, {"pdus": {}},
        {"pdus": [said.pdu], "edus": None}, {"pdus": [said.pdu], "origin": "third.test"},
    ):  # fmt: skip
        status, _ = await other.ask(server, "PUT", f"{SEND}/wrong", wrong)
        assert status == 400
    assert await texts(server, room, token) == []
    assert await send(server, other, said.pdu, txn_id="wrong") == {said.event_id: {}}


def changed(event: Event, **fields: Any) -> dict[str, Any]:
    return {**event.pdu, **fields}


@ensureDeferred
async def test_one_bad_event_harms_no_other(server: TestServer, other: Scripted) -> None:
    """Whatever is wrong with it: it is named with the reason, and the others of the transaction arrive."""
    room, token = await remote_room(server, other)
    good = await room.say("good")
    forged = await room.say("forged", key=generate_signing_key(other.name))
    for_others = await room.say("in the name of alice", sender=ALICE)
    stranger = await room.say("of a third", sender="@eve:third.test", key=generate_signing_key("third.test"))
    results = await send(
        server, other, forged.pdu, good.pdu, for_others.pdu, stranger.pdu,
        changed(good, depth=-1), changed(good, prev_events=[]), changed(good, content=[]),
        changed(good, content={"body": "x" * 70_000}), changed(good, prev_events=good.pdu["prev_events"] * 21),
        changed(good, room_id="!elsewhere:hs.test"), 7, None, {}, {"room_id": room.room_id},
        changed(good, event_id=7), changed(good, prev_events=["$\0"]), changed(good, room_id="\0"),
        changed(good, origin_server_ts=2**60), changed(good, content={"n": 2**60}),
    )  # fmt: skip
    assert results[good.event_id] == {}
    for bad in (forged, for_others, stranger):
        assert set(results[bad.event_id]) == {"error"}
        assert await room.stored(bad) is None
    assert await texts(server, room, token) == ["good"]


@ensureDeferred
async def test_a_wrong_hash_leaves_the_redacted_event(server: TestServer, other: Scripted) -> None:
    """Content that its author did not send is not shown."""
    room, token = await remote_room(server, other)
    said = await room.say("what was said")
    await send(server, other, changed(said, content={"msgtype": "m.text", "body": "what was not"}))
    assert await texts(server, room, token) == ["?"]


@ensureDeferred
async def test_unsigned_data_of_others_goes_no_further(server: TestServer, other: Scripted) -> None:
    """Nobody may forge what a server adds for its own clients; and it does not count for the size."""
    room, token = await remote_room(server, other)
    said = await room.say("hello")
    forged = {"replaces_state": "$x", "redacted_because": {}, "padding": "x" * 70_000}
    await send(server, other, changed(said, unsigned=forged))
    event = await server.ok("GET", f"rooms/{room.room_id}/event/{said.event_id}", None, token)
    assert not forged.keys() & event.get("unsigned", {}).keys()


@ensureDeferred
async def test_rooms_in_which_nobody_is(server: TestServer, other: Scripted, network: Network) -> None:
    """Their events are dropped before anything is asked for, whether the room is unknown or everybody left it."""
    room, token = await remote_room(server, other)
    await server.ok("POST", f"rooms/{room.room_id}/leave", {}, token)
    said = [await room.say(str(number)) for number in range(40)]
    network.asked.clear()
    assert await send(server, other, *(one.pdu for one in said)) == {}
    assert network.asked == []
    assert await room.stored(said[0]) is None


@ensureDeferred
async def test_server_acls(server: TestServer, other: Scripted) -> None:
    """A server that the room shuts out gets neither events nor typing into it, in whatever case it writes its name."""
    room, token = await remote_room(server, other)
    acl = {"allow": ["*"], "deny": [other.name.upper()], "allow_ip_literals": True}
    await server.ok("PUT", f"rooms/{room.room_id}/state/m.room.server_acl/", acl, token)
    said = await room.say("hello")
    typing = {
        "edu_type": "m.typing",
        "content": {"room_id": room.room_id, "user_id": room.user, "typing": True},
    }
    results = await send(server, other, said.pdu, edus=[typing])
    assert results == {said.event_id: {"error": "Server is banned from room"}}
    assert await room.stored(said) is None
    assert await typists(server, room, token) == []


@ensureDeferred
async def test_an_event_that_we_fail_at_holds_up_no_other(
    server: TestServer, other: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong with one, those behind it come into their room."""
    room, token = await remote_room(server, other)
    first, second = await room.say("first"), await room.say("second")
    receive = InboundEvents.receive

    def fail_all(*_: object) -> None:
        raise ZeroDivisionError

    async def fail(self: InboundEvents, where: Room, event: Event, origin: str) -> StoredEvent:
        if event.event_id == first.event_id:
            raise ZeroDivisionError
        return await receive(self, where, event, origin)

    monkeypatch.setattr(RunReceiver, "receive", fail_all)
    monkeypatch.setattr(BranchReceiver, "receive", fail_all)
    monkeypatch.setattr(InboundEvents, "receive", fail)
    await send(server, other, first.pdu, second.pdu)
    assert await texts(server, room, token) == ["second"]


@ensureDeferred
async def test_the_room_is_kept_while_others_are_waited_for(server: TestServer, other: Scripted) -> None:
    """The lease is renewed for as long as that takes."""
    room, token = await remote_room(server, other)
    said = await room.say("before")
    after = await room.say("after", previous=[said])
    is_asked: Deferred[None] = Deferred()
    answer: Deferred[JsonObject] = Deferred()

    async def missing(*_: object) -> JsonObject:
        is_asked.callback(None)
        return await answer

    other.scripts["/_matrix/federation/v1/get_missing_events"] = missing
    status, _ = await other.ask(server, "PUT", f"{SEND}/1", {"pdus": [after.pdu]})
    assert status == 200
    await is_asked
    long = "leased_until = clock_timestamp() + interval '1 day'"
    await server.database.transact(lambda txn: txn.execute(f"UPDATE staged_rooms SET {long}"))
    server.clock.advance(5)
    is_renewed = "SELECT leased_until < clock_timestamp() + interval '1 hour' FROM staged_rooms"
    await until(server, lambda txn: txn.value(is_renewed))
    answer.callback({"events": [said.pdu]})
    await settle(server)
    assert await texts(server, room, token) == ["before", "after"]


@ensureDeferred
async def test_what_takes_too_long_is_not_begun_again(
    server: TestServer, other: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is cancelled, by its deadline or because the process stops, is not received in another way."""
    room, _ = await remote_room(server, other)

    def cancel(*_: object) -> None:
        raise CancelledError

    monkeypatch.setattr(BranchReceiver, "receive", cancel)
    with pytest.raises(CancelledError):
        await server.core.federated.inbound.receive_together(await room.room(), [await room.say("x")])


@ensureDeferred
async def test_what_was_taken_survives_a_crash(
    server: TestServer, other: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between its answer and its work, the server goes on with it when the lease is over, without being asked."""
    room, token = await remote_room(server, other)
    said = await room.say("hello")
    lives = [life for feature in server.features for life in feature.lives]
    (staged,) = [life for life in lives if isinstance(life, StagedRooms)]
    with monkeypatch.context() as patch:
        patch.setattr(staged, "look", lambda: None)
        await send(server, other, said.pdu)
        owned = await server.database.transact(
            lambda txn: txn.execute(
                "UPDATE staged_rooms SET owner = 'dead', leased_until = clock_timestamp() + interval '1 hour'"
            )
        )
        assert owned == 1
    server.clock.advance(5)
    await settle(server)
    assert await texts(server, room, token) == []
    await server.database.transact(
        lambda txn: txn.execute("UPDATE staged_rooms SET leased_until = clock_timestamp()")
    )
    server.clock.advance(5)
    await settle(server)
    assert await texts(server, room, token) == ["hello"]
    left = await server.database.read(lambda txn: txn.rows("SELECT FROM staged_rooms"))
    assert left == []


@ensureDeferred
async def test_nothing_is_acknowledged_that_is_not_kept(
    server: TestServer, other: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours is a 5xx, and the repetition is taken."""
    room, token = await remote_room(server, other)
    said = await room.say("hello")
    body = {"origin": other.name, "origin_server_ts": 1, "pdus": [said.pdu], "edus": []}
    with monkeypatch.context() as patch:
        patch.setattr("synapse_lite.storage.staged_events.stage", _broken)
        status, _ = await other.ask(server, "PUT", f"{SEND}/t", body)
        assert status >= 500
    assert await other.ask(server, "PUT", f"{SEND}/t", body) == (200, {"pdus": {said.event_id: {}}})
    await settle(server)
    assert await texts(server, room, token) == ["hello"]


def _broken(*_: object) -> None:
    raise RuntimeError("broken")


@ensureDeferred
async def test_an_event_that_the_rules_forbid_is_not_shown(server: TestServer, other: Scripted) -> None:
    """It is kept as rejected: who leans on it falls with it."""
    room, token = await remote_room(server, other)
    topic = await room.build("m.room.topic", {"topic": "mine"}, "")
    await send(server, other, topic.pdu)
    stored = await room.stored(topic)
    assert stored is not None
    assert stored.standing is Standing.REJECTED
    refused = await server.refusal("GET", f"rooms/{room.room_id}/state/m.room.topic", None, token)
    assert refused == (404, "M_NOT_FOUND")


@ensureDeferred
async def test_what_waits_for_a_room_that_is_gone_is_dropped(server: TestServer, other: Scripted) -> None:
    """A purge leaves nothing behind, nor anything that is tried for ever."""
    room, _ = await remote_room(server, other)
    said = await room.say("late")
    lives = [life for feature in server.features for life in feature.lives]
    (staged,) = [life for life in lives if isinstance(life, StagedRooms)]
    await server.database.transact(
        lambda txn: txn.execute(
            "INSERT INTO staged_events (room_id, event_id, origin, json, received_ts) VALUES"
            " ('!gone:hs.test', %s, 'other.test', '{}', 1)",
            (said.event_id,),
        )
    )
    await server.database.transact(
        lambda txn: txn.execute("INSERT INTO staged_rooms (room_id) VALUES ('!gone:hs.test')")
    )
    staged.look()
    await settle(server)
    left = await server.database.read(
        lambda txn: txn.value(
            "SELECT (SELECT count(*) FROM staged_rooms) + (SELECT count(*) FROM staged_events)"
        )
    )
    assert left == 0


@ensureDeferred
async def test_what_is_refused_is_read_once(
    server: TestServer, other: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who forges signatures costs no more than who does not: the answer has the ids that were found out already."""
    room, _ = await remote_room(server, other)
    forged = [await room.say(str(number)) for number in range(3)]
    signatures = {other.name: {other.key.key_id: "A" * 86}}
    read: list[object] = []

    def check(pdu: Any, version: Any) -> None:
        read.append(pdu)
        check_format(pdu, version)

    monkeypatch.setattr(pdus, "check_format", check)
    results = await send(server, other, *({**one.pdu, "signatures": signatures} for one in forged))
    assert results.keys() == {one.event_id for one in forged}
    assert all("error" in result for result in results.values())
    assert len(read) == len(forged)
