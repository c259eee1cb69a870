"""Bans and kicks that redact what their target has sent (MSC4293)."""

from collections.abc import AsyncIterator
from threading import Event
from typing import Any

import pytest
import pytest_twisted
from attrs import define
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from synapse_lite.rooms.redact_on_ban import AT_ONCE
from synapse_lite.storage import redact_targets
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.erasure import erase_redacted
from synapse_lite.storage.stream import END
from synapse_lite.tasks.actions import redact_on_ban as task_module
from synapse_lite.tasks.actions.redact_on_ban import PIECE, REDACT_ON_BAN
from synapse_lite.tasks.outcome import Next
from tests.builders import SERVER
from tests.processes.harness import wait_until
from tests.rest.talk import Talk
from tests.server import TestServer, path_part
from tests.tasks.steps import Crash, Steps

FLAG = "org.matrix.msc4293.redact_events"
MALLORY = f"@mallory:{SERVER}"
Json = dict[str, Any]


@define
class Spammed:
    """A room of alice's in which mallory speaks, and bob reads."""

    server: TestServer
    alice: str
    bob: str
    mallory: str
    room: str
    sent: int = 0

    async def say(self, body: str, token: str | None = None, **more: Any) -> str:
        return await self.send("m.room.message", {"msgtype": "m.text", "body": body, **more}, token)

    async def send(self, kind: str, content: Json, token: str | None = None) -> str:
        self.sent += 1
        path = f"{self.room}/send/{kind}/{self.sent}"
        event_id: str = (await self.server.ok("PUT", path, content, token or self.mallory))["event_id"]
        return event_id

    async def state(self, kind: str, content: Json, token: str, state_key: str = "") -> None:
        await self.server.ok("PUT", f"{self.room}/state/{kind}/{path_part(state_key)}", content, token)

    async def put_out(self, act: str = "ban", *, flag: Any = True, token: str | None = None) -> None:
        body = {"user_id": MALLORY, "reason": "spam", FLAG: flag}
        await self.server.ok("POST", f"{self.room}/{act}", body, token or self.alice)

    async def event(self, event_id: str) -> Json:
        path = f"{self.room}/event/{path_part(event_id)}"
        event: Json = await self.server.ok("GET", path, None, self.bob)
        return event

    async def is_redacted(self, event_id: str) -> bool:
        return "redacted_because" in (await self.event(event_id))["unsigned"]

    async def unread(self) -> int:
        answer = await self.server.ok("GET", "sync", None, self.bob)
        counts = answer["rooms"]["join"][self.room.removeprefix("rooms/")]["unread_notifications"]
        return int(counts["notification_count"])

    async def redactions(self) -> list[tuple[str, int]]:
        """Events of mallory's, by how often they are redacted."""
        return await self.server.database.read(
            lambda txn: txn.rows(
                "SELECT r.redacts, count(*) FROM redactions r JOIN events e ON e.event_nid = r.target_nid"
                " WHERE e.sender = %s AND e.type = 'm.room.message' AND applied GROUP BY 1",
                (MALLORY,),
            )
        )


@pytest_twisted.async_yield_fixture
async def spammed(server: TestServer) -> AsyncIterator[Spammed]:
    alice, bob, mallory = [await server.user(name) for name in ("alice", "bob", "mallory")]
    room = await server.room(alice)
    for token in (bob, mallory):
        await server.ok("POST", f"{room}/join", {}, token)
    yield Spammed(server, alice, bob, mallory, room)


@ensureDeferred
async def test_a_ban_redacts(spammed: Spammed) -> None:
    """All that the target sent is empty for whoever reads it, with the ban as its reason; others' events stay."""
    server = spammed.server
    said, kept = await spammed.say("spam"), await spammed.say("hello", spammed.alice)
    await spammed.put_out()
    shown = await spammed.event(said)
    because = shown["unsigned"]["redacted_because"]
    assert (shown["content"], because["type"], because["state_key"]) == ({}, "m.room.member", MALLORY)
    assert because["content"] == {"membership": "ban", "reason": "spam", FLAG: True}
    page = await server.ok("GET", f"{spammed.room}/messages?dir=b&limit=100", None, spammed.bob)
    theirs = [event for event in page["chunk"] if event["sender"] == MALLORY]
    assert {event["type"] for event in theirs} == {"m.room.message", "m.room.member"}
    assert all("redacted_because" in event["unsigned"] for event in theirs)
    assert not any(event["type"] == "m.room.redaction" for event in page["chunk"])
    assert not await spammed.is_redacted(kept)
    versions = await server.ok("GET", "/_matrix/client/versions", None)
    assert versions["unstable_features"]["org.matrix.msc4293"] is True


@ensureDeferred
async def test_clients_hear_of_it(spammed: Spammed) -> None:
    """Who waits in /sync gets the ban, and a lower count; who syncs anew gets empty events."""
    server = spammed.server
    first = await server.ok("GET", "sync", None, spammed.bob)
    room_id = spammed.room.removeprefix("rooms/")
    said = await spammed.say("bob: spam")
    assert await spammed.unread() == 1
    since = (await server.ok("GET", f"sync?since={first['next_batch']}", None, spammed.bob))["next_batch"]
    poll = Deferred.fromCoroutine(server.ok("GET", f"sync?since={since}&timeout=30000", None, spammed.bob))
    await spammed.put_out()
    heard = (await poll)["rooms"]["join"][room_id]
    (ban,) = heard["timeline"]["events"]
    assert (ban["type"], ban["content"][FLAG]) == ("m.room.member", True)
    assert heard["unread_notifications"]["notification_count"] == 0
    later = await server.ok("GET", f"sync?since={first['next_batch']}", None, spammed.bob)
    shown = {event["event_id"]: event for event in later["rooms"]["join"][room_id]["timeline"]["events"]}
    assert shown[said]["content"] == {}
    assert shown[said]["unsigned"]["redacted_because"]["event_id"] == ban["event_id"]
    assert await spammed.unread() == 0


@ensureDeferred
async def test_indexes_forget_it(spammed: Spammed) -> None:
    """Search, relations, threads, edits and the room's own description know nothing of it any more."""
    server = spammed.server
    await spammed.state("m.room.power_levels", {"users": {MALLORY: 50}}, spammed.alice)
    await spammed.state("m.room.name", {"name": "spam"}, spammed.mallory)
    await spammed.state("m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"}, spammed.mallory)
    root = await spammed.say("root", spammed.alice)
    thread = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
    await spammed.say("lurid spam", **thread)
    await spammed.send(
        "m.reaction", {"m.relates_to": {"rel_type": "m.annotation", "event_id": root, "key": "x"}}
    )
    talk = Talk(server, spammed.alice, spammed.bob, spammed.room)
    await talk.index()
    assert len((await talk.search("lurid"))["results"]) == 1
    await spammed.state("m.room.member", {"membership": "ban", FLAG: True}, spammed.alice, MALLORY)
    assert (await talk.search("lurid"))["results"] == []
    path = f"/_matrix/client/v1/{spammed.room}/relations/{path_part(root)}"
    assert (await server.ok("GET", path, None, spammed.bob))["chunk"] == []
    threads = await server.ok("GET", f"/_matrix/client/v1/{spammed.room}/threads", None, spammed.bob)
    assert threads["chunk"] == []
    summary = await server.ok(
        "GET", f"/_matrix/client/v1/room_summary/{spammed.room.removeprefix('rooms/')}", None, spammed.bob
    )
    assert "name" not in summary
    assert summary["encryption"] == "m.megolm.v1.aes-sha2", "a room does not lose its encryption"


@pytest.mark.parametrize(
    "levels", [{"redact": 60}, {"events": {"m.room.redaction": 60}}, {"redact": 50, "events": {}}]
)
@ensureDeferred
async def test_only_who_may_redact(spammed: Spammed, levels: Json) -> None:
    """A moderator below the level of redactions bans, and nothing else happens."""
    await spammed.state("m.room.power_levels", {"users": {f"@bob:{SERVER}": 50}, **levels}, spammed.alice)
    said = await spammed.say("spam")
    await spammed.put_out(token=spammed.bob)
    assert await spammed.is_redacted(said) is ("redact" in levels and levels["redact"] == 50)


@ensureDeferred
async def test_what_does_not_redact(spammed: Spammed) -> None:
    """An unban, a leave of one's own, a flag that is no boolean; a kick does."""
    server = spammed.server
    said = await spammed.say("hello")
    body = {"user_id": MALLORY, FLAG: "yes"}
    assert await server.refusal("POST", f"{spammed.room}/ban", body, spammed.alice) == (400, "M_BAD_JSON")
    await spammed.put_out(flag=False)
    await spammed.state("m.room.member", {"membership": "leave", FLAG: True}, spammed.alice, MALLORY)
    await server.ok("POST", f"{spammed.room}/join", {}, spammed.mallory)
    await spammed.state("m.room.member", {"membership": "leave", FLAG: True}, spammed.mallory, MALLORY)
    await server.ok("POST", f"{spammed.room}/join", {}, spammed.mallory)
    await spammed.state("m.room.member", {"membership": "ban", FLAG: "true"}, spammed.alice, MALLORY)
    assert not await spammed.is_redacted(said)
    await server.ok("POST", f"{spammed.room}/unban", {"user_id": MALLORY}, spammed.alice)
    await server.ok("POST", f"{spammed.room}/join", {}, spammed.mallory)
    await spammed.put_out("kick")
    assert await spammed.is_redacted(said)
    await server.ok("POST", f"{spammed.room}/join", {}, spammed.mallory)
    assert not await spammed.is_redacted(await spammed.say("better"))


@ensureDeferred
async def test_a_great_many(spammed: Spammed) -> None:
    """A task redacts what is too much for the ban, each event once, also when its process dies; what came after
    an unban stays.
    """
    server, steps = spammed.server, Steps(spammed.server.database)
    await steps.open()
    said = [await spammed.say(str(number)) for number in range(AT_ONCE + 50)]
    await spammed.put_out()
    assert sum([await spammed.is_redacted(event_id) for event_id in said]) < len(said)
    await server.ok("POST", f"{spammed.room}/unban", {"user_id": MALLORY}, spammed.alice)
    await server.ok("POST", f"{spammed.room}/join", {}, spammed.mallory)
    later = await spammed.say("sorry")
    lease = await steps.claim(REDACT_ON_BAN)
    await steps.step(REDACT_ON_BAN, lease, 20)
    with pytest.raises(Crash):
        await steps.step(REDACT_ON_BAN, lease, 20, crash=True)
    for _ in range(2):
        await steps.step(REDACT_ON_BAN, lease, 20)
    assert dict(await spammed.redactions()) == dict.fromkeys(said, 1)
    assert not await spammed.is_redacted(later)
    task = await steps.task(lease.task_id)
    assert task.result is not None
    # Of mallory's, the join is also redacted.
    assert (task.status, task.result) == ("complete", {"redacted": 51})


@ensureDeferred
async def test_who_wants_to_write_is_let_in(spammed: Spammed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of the task gives the room back as soon as somebody waits for it, and the next one goes on there."""
    steps = Steps(spammed.server.database)
    await steps.open()
    said = [await spammed.say(str(number)) for number in range(AT_ONCE + 2 * PIECE)]
    await spammed.put_out()
    lease = await steps.claim(REDACT_ON_BAN)
    asked, waits = Event(), list[bool]()

    def look(txn: Transaction) -> bool:
        asked.set()
        if not waits:
            wait_until(lambda: redact_targets.is_awaited(txn), "the sender waits")
        waits.append(redact_targets.is_awaited(txn))
        return waits[-1]

    monkeypatch.setattr(task_module, "is_awaited", look)
    first = Deferred.fromCoroutine(steps.step(REDACT_ON_BAN, lease, 200))
    await deferToThread(asked.wait, 300)
    await spammed.say("at last", spammed.alice)
    outcome = await first
    assert isinstance(outcome, Next)
    assert outcome.done == PIECE
    while isinstance(await steps.step(REDACT_ON_BAN, lease, 200), Next):
        pass
    assert waits.count(True) == 1
    assert dict(await spammed.redactions()) == dict.fromkeys(said, 1)


@ensureDeferred
async def test_its_content_is_erased(spammed: Spammed) -> None:
    """After the time for which redacted content is kept, all of it is gone from the disk, however many they are."""
    said = [await spammed.say(f"secret {number}") for number in range(7)]
    await spammed.put_out()
    after: int | None = 0
    while after is not None:
        _, after = await spammed.server.database.transact(erase_redacted, END, after, 2)

    def left(txn: Transaction) -> int:
        return int(txn.value("SELECT count(*) FROM events WHERE json LIKE '%%secret%%'"))

    assert await spammed.server.database.read(left) == 0
    assert all([await spammed.is_redacted(event_id) for event_id in said])
