"""What other servers send: kept, answered and brought into its rooms; what must not be accepted is not."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import CancelledError, Deferred, gatherResults

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
from tests.builders import ALICE, SERVER
from tests.federation.network import Network, Scripted
from tests.federation.remote_room import RemoteRoom, remote_room, send, settle
from tests.server import TestServer

SEND = "/_matrix/federation/v1/send"


async def texts(server: TestServer, room: RemoteRoom, token: str) -> list[str]:
    page = await server.ok("GET", f"rooms/{room.room_id}/messages?dir=b&limit=100", None, token)
    return [e["content"].get("body", "?") for e in reversed(page["chunk"]) if e["type"] == "m.room.message"]


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


async def typists(server: TestServer, room: RemoteRoom, token: str) -> list[str]:
    synced = await server.ok("GET", "sync", None, token)
    ephemeral = synced["rooms"]["join"][room.room_id]["ephemeral"]["events"]
    return [
        user for event in ephemeral if event["type"] == "m.typing" for user in event["content"]["user_ids"]
    ]


@ensureDeferred
async def test_typing_and_receipts(server: TestServer, other: Scripted) -> None:
    """Of users of the server that sends them, who are in the room; others have no say."""
    room, token = await remote_room(server, other)
    said = await room.say("hello")
    await send(server, other, said.pdu)
    users = (room.user, f"@stranger:{other.name}", ALICE)
    typing = [
        {"edu_type": "m.typing", "content": {"room_id": room.room_id, "user_id": user, "typing": True}}
        for user in users
    ]
    read = {"data": {"ts": 5, "thread_id": "main"}, "event_ids": [said.event_id]}
    receipt = {
        "edu_type": "m.receipt",
        "content": {room.room_id: {"m.read": dict.fromkeys(users, read)}, "!unknown": {"m.read": {}}},
    }
    await send(server, other, edus=[*typing, receipt, 7, {}, {"edu_type": "unknown", "content": {}}])
    assert await typists(server, room, token) == [room.user]
    synced = await server.ok("GET", "sync", None, token)
    (event,) = [
        event
        for event in synced["rooms"]["join"][room.room_id]["ephemeral"]["events"]
        if event["type"] == "m.receipt"
    ]
    assert event["content"] == {said.event_id: {"m.read": {room.user: {"ts": 5, "thread_id": "main"}}}}
    await send(server, other, edus=[{**typing[0], "content": {**typing[0]["content"], "typing": False}}])
    assert await typists(server, room, token) == []


@ensureDeferred
async def test_presence_of_their_users(server: TestServer, other: Scripted) -> None:
    """Those in a room here see it, of the origin's own users who are there too; silence ends it."""
    room, token = await remote_room(server, other)
    since = (await server.ok("GET", "sync", None, token))["next_batch"]
    there = {"presence": "online", "last_active_ago": 5_000, "currently_active": True, "status_msg": "here"}
    pushed: list[Any] = [
        {"user_id": room.user, **there},
        {"user_id": f"@stranger:{other.name}", **there},
        {"user_id": ALICE, "presence": "offline"},
        {"user_id": room.user, "presence": "asleep"},
        {"user_id": 1, "presence": "online"},
        "x",
    ]
    await send(server, other, edus=[{"edu_type": "m.presence", "content": {"push": pushed}}])
    answer = await server.ok("GET", f"sync?since={since}", None, token)
    told = {event["sender"]: event["content"] for event in answer["presence"]["events"]}
    assert told.keys() == {room.user}
    assert told[room.user]["last_active_ago"] >= 5_000
    assert (
        told[room.user].items()
        >= {"presence": "online", "currently_active": True, "status_msg": "here"}.items()
    )
    server.clock.advance(31 * 60)
    await server.core.rooms.presence.beat()
    answer = await server.ok("GET", f"sync?since={answer['next_batch']}", None, token)
    told = {event["sender"]: event["content"] for event in answer["presence"]["events"]}
    assert told[room.user]["presence"] == "offline"


@ensureDeferred
async def test_messages_to_devices_on_behalf_of_another_servers_users(
    server: TestServer, other: Scripted
) -> None:
    """Arrive once, however often they are sent, in the name of the origin's users only, at devices of ours only."""
    token = await server.register("bob", device_id="PHONE")

    def message(sender: str, message_id: str) -> dict[str, Any]:
        messages = {f"@bob:{SERVER}": {"PHONE": {"n": 1}, "GONE": {}}, "@x:third.test": {"*": {}}}
        content = {"sender": sender, "type": "m.test", "message_id": message_id, "messages": messages}
        return {"edu_type": "m.direct_to_device", "content": content}

    carol = f"@carol:{other.name}"
    await send(server, other, edus=[message(carol, "1"), message(carol, "1"), message(ALICE, "2")])
    await send(server, other, edus=[message(carol, "1")])
    synced = await server.ok("GET", "sync", None, token)
    assert synced["to_device"]["events"] == [{"sender": carol, "type": "m.test", "content": {"n": 1}}]


@ensureDeferred
async def test_oversized_messages_to_devices(server: TestServer, other: Scripted) -> None:
    """One that is larger than our own users may send is dropped, and not kept once for each device; those beside it arrive."""
    token = await server.register("bob", device_id="PHONE")
    messages = {f"@bob:{SERVER}": {"PHONE": {"x": "y" * 66_000}}}
    for message_id in ("large", "small"):
        content = {"sender": f"@carol:{other.name}", "type": "m.test", "message_id": message_id}
        edu = {"edu_type": "m.direct_to_device", "content": {**content, "messages": messages}}
        await send(server, other, edus=[edu])
        messages = {f"@bob:{SERVER}": {"PHONE": {"n": 1}}}
    synced = await server.ok("GET", "sync", None, token)
    assert [event["content"] for event in synced["to_device"]["events"]] == [{"n": 1}]


@ensureDeferred
async def test_one_bad_edu_harms_no_other(server: TestServer, other: Scripted) -> None:
    """What cannot be stored, or is of another shape, is dropped; the message behind it arrives."""
    token = await server.register("bob", device_id="PHONE")
    room, _ = await remote_room(server, other)
    carol, bob, odd = room.user, f"@bob:{SERVER}", "\0"
    edus: list[tuple[str, Any]] = []
    for room_id, user_id in ((odd, carol), (room.room_id, odd), (7, carol), (room.room_id, None)):
        edus.append(("m.typing", {"room_id": room_id, "user_id": user_id, "typing": True}))
    for ts in (2**63, True, 1.5, None):
        receipt = {"data": {"ts": ts}, "event_ids": ["$event"]}
        edus.append(("m.receipt", {room.room_id: {"m.read": {carol: receipt, odd: receipt}}}))
    edus.append(("m.receipt", {odd: {"m.read": {carol: {"data": {"ts": 1}, "event_ids": ["$event"]}}}}))
    content = {"sender": carol, "type": "m.test", "message_id": "1", "messages": {bob: {"*": {"n": 2**64}}}}
    edus.append(("m.direct_to_device", content))
    edus.append(
        ("m.direct_to_device", {**content, "message_id": "2", "messages": {f"@{odd}:{SERVER}": {"*": {}}}})
    )
    edus.append(("m.direct_to_device", {**content, "message_id": "3", "messages": {bob: {"*": {"n": 3}}}}))
    await send(server, other, edus=[{"edu_type": kind, "content": content} for kind, content in edus])
    synced = await server.ok("GET", "sync", None, token)
    assert [event["content"] for event in synced["to_device"]["events"]] == [{"n": 3}]


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
