"""Events that are sent later, over HTTP (MSC4140)."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.handlers.delayed_events import DelayedEvents
from synapse_lite.storage import delayed_events
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import read_position
from tests.rest.conftest import BuildServer
from tests.server import OPEN, TestServer, path_part

LATER = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events"
HELLO = {"msgtype": "m.text", "body": "hello"}
MEMBER = "org.matrix.msc3401.call.member"
ALLOWED: dict[str, Any] = {
    **OPEN,
    "max_event_delay_duration": "1h",
    "rc_delayed_event_mgmt": {"per_second": 1000, "burst_count": 1000},
}


class Delaying:
    """A user in a room of their own, on a server that allows an hour."""

    def __init__(self, server: TestServer, token: str, room: str) -> None:
        self.server = server
        self.token = token
        self.room = room
        self._number = 0

    async def message(self, delay_ms: int, body: str = "hello") -> str:
        self._number += 1
        path = f"{self.room}/send/m.room.message/{self._number}?org.matrix.msc4140.delay={delay_ms}"
        answer = await self.server.ok("PUT", path, {**HELLO, "body": body}, self.token)
        delay_id: str = answer["delay_id"]
        return delay_id

    async def state(self, delay_ms: int, content: dict[str, Any]) -> str:
        path = f"{self.room}/state/{MEMBER}/key?org.matrix.msc4140.delay={delay_ms}"
        delay_id: str = (await self.server.ok("PUT", path, content, self.token))["delay_id"]
        return delay_id

    async def to_come(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.server.ok("GET", LATER, None, self.token))["delayed_events"]
        return found

    async def said(self) -> list[str]:
        page = await self.server.ok("GET", f"{self.room}/messages?dir=b&limit=50", None, self.token)
        return [e["content"]["body"] for e in reversed(page["chunk"]) if e["type"] == "m.room.message"]

    async def act(self, delay_id: str, action: str) -> tuple[int, str | None]:
        """As the server of a call does: without a token."""
        return await self.server.refusal("POST", f"{LATER}/{delay_id}/{action}", {})


async def delaying(server: TestServer, name: str = "alice") -> Delaying:
    token = await server.user(name)
    return Delaying(server, token, await server.room(token))


async def look(server: TestServer) -> None:
    """All that is due is sent, by this or by the process's own clock."""
    (delayed,) = (
        life for feature in server.features for life in feature.lives if isinstance(life, DelayedEvents)
    )
    await delayed.send_due()
    while await server.database.read(delayed_events.due, server.clock.now_ms(), 1):
        await delayed.send_due()
    last, log = await server.database.read(read_position), server.core.log
    while log.position < last and not log.is_behind:  # memory hears of a commit a moment after the database
        await server.database.read(read_position)


@ensureDeferred
async def test_messages_and_state_come_when_they_are_due(build_server: BuildServer) -> None:
    """Not before; until then their sender sees them, and nobody else."""
    server = await build_server(**ALLOWED)
    call = await delaying(server)
    message, state = await call.message(10_000), await call.state(20_000, {"n": 1})
    listed = await call.to_come()
    assert [one["delay_id"] for one in listed] == [message, state]
    assert listed[0].items() >= {"type": "m.room.message", "delay": 10_000, "content": HELLO}.items()
    assert (listed[0]["delay_ms"], listed[0]["delayed_since_ts"]) == (10_000, listed[0]["running_since"])
    assert listed[1]["state_key"] == "key"
    assert await server.ok("GET", f"{LATER}/{state}", None, call.token) == listed[1]
    assert "state_key" not in listed[0]
    bob = await server.user("bob")
    assert await server.ok("GET", LATER, None, bob) == {"delayed_events": []}
    assert await server.refusal("GET", f"{LATER}/{state}", token=bob) == (404, "M_NOT_FOUND")
    assert await server.refusal("GET", LATER) == (401, "M_MISSING_TOKEN")
    await look(server)
    assert await call.said() == []
    server.clock.advance(10)
    await look(server)
    assert await call.said() == ["hello"]
    assert [one["delay_id"] for one in await call.to_come()] == [state]
    server.clock.advance(10)
    await look(server)
    assert await server.ok("GET", f"{call.room}/state/{MEMBER}/key", None, call.token) == {"n": 1}
    assert await call.to_come() == []
    assert await server.refusal("GET", f"{LATER}/{state}", token=call.token) == (404, "M_NOT_FOUND")


@ensureDeferred
async def test_the_clock_of_the_process_sends_them(build_server: BuildServer) -> None:
    """Nobody has to ask: a long poll ends when the time is there."""
    server = await build_server(**ALLOWED)
    call = await delaying(server)
    since = (await server.ok("GET", "sync", None, call.token))["next_batch"]
    await call.message(3_000)
    answer: dict[str, Any] = {}
    while "rooms" not in answer:
        server.clock.advance(1)
        answer = await server.ok("GET", f"sync?since={since}", None, call.token)
    events = next(iter(answer["rooms"]["join"].values()))["timeline"]["events"]
    assert [event["content"] for event in events] == [HELLO]


@ensureDeferred
async def test_restart_cancel_and_send(build_server: BuildServer) -> None:
    """Whoever knows the id decides; the same once more is right, the contrary is a conflict."""
    server = await build_server(**ALLOWED)
    call = await delaying(server)
    restarted, cancelled, sent = [await call.message(10_000, body) for body in ("a", "b", "c")]
    server.clock.advance(9)
    assert await call.act(restarted, "restart") == (200, None)
    assert await call.act(cancelled, "cancel") == (200, None)
    assert await call.act(sent, "send") == (200, None)
    assert await call.said() == ["c"]
    server.clock.advance(9)
    await look(server)
    assert await call.said() == ["c"]
    server.clock.advance(2)
    await look(server)
    assert await call.said() == ["c", "a"]
    for delay_id, action, expected in (
        (cancelled, "cancel", (200, None)),
        (cancelled, "send", (409, "M_UNKNOWN")),
        (cancelled, "restart", (409, "M_UNKNOWN")),
        (sent, "send", (200, None)),
        (sent, "cancel", (409, "M_UNKNOWN")),
        (restarted, "send", (200, None)),
        ("unknown", "send", (404, "M_NOT_FOUND")),
        (sent, "sing", (400, "M_INVALID_PARAM")),
    ):
        assert await call.act(delay_id, action) == expected, (delay_id, action)
    one = await call.message(10_000, "d")
    assert await server.refusal("POST", f"{LATER}/{one}", {}) == (400, "M_MISSING_PARAM")
    assert await server.refusal("POST", f"{LATER}/{one}", {"action": "oops"}) == (400, "M_INVALID_PARAM")
    assert await server.ok("POST", f"{LATER}/{one}", {"action": "send"}) == {}
    assert (await call.said())[-1] == "d"


@ensureDeferred
async def test_what_may_not_be_delayed(build_server: BuildServer) -> None:
    """Too long, too many, by nobody of the room, what no event may hold, and where it is turned off."""
    server = await build_server(**ALLOWED)
    call = await delaying(server)
    path = f"{call.room}/send/m.room.message/x?org.matrix.msc4140.delay="
    answer = await server.call("PUT", f"{path}3600001", HELLO, call.token)
    reason = {"org.matrix.msc4140.errcode": "M_MAX_DELAY_EXCEEDED", "org.matrix.msc4140.max_delay": 3_600_000}
    assert answer.json().items() >= {"errcode": "ORG.MATRIX.MSC4140_DELAY_TOO_LARGE", **reason}.items()
    assert await server.refusal("PUT", f"{path}-1", HELLO, call.token) == (400, "M_INVALID_PARAM")
    assert await server.refusal("PUT", f"{path}soon", HELLO, call.token) == (400, "M_INVALID_PARAM")
    assert await server.refusal("PUT", f"{path}1", {"body": 1.5}, call.token) == (400, "M_BAD_JSON")
    stranger = await server.user("mallory")
    assert await server.refusal("PUT", f"{path}1", HELLO, stranger) == (403, "M_FORBIDDEN")
    member = f"{call.room}/state/m.room.member/{path_part('@alice:hs.test')}?org.matrix.msc4140.delay=1"
    assert await server.refusal("PUT", member, {"membership": "leave"}, call.token) == (403, "M_FORBIDDEN")
    for _ in range(100):
        await call.message(60_000)
    answer = await server.call("PUT", f"{path}1", HELLO, call.token)
    assert answer.json()["org.matrix.msc4140.errcode"] == "M_MAX_DELAYED_EVENTS_EXCEEDED"
    off = await build_server(**OPEN)
    answer = await off.call("PUT", f"{path}1", HELLO, call.token)
    assert (answer.status, answer.json()["org.matrix.msc4140.errcode"]) == (400, "M_MAX_DELAY_UNSUPPORTED")
    for one, expected in ((server, True), (off, False)):
        features = (await one.ok("GET", "/_matrix/client/versions"))["unstable_features"]
        assert features["org.matrix.msc4140"] is expected


@ensureDeferred
async def test_the_same_request_is_the_same_event(build_server: BuildServer) -> None:
    """A repetition gets the same id, and one event comes of it."""
    server = await build_server(**ALLOWED)
    call = await delaying(server)
    path = f"{call.room}/send/m.room.message/same?org.matrix.msc4140.delay=1000"
    first = await server.ok("PUT", path, HELLO, call.token)
    assert await server.ok("PUT", path, HELLO, call.token) == first
    server.clock.advance(1)
    await look(server)
    assert await server.ok("PUT", path, HELLO, call.token) == first
    assert await call.said() == ["hello"]


@ensureDeferred
async def test_the_sender_may_not_send_it_any_more(build_server: BuildServer) -> None:
    """By hand, the refusal is told and the event stays; when it is due it is over."""
    server = await build_server(**ALLOWED)
    call = await delaying(server)
    bob = await server.user("bob")
    await server.ok("POST", f"{call.room}/join", {}, bob)
    guest = Delaying(server, bob, call.room)
    delay_id = await guest.message(10_000)
    await server.ok("POST", f"{call.room}/ban", {"user_id": "@bob:hs.test"}, call.token)
    assert await guest.act(delay_id, "send") == (403, "M_FORBIDDEN")
    assert len(await guest.to_come()) == 1
    server.clock.advance(10)
    await look(server)
    assert await guest.to_come() == []
    assert await call.said() == []
    assert await guest.act(delay_id, "send") == (409, "M_UNKNOWN")


@ensureDeferred
async def test_processes_share_them(build_server: BuildServer) -> None:
    """What one leaves behind another sends; both at once send it once; a failure that passes delays it only."""
    one = await build_server(**ALLOWED)
    other = await build_server(**ALLOWED, bus=one.bus, clock=one.clock, signing_key=one.signing_key)
    call = await delaying(one)
    await call.message(1_000)

    def fail(_handler: object, txn: Transaction, *_arguments: object) -> bool:
        txn.execute("SELECT 1 / 0")
        return True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DelayedEvents, "_send_if_due", fail)
        one.clock.advance(1)
        await look(other)
    assert await call.said() == []
    assert len(await call.to_come()) == 1
    one.clock.advance(1)
    await gatherResults([Deferred.fromCoroutine(look(server)) for server in (one, other)])
    assert await call.said() == ["hello"]


@ensureDeferred
async def test_those_that_are_over_are_forgotten(build_server: BuildServer) -> None:
    """A hundred of a user's are remembered, so that a repeated answer finds them."""
    server = await build_server(**ALLOWED)
    call = await delaying(server)
    for _ in range(delayed_events.KEPT + 5):
        await call.act(await call.message(10_000), "cancel")
    rows = await server.database.read(lambda txn: txn.value("SELECT count(*) FROM delayed_events"))
    assert rows == delayed_events.KEPT


@ensureDeferred
async def test_who_is_shadow_banned_meanwhile(build_server: BuildServer) -> None:
    """What they had sent for later is told to be sent, and nobody gets it."""
    server = await build_server(**ALLOWED)
    mine = await delaying(server)
    await mine.message(1000)
    admin = await server.user("admin", is_admin=True)
    await server.ok("POST", "/_synapse/admin/v1/users/@alice:hs.test/shadow_ban", {}, admin)
    server.clock.advance(1.1)
    await look(server)
    assert (await mine.to_come(), await mine.said()) == ([], [])
