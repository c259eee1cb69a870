"""What is hidden from somebody in a room is shown by no way to read, whatever they are to the room."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from attrs import define
from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import END, read_changes_of
from synapse_lite.tasks.actions.search import SEARCH, SearchIndex
from synapse_lite.tasks.followers import Shard
from tests.builders import SERVER
from tests.server import TestServer, path_part

V1 = "/_matrix/client/v1"
SLIDING = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
BOB = f"@bob:{SERVER}"
KNOWN, SECRET = "known", "secret"
LEFT_TOO = path_part('{"room":{"include_leave":true}}')
LAZY = path_part('{"lazy_load_members":true}')


@define
class Room:
    """Alice's closed room, which shows members what happens while they are in it. `events` are all of hers."""

    server: TestServer
    alice: str
    bob: str
    path: str
    events: list[str]

    async def say(self, word: str) -> None:
        """As a message, with an edit, an answer and a reaction, each also to what was said first; and as state."""
        first, parent = self.events[:1], await self._send({"msgtype": "m.text", "body": word})
        for related in [parent, *first]:
            for rel_type in ("m.replace", "m.thread", "m.reference"):
                relation = {"rel_type": rel_type, "event_id": related}
                await self._send({"msgtype": "m.text", "body": word, "m.relates_to": relation})
            relation = {"rel_type": "m.annotation", "event_id": related, "key": f"{word}{len(self.events)}"}
            await self._send({"m.relates_to": relation}, "m.reaction")
        for kind in ("name", "topic"):
            path = f"{self.path}/state/m.room.{kind}"
            self.events.append((await self.server.ok("PUT", path, {kind: word}, self.alice))["event_id"])

    async def membership(self, action: str) -> None:
        if action in ("join", "leave"):
            await self.server.ok("POST", f"{self.path}/{action}", {}, self.bob)
        else:
            await self.server.ok("POST", f"{self.path}/{action}", {"user_id": BOB}, self.alice)

    async def index(self) -> None:
        def follow(txn: Transaction) -> None:
            changes = read_changes_of(txn, SEARCH.kinds, 0, END, 1000)
            SearchIndex(self.server.core.events).follow(txn, changes, Shard(0, 1))

        await self.server.database.transact(follow)

    async def _send(self, content: dict[str, Any], kind: str = "m.room.message") -> str:
        path = f"{self.path}/send/{kind}/{len(self.events)}"
        self.events.append((await self.server.ok("PUT", path, content, self.alice))["event_id"])
        return self.events[-1]


async def stranger(room: Room) -> None:
    await room.say(SECRET)


async def invited(room: Room) -> None:
    await room.say(SECRET)
    for text in ("later", KNOWN):  # an invite shows what it is now, a member also what it was before
        for kind in ("name", "topic"):
            await room.server.ok("PUT", f"{room.path}/state/m.room.{kind}", {kind: text}, room.alice)
    await room.membership("invite")


async def late(room: Room) -> None:
    await invited(room)
    await room.membership("join")
    await room.say(KNOWN)


async def returned(room: Room) -> None:
    await gone("leave")(room)
    await invited(room)
    await room.membership("join")


def gone(action: str) -> Callable[[Room], Awaitable[None]]:
    async def go(room: Room) -> None:
        await room.membership("invite")
        await room.membership("join")
        await room.say(KNOWN)
        await room.membership(action)
        await room.say(SECRET)

    return go


def requests(room: Room, start: str, end: str) -> list[tuple[str, str, Any]]:
    """Every way to read. `start` and `end` are tokens of before and after all that happened."""
    room_id = room.path.removeprefix("rooms/")
    ways = [
        f"{room.path}/messages?limit=100&dir={way}" for way in ("b", "f", f"b&from={end}", f"f&from={start}")
    ]
    ways += [f"{way}&filter={LAZY}" for way in ways]
    for event_id in map(path_part, room.events):
        ways += [f"{room.path}/event/{event_id}", f"{room.path}/context/{event_id}?limit=100"]
        ways += [f"{V1}/{room.path}/relations/{event_id}?recurse={recurse}" for recurse in ("true", "false")]
    ways += [f"{V1}/{room.path}/threads", f"{V1}/{room.path}/threads?include=participated"]
    ways += [
        f"{room.path}/{what}"
        for what in ("state", "members", f"members?at={end}", "joined_members", "aliases")
    ]
    ways += [f"{room.path}/state/m.room.{kind}" for kind in ("name", "topic")]
    ways += [f"sync?filter={LEFT_TOO}", f"sync?since={start}", f"sync?since={start}&full_state=true"]
    ways += [f"{V1}/room_summary/{path_part(room_id)}", f"{V1}/{room.path}/hierarchy", "notifications"]
    config = {"timeline_limit": 50, "required_state": [["*", "*"]]}
    sliding = {"lists": {"all": {"ranges": [[0, 9]], **config}}, "room_subscriptions": {room_id: config}}
    around = {"before_limit": 20, "after_limit": 20, "include_profile": True}
    found = {"search_term": KNOWN, "event_context": around, "include_state": True}
    search = {"search_categories": {"room_events": found}}
    return [
        *[("GET", way, None) for way in ways],
        ("POST", f"{SLIDING}?timeout=0", sliding),
        ("POST", "search", search),
    ]


@pytest.mark.parametrize(
    ("happens", "knows"),
    [(stranger, False), (invited, False), (late, True), (gone("leave"), True), (gone("kick"), True), (gone("ban"), True),
     (returned, True)],
    ids=["stranger", "invited", "late", "left", "kicked", "banned", "returned"],
)  # fmt: skip
@ensureDeferred
async def test_what_is_hidden_is_shown_nowhere(
    server: TestServer, happens: Callable[[Room], Awaitable[None]], knows: bool
) -> None:
    """Neither events, nor what relates to them, nor state, nor how often a word was said."""
    alice, bob = await server.user("alice"), await server.user("bob")
    hides = {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}
    path = await server.room(alice, preset="private_chat", initial_state=[hides])
    room = Room(server, alice, bob, path, [])
    start = (await server.ok("GET", "sync", None, bob))["next_batch"]
    await happens(room)
    await room.index()
    end = (await server.ok("GET", "sync", None, alice))["next_batch"]
    seen = []
    for method, way, body in requests(room, start, end):
        answer = await server.call(method, way, body, bob)
        assert answer.status in {200, 403, 404}, way
        assert SECRET.encode() not in answer.body, way
        seen += [way] if answer.status == 200 and KNOWN.encode() in answer.body else []
    assert any("/messages" in way for way in seen) is knows
    asked = {"search_categories": {"room_events": {"search_term": SECRET}}}
    hits = (await server.ok("POST", "search", asked, bob))["search_categories"]["room_events"]
    assert (hits["count"], json.dumps(hits["results"])) == (0, "[]")
