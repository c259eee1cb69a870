"""What this server sends to others: all of it, in order, once, however often they or we are gone."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.federation.peers import PeerError
from synapse_lite.storage.database import Transaction
from tests.federation.conftest import JoinNetwork
from tests.federation.network import Network, Scripted
from tests.federation.remote_room import RemoteRoom, remote_room, send
from tests.federation.sending import Inbox, Sending
from tests.federation.test_members import complete, make, open_room, put
from tests.server import TestServer

HELLO = {"msgtype": "m.text"}
AWAY = PeerError("nobody is there")


async def say(server: TestServer, room: RemoteRoom, token: str, *texts: str) -> None:
    for text in texts:
        path = f"rooms/{room.room_id}/send/m.room.message/{text}"
        await server.ok("PUT", path, {**HELLO, "body": text}, token)


async def rows(server: TestServer, sql: str) -> list[Any]:
    return await server.database.read(lambda txn: txn.rows(sql))


@ensureDeferred
async def test_events_are_sent_in_order(server: TestServer, other: Scripted) -> None:
    """As they were signed, at most 50 at once; nothing of what others said, and nothing twice."""
    inbox, sending = Inbox(other), Sending(server)
    room, token = await remote_room(server, other)
    await sending.deliver()
    inbox.clear()
    said = [str(number) for number in range(120)]
    await say(server, room, token, *said)
    theirs = await room.say("theirs")
    await send(server, other, theirs.pdu)
    await sending.deliver()
    assert inbox.texts == said
    assert [len(body["pdus"]) for body in inbox.bodies] == [50, 50, 20]
    assert len(set(inbox.txn_ids)) == 3
    stored = await room.stored(f"{room.tips[0].event_id}")
    assert stored is not None
    assert inbox.bodies[0]["origin"] == server.name
    await sending.deliver()
    assert len(inbox.bodies) == 3


@ensureDeferred
async def test_the_servers_of_a_room_at_each_event(server: TestServer, network: Network) -> None:
    """Who joins hears what comes after, who leaves what came before, and of their own removal; others nothing."""
    others = {name: network.scripted(f"{name}.test") for name in ("first", "second", "third")}
    inboxes = {name: Inbox(other) for name, other in others.items()}
    room, token = await remote_room(server, others["first"])
    await say(server, room, token, "one")
    second = RemoteRoom(server, others["second"], room.room_id)
    await second.join()
    await say(server, room, token, "two")
    await server.ok("POST", f"rooms/{room.room_id}/kick", {"user_id": room.user}, token)
    await say(server, room, token, "three")
    await Sending(server).deliver()
    assert {name: inbox.texts for name, inbox in inboxes.items()} == {
        "first": ["one", "two"],
        "second": ["two", "three"],
        "third": [],
    }
    kicked = [pdu for pdu in inboxes["first"].pdus if pdu["content"].get("membership") == "leave"]
    assert [pdu["state_key"] for pdu in kicked] == [room.user]


@ensureDeferred
async def test_a_server_that_is_away(server: TestServer, other: Scripted) -> None:
    """It is tried again later and later, with the same transaction; what it lacks comes in order."""
    inbox, sending = Inbox(other), Sending(server)
    room, token = await remote_room(server, other)
    await sending.deliver()
    inbox.clear()
    inbox.answers += [AWAY, AWAY]
    await say(server, room, token, "one")
    await sending.deliver()
    await say(server, room, token, "two")
    for seconds in (5.1, 10.1):
        assert inbox.texts == []
        await sending.deliver()
        server.clock.advance(seconds)
    await sending.deliver()
    assert inbox.texts == ["one", "two"]
    assert len(inbox.txn_ids) == 4
    assert len(set(inbox.txn_ids)) == 2


@ensureDeferred
async def test_a_server_that_speaks_to_us(server: TestServer, other: Scripted) -> None:
    """Its queue wakes up, although its time has not come."""
    inbox, sending = Inbox(other), Sending(server)
    room, token = await remote_room(server, other)
    await sending.deliver()
    inbox.clear()
    inbox.answers += [AWAY] * 4
    await say(server, room, token, "one")
    await sending.deliver()
    for seconds in (5.1, 10.1, 20.1):
        server.clock.advance(seconds)
        await sending.deliver()
    assert len(inbox.txn_ids) == 4
    server.clock.advance(35)
    theirs = await room.say("here I am")
    await send(server, other, theirs.pdu)
    await sending.deliver()
    assert inbox.texts == ["one"]


@ensureDeferred
async def test_catching_up(server: TestServer, other: Scripted) -> None:
    """After a long time away it gets the newest of each room, not all that was said; then all goes on."""
    inbox, sending = Inbox(other), Sending(server)
    room, token = await remote_room(server, other)
    second, _ = await remote_room(server, other, room_alias_name="second")
    await sending.deliver()
    inbox.clear()
    inbox.answers += [AWAY] * 6
    await say(server, room, token, "one")
    await sending.deliver()
    for seconds in (5.1, 10.1, 20.1, 40.1, 80.1):
        server.clock.advance(seconds)
        await sending.deliver()
    assert (await rows(server, "SELECT behind FROM destinations")) == [(True,)]
    await say(server, room, token, *map(str, range(10)))
    await say(server, second, token, "second")
    await sending.follow()
    (waiting,) = (await rows(server, "SELECT count(*) FROM outgoing_events"))[0]
    assert waiting == 1  # what is on its way
    server.clock.advance(160.1)
    await sending.settled()
    assert inbox.texts == ["one", "9", "second"]
    await say(server, room, token, "live")
    await sending.deliver()
    assert inbox.texts[3:] == ["live"]
    assert (await rows(server, "SELECT behind, failing_since, pending FROM destinations")) == [
        (False, None, False)
    ]


@ensureDeferred
async def test_catching_up_after_a_removal(server: TestServer, other: Scripted) -> None:
    """Who was banned while away gets their ban, and nothing that came after it."""
    inbox, sending = Inbox(other), Sending(server)
    room, token = await remote_room(server, other)
    await sending.deliver()
    inbox.clear()
    await server.database.transact(lambda txn: txn.execute("UPDATE destinations SET behind = TRUE"))
    await server.ok("POST", f"rooms/{room.room_id}/ban", {"user_id": room.user}, token)
    await say(server, room, token, "secret")
    await sending.deliver()
    assert [pdu["content"].get("membership") for pdu in inbox.pdus] == ["ban"]


@pytest.mark.parametrize("status", [400, 413])
@ensureDeferred
async def test_what_is_refused(server: TestServer, other: Scripted, status: int) -> None:
    """It is sent in smaller parts, and what is refused alone is left out: the rest arrives."""
    inbox, sending = Inbox(other), Sending(server)
    room, token = await remote_room(server, other)
    await sending.deliver()
    inbox.clear()

    def take(_method: str, target: str, body: Any) -> Any:
        if any(pdu["content"].get("body") == "poison" for pdu in body["pdus"]):
            raise PeerError("no", status)
        return inbox._take(_method, target, body)

    other.scripts["/_matrix/federation/v1/send/"] = take
    await say(server, room, token, "one", "two", "poison", "three", "four")
    await sending.deliver()
    assert inbox.texts == ["one", "two", "three", "four"]


@ensureDeferred
async def test_a_sender_that_died(server: TestServer, other: Scripted) -> None:
    """Another one takes the server over when the lease is over, and sends the same transaction with its id."""
    inbox, sending = Inbox(other), Sending(server)
    room, token = await remote_room(server, other)
    await sending.deliver()
    inbox.clear()
    inbox.answers.append(AWAY)
    await say(server, room, token, "one")
    await sending.deliver()

    def die(txn: Transaction) -> None:
        txn.execute(
            "UPDATE destinations SET owner = 'dead', leased_until = clock_timestamp() + interval '1 hour', retry_at = 0"
        )

    def end_lease(txn: Transaction) -> None:
        txn.execute("UPDATE destinations SET leased_until = clock_timestamp()")

    await server.database.transact(die)
    await say(server, room, token, "two")
    await sending.follow()
    assert len(inbox.txn_ids) == 1
    await server.database.transact(end_lease)
    sending.sender.wake()
    await sending.settled()
    assert inbox.texts == ["one", "two"]
    assert inbox.txn_ids[0] == inbox.txn_ids[1]


@ensureDeferred
async def test_only_the_owner_settles(server: TestServer, other: Scripted) -> None:
    """An answer that comes when somebody else has the server changes nothing."""
    sending, room_and_token = Sending(server), await remote_room(server, other)
    room, token = room_and_token

    def steal(_method: str, _target: str, _body: Any) -> Any:
        async def stolen() -> Any:
            await server.database.transact(
                lambda txn: txn.execute("UPDATE destinations SET owner = 'thief', leased_until = 'infinity'")
            )
            return {"pdus": {}}

        return stolen()

    other.scripts["/_matrix/federation/v1/send/"] = steal
    await say(server, room, token, "one")
    await sending.follow()
    while not await rows(server, "SELECT 1 FROM destinations WHERE owner = 'thief'"):
        sending.sender.wake()
    while not sending.sender.is_idle:
        sending.sender.wake()
        await rows(server, "SELECT 1")
    assert len(await rows(server, "SELECT 1 FROM outgoing_events")) > 0
    assert (await rows(server, "SELECT owner FROM destinations")) == [("thief",)]


@ensureDeferred
async def test_the_whitelist(join_network: JoinNetwork, network: Network, other: Scripted) -> None:
    """Nothing is put into the queue of a server that is not on it."""
    server = await join_network(federation_domain_whitelist=[other.name])
    room, token = await remote_room(server, other)
    stranger = RemoteRoom(server, network.scripted("stranger.test"), room.room_id)
    await room.look()
    join = await room.build(
        "m.room.member", {"membership": "join"}, stranger.user, sender=stranger.user, key=stranger.other.key
    )
    await send(server, other, join.pdu)
    assert await room.membership(stranger.user) == "join"
    await say(server, room, token, "hello")
    await Sending(server).follow()
    assert await rows(server, "SELECT DISTINCT server_name FROM outgoing_events") == [(other.name,)]


@ensureDeferred
async def test_redacted_content_is_not_sent(server: TestServer, other: Scripted) -> None:
    """What is redacted before it is sent goes without its content, and before its redaction."""
    inbox, sending = Inbox(other), Sending(server)
    room, token = await remote_room(server, other)
    await sending.deliver()
    inbox.clear()
    await say(server, room, token, "oops")
    (event_id,) = (await rows(server, "SELECT event_id FROM events WHERE type = 'm.room.message'"))[0]
    await server.ok("PUT", f"rooms/{room.room_id}/redact/{event_id}/1", {}, token)
    await sending.deliver()
    assert [(pdu["type"], pdu["content"].get("body")) for pdu in inbox.pdus] == [
        ("m.room.message", None),
        ("m.room.redaction", None),
    ]


@ensureDeferred
async def test_what_is_said_while_somebody_joins(server: TestServer, other: Scripted) -> None:
    """The join does not follow it, so its server is sent it; but nothing that the join follows, and nothing twice."""
    inbox, sending = Inbox(other), Sending(server)
    room, token = await open_room(server, other)
    await say(server, room, token, "before")
    _, made = await make(server, other, room.room_id, "join")
    await say(server, room, token, "meanwhile")
    await sending.follow()
    status, _ = await put(server, other, complete(other, made), "join")
    assert status == 200
    await sending.deliver()
    assert inbox.texts == ["meanwhile"]
    await say(server, room, token, "after")
    _, made = await make(server, other, room.room_id, "join", f"@dave:{other.name}")
    await say(server, room, token, "once")
    await put(server, other, complete(other, made), "join")
    await sending.deliver()
    assert inbox.texts == ["meanwhile", "after", "once"]


@ensureDeferred
async def test_who_entered_through_us_is_told_to_the_others(server: TestServer, network: Network) -> None:
    """A join by /send_join goes to the rest of the room, but not back to where it comes from."""
    first, second = network.scripted("first.test"), network.scripted("second.test")
    inboxes = Inbox(first), Inbox(second)
    room, _ = await remote_room(server, first)
    joining = RemoteRoom(server, second, room.room_id)
    await joining.look()
    event = await joining.build("m.room.member", {"membership": "join"}, joining.user)
    target = f"/_matrix/federation/v2/send_join/{room.room_id}/{event.event_id}"
    status, answer = await second.ask(server, "PUT", target, event.pdu)
    assert status == 200, answer
    await Sending(server).deliver()
    assert [[pdu["sender"] for pdu in inbox.pdus if pdu["sender"] == joining.user] for inbox in inboxes] == [
        [joining.user],
        [],
    ]


@ensureDeferred
async def test_presence_goes_to_servers_that_share_a_room(server: TestServer, network: Network) -> None:
    """The newest of each of our users; nothing of what others said of theirs, and nothing to strangers."""
    other, stranger = network.scripted("other.test"), network.scripted("stranger.test")
    inbox, strange, sending = Inbox(other), Inbox(stranger), Sending(server)
    room, token = await remote_room(server, other)
    elsewhere = await server.room(await server.user("bob"))
    await RemoteRoom(server, stranger, elsewhere.removeprefix("rooms/")).join()
    await sending.deliver()
    inbox.clear()
    strange.clear()
    user_id = f"@alice:{server.name}"
    for state in ("unavailable", "online"):
        await server.ok("PUT", f"presence/{user_id}/status", {"presence": state, "status_msg": "x"}, token)
    theirs = {"push": [{"user_id": room.user, "presence": "online"}]}
    await send(server, other, edus=[{"edu_type": "m.presence", "content": theirs}])
    await sending.deliver()
    told = [edu["content"]["push"] for edu in inbox.edus if edu["edu_type"] == "m.presence"]
    assert [(one["user_id"], one["presence"], one["status_msg"]) for (one,) in told] == [
        (user_id, "online", "x")
    ]
    assert [edu for edu in strange.edus if edu["edu_type"] == "m.presence"] == []


@ensureDeferred
async def test_events_that_the_other_server_refuses(server: TestServer, other: Scripted) -> None:
    """What it says of single events is its last word on them: nothing is sent twice, and what follows goes on."""
    inbox, sending = Inbox(other), Sending(server)
    room, token = await remote_room(server, other)
    await sending.deliver()
    inbox.clear()
    await say(server, room, token, "refused")
    inbox.answers.append({"pdus": {"$refused": {"error": "no"}, "$odd": 7}})
    await sending.deliver()
    await say(server, room, token, "taken")
    await sending.deliver()
    assert inbox.texts == ["refused", "taken"]


@ensureDeferred
async def test_a_redaction_of_what_nobody_has(server: TestServer, other: Scripted) -> None:
    """It reaches the others, and /sync goes on from wherever it stood."""
    inbox, sending = Inbox(other), Sending(server)
    room, token = await remote_room(server, other)
    await sending.deliver()
    inbox.clear()
    await room.look()
    unknown = "$" + "u" * 43
    redaction = await room.build("m.room.redaction", {"redacts": unknown}, redacts=unknown)
    since = (await server.ok("GET", "sync", token=token))["next_batch"]
    assert await send(server, other, redaction.pdu) == {redaction.event_id: {}}
    after = (await server.ok("GET", f"sync?since={since}", token=token))["next_batch"]
    await say(server, room, token, "on")
    synced = await server.ok("GET", f"sync?since={after}", token=token)
    (said,) = synced["rooms"]["join"][room.room_id]["timeline"]["events"]
    assert said["content"]["body"] == "on"
    await sending.deliver()
    assert inbox.texts == ["on"]
    assert inbox.pdus[-1]["prev_events"] == [redaction.event_id]
