"""Rooms whose events a policy server has to recommend (server-server API, "Policy Servers")."""

from collections.abc import Callable
from typing import Any

from attrs import define, evolve, field
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.canonical_json import JsonObject, encode
from synapse_lite.federation.peers import PeerError
from synapse_lite.federation.policy import RETRY_SECONDS
from synapse_lite.matrix.event import MAX_EVENT_BYTES, Event, essence
from synapse_lite.matrix.policy import KEY_ID
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.matrix.signing import SigningKey, encode_base64, generate_signing_key
from synapse_lite.storage.events import Standing
from tests.federation.conftest import JoinNetwork
from tests.federation.network import Network, Scripted
from tests.federation.pair import HOME
from tests.federation.remote_room import RemoteRoom, remote_room, send
from tests.server import TestServer, path_part

SIGN = "/_matrix/policy/v1/sign"
VERSION = ROOM_VERSIONS["10"]


@define
class Policy:
    """The policy server that `other` is besides; `asked` are the ids of the events that it was asked about.

    `judge` makes its answer of a signature; unless told otherwise it recommends everything.
    """

    other: Scripted
    key: SigningKey = field(factory=lambda: generate_signing_key("policy"))
    asked: list[str] = field(factory=list)
    judge: Callable[[JsonObject, str], JsonObject] | None = None

    def signature(self, pdu: JsonObject) -> str:
        return self.key.sign_bytes(essence(pdu, VERSION))

    def answer(self, _method: str, _target: str, pdu: JsonObject | None) -> JsonObject:
        assert pdu is not None
        self.asked.append(Event.from_pdu(pdu, VERSION).event_id)
        signature = self.signature(pdu)
        if self.judge is not None:
            return self.judge(pdu, signature)
        return {self.other.name: {KEY_ID: signature}}

    def signed(self, event: Event) -> Event:
        own = {**event.pdu["signatures"].get(self.other.name, {}), KEY_ID: self.signature(event.pdu)}
        return evolve(
            event, pdu={**event.pdu, "signatures": {**event.pdu["signatures"], self.other.name: own}}
        )

    @property
    def content(self) -> JsonObject:
        return {"via": self.other.name, "public_keys": {"ed25519": encode_base64(bytes(self.key.verify_key))}}


async def policed_room(server: TestServer, other: Scripted) -> tuple[RemoteRoom, str, Policy]:
    """A room of alice, her token, and the policy server that it names."""
    room, alice = await remote_room(server, other, room_version=VERSION.identifier)
    policy = Policy(other)
    other.scripts[SIGN] = policy.answer
    await set_policy(server, room, alice, policy.content)
    await room.look()
    return room, alice, policy


async def set_policy(server: TestServer, room: RemoteRoom, token: str, content: JsonObject) -> None:
    await server.ok("PUT", f"rooms/{path_part(room.room_id)}/state/m.room.policy/", content, token)


def path_to_send(room: RemoteRoom, txn_id: str, kind: str = "m.room.message") -> str:
    return f"rooms/{path_part(room.room_id)}/send/{kind}/{txn_id}"


def text(body: str) -> dict[str, str]:
    return {"msgtype": "m.text", "body": body}


async def shown(server: TestServer, room: RemoteRoom, token: str) -> list[str]:
    page = await server.ok("GET", f"rooms/{path_part(room.room_id)}/messages?dir=b&limit=50", token=token)
    return [one["content"]["body"] for one in reversed(page["chunk"]) if "body" in one["content"]]


@ensureDeferred
async def test_it_signs_what_we_send(server: TestServer, other: Scripted) -> None:
    """Messages, state and redactions carry its signature beside ours; a retry of a client asks for nothing."""
    room, alice, policy = await policed_room(server, other)
    since = (await server.ok("GET", "sync", token=alice))["next_batch"]
    sent = await server.ok("PUT", path_to_send(room, "1"), text("hello"), alice)
    assert policy.asked == [sent["event_id"]]
    stored = await room.stored(sent["event_id"])
    assert stored is not None
    assert stored.event.pdu["signatures"].keys() == {server.name, other.name}
    synced = await server.ok("GET", f"sync?since={since}", token=alice)
    (event,) = synced["rooms"]["join"][room.room_id]["timeline"]["events"]
    assert (event["event_id"], event["unsigned"]["transaction_id"]) == (sent["event_id"], "1")
    assert await server.ok("PUT", path_to_send(room, "1"), text("hello"), alice) == sent
    topic = f"rooms/{path_part(room.room_id)}/state/m.room.topic/"
    named = await server.ok("PUT", topic, {"topic": "checked"}, alice)
    gone = await server.ok(
        "PUT", f"rooms/{path_part(room.room_id)}/redact/{path_part(sent['event_id'])}/2", {}, alice
    )
    assert policy.asked == [sent["event_id"], named["event_id"], gone["event_id"]]
    assert await shown(server, room, alice) == []


@ensureDeferred
async def test_sending_at_the_same_time(server: TestServer, other: Scripted) -> None:
    """What is signed while other events come into the room is in it beside them; one request is one event."""
    room, alice, policy = await policed_room(server, other)
    requests = [
        Deferred.fromCoroutine(
            server.ok("PUT", path_to_send(room, f"{number % 3}"), text(f"{number % 3}"), alice)
        )
        for number in range(6)
    ]
    sent = await gatherResults(requests)
    assert len({one["event_id"] for one in sent}) == 3
    assert sorted(await shown(server, room, alice)) == ["0", "1", "2"]
    assert len(policy.asked) >= 3


@ensureDeferred
async def test_a_signature_for_which_there_is_no_room(server: TestServer, other: Scripted) -> None:
    """With it the event would be larger than others take: it is not sent, and its sender is told why."""
    room, alice, _ = await policed_room(server, other)
    sent = await server.ok("PUT", path_to_send(room, "short"), text(""), alice)
    stored = await room.stored(sent["event_id"])
    assert stored is not None
    left = MAX_EVENT_BYTES - len(encode(stored.event.pdu))
    for size, status in ((left - 20, 200), (left + 20, 413)):
        answer = await server.call("PUT", path_to_send(room, str(size)), text("x" * size), alice)
        assert answer.status == status, size


@ensureDeferred
async def test_what_it_refuses_is_not_sent(server: TestServer, other: Scripted) -> None:
    """Its error is the client's; an answer without a signature, or with another key's, is none either."""
    room, alice, policy = await policed_room(server, other)
    stranger = generate_signing_key("stranger")

    def forbids(_pdu: JsonObject, _signature: str) -> JsonObject:
        raise PeerError("spam", 400, "M_FORBIDDEN")

    def limits(_pdu: JsonObject, _signature: str) -> JsonObject:
        raise PeerError("slow down", 429, "M_LIMIT_EXCEEDED", 2000)

    def forges(pdu: JsonObject, _signature: str) -> JsonObject:
        return {other.name: {KEY_ID: stranger.sign_bytes(essence(pdu, VERSION))}}

    def misplaces(_pdu: JsonObject, signature: str) -> JsonObject:
        return {"third.test": {KEY_ID: signature}, other.name: {"ed25519:1": signature}}

    expected = {
        forbids: (400, "M_FORBIDDEN"),
        limits: (429, "M_LIMIT_EXCEEDED"),
        forges: (403, "M_FORBIDDEN"),
        misplaces: (403, "M_FORBIDDEN"),
        (lambda _pdu, _signature: {}): (403, "M_FORBIDDEN"),
    }
    for number, (policy.judge, refusal) in enumerate(expected.items()):
        body = text("spam")
        assert await server.refusal("PUT", path_to_send(room, f"{number}"), body, alice) == refusal
    assert await shown(server, room, alice) == []
    policy.judge = None
    await server.ok("PUT", path_to_send(room, "9"), text("fine"), alice)
    assert await shown(server, room, alice) == ["fine"]


@ensureDeferred
async def test_one_that_does_not_answer(server: TestServer, other: Scripted) -> None:
    """It is asked twice, then left alone for a while; the room can part from it meanwhile."""
    room, alice, policy = await policed_room(server, other)

    def fails(_pdu: JsonObject, _signature: str) -> JsonObject:
        raise PeerError("no answer")

    policy.judge = fails
    for txn_id in ("1", "2"):
        refusal = await server.refusal("PUT", path_to_send(room, txn_id), text("x"), alice)
        assert refusal == (502, "M_UNKNOWN")
        assert len(policy.asked) == 2
    server.clock.advance(RETRY_SECONDS + 1)
    await server.refusal("PUT", path_to_send(room, "3"), text("x"), alice)
    assert len(policy.asked) == 4
    await set_policy(server, room, alice, {})
    await server.ok("PUT", path_to_send(room, "4"), text("free"), alice)
    assert await shown(server, room, alice) == ["free"]
    assert len(policy.asked) == 4


@ensureDeferred
async def test_rooms_that_have_none(server: TestServer, other: Scripted, network: Network) -> None:
    """A name with nobody in the room, keys that are missing or broken, another state key: nobody is asked."""
    room, alice, policy = await policed_room(server, other)
    third = network.scripted("third.test")
    contents: list[Any] = [
        {**policy.content, "via": third.name},
        {"via": other.name},
        {"via": other.name, "public_keys": {}},
        {"via": other.name, "public_keys": {"ed25519": "no key"}},
        {"via": 5, "public_keys": policy.content["public_keys"]},
    ]
    for number, content in enumerate(contents):
        await set_policy(server, room, alice, content)
        await server.ok("PUT", path_to_send(room, f"{number}"), text("x"), alice)
    path = f"rooms/{path_part(room.room_id)}/state/m.room.policy/other"
    await server.ok("PUT", path, policy.content, alice)
    assert policy.asked == []
    assert (third.name, "POST", SIGN) not in network.asked
    await set_policy(server, room, alice, policy.content)
    await server.ok("PUT", path, {}, alice)
    assert len(policy.asked) == 1, "another state key is an event like others"


@ensureDeferred
async def test_what_others_send(server: TestServer, other: Scripted) -> None:
    """A signed event is taken as it is; for one without the signature it is asked, and what it refuses is soft-failed."""
    room, alice, policy = await policed_room(server, other)
    checked = policy.signed(await room.say("checked before"))
    assert await send(server, other, checked.pdu) == {checked.event_id: {}}
    assert policy.asked == []
    unchecked = await room.say("not checked", previous=[checked])
    await send(server, other, unchecked.pdu)
    assert policy.asked == [unchecked.event_id]
    stored = await room.stored(unchecked)
    assert stored is not None
    assert stored.event.pdu["signatures"][other.name].keys() == {other.key.key_id, KEY_ID}

    def refuses(_pdu: JsonObject, _signature: str) -> JsonObject:
        raise PeerError("spam", 400, "M_FORBIDDEN")

    policy.judge = refuses
    spam = await room.say("spam", previous=[unchecked])
    assert await send(server, other, spam.pdu) == {spam.event_id: {}}
    forged = await room.say("forged", previous=[unchecked])
    forged.pdu["signatures"][other.name][KEY_ID] = forged.pdu["signatures"][other.name][other.key.key_id]
    await send(server, other, forged.pdu)
    for event in (spam, forged):
        failed = await room.stored(event)
        assert failed is not None
        assert failed.standing is Standing.SOFT_FAILED
    assert await shown(server, room, alice) == ["checked before", "not checked"]
    parting = await room.build(
        "m.room.policy", {}, "", sender=f"@alice:{server.name}", key=server.signing_key
    )
    asked = len(policy.asked)
    await send(server, other, parting.pdu)
    assert len(policy.asked) == asked


@ensureDeferred
async def test_what_others_send_while_it_does_not_answer(server: TestServer, other: Scripted) -> None:
    """It is soft-failed: a room that asks somebody who is away shows nothing that is not signed already."""
    room, alice, policy = await policed_room(server, other)

    def fails(_pdu: JsonObject, _signature: str) -> JsonObject:
        raise PeerError("no answer")

    policy.judge = fails
    events = [await room.say(f"{number}") for number in range(5)]
    await send(server, other, *[event.pdu for event in events])
    assert len(policy.asked) == 2
    signed = policy.signed(await room.say("signed"))
    await send(server, other, signed.pdu)
    assert await shown(server, room, alice) == ["signed"]


@ensureDeferred
async def test_inviting_users_of_others(
    server: TestServer, other: Scripted, join_network: JoinNetwork
) -> None:
    """The policy server is asked before the invited user's server hears of it."""
    room, alice, policy = await policed_room(server, other)
    there = await join_network(HOME)
    dora = await there.user("dora")
    path = f"rooms/{path_part(room.room_id)}/invite"

    def refuses(_pdu: JsonObject, _signature: str) -> JsonObject:
        raise PeerError("not this one", 400, "M_FORBIDDEN")

    policy.judge = refuses
    body = {"user_id": f"@dora:{there.name}"}
    assert await server.refusal("POST", path, body, alice) == (400, "M_FORBIDDEN")
    assert "invite" not in (await there.ok("GET", "sync", token=dora)).get("rooms", {})
    policy.judge = None
    await server.ok("POST", path, body, alice)
    assert room.room_id in (await there.ok("GET", "sync", token=dora))["rooms"]["invite"]
    assert len(policy.asked) == 2, "once for each invite"
