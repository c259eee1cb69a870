"""Unread counts in /sync, and what changes them."""

import random
from collections.abc import Iterable
from typing import Any

import pytest
from attrs import define, field
from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import Transaction
from synapse_lite.tasks.actions.purge_history import PURGE_HISTORY, PurgeHistoryParams
from tests.rest.conftest import BuildServer
from tests.server import OPEN, TestServer, path_part, user_path
from tests.tasks.steps import Steps

THREADED = '{"room":{"timeline":{"unread_thread_notifications":true}}}'
Counts = dict[str, tuple[int, int]]  # thread id or "main": notifications and highlights


def _text(body: str = "x", **more: Any) -> dict[str, Any]:
    return {"msgtype": "m.text", "body": body, **more}


def _in_thread(root: str) -> dict[str, Any]:
    return {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}


def _mentioning(*names: str) -> dict[str, Any]:
    return {"m.mentions": {"user_ids": [f"@{name}:hs.test" for name in names]}}


def _pair(count: dict[str, int]) -> tuple[int, int]:
    assert count.keys() == {"notification_count", "highlight_count"}
    return count["notification_count"], count["highlight_count"]


@define
class Client:
    """Somebody who follows their rooms by long polls, and keeps the counts that they are told."""

    server: TestServer
    name: str
    token: str
    counts: dict[str, Counts] = field(factory=dict)
    since: str | None = None
    number: int = 0

    @classmethod
    async def new(cls, server: TestServer, name: str) -> "Client":
        return cls(server, name, await server.user(name))

    async def sync(self, server: TestServer | None = None, *, anew: bool = False) -> dict[str, Any]:
        path = f"sync?filter={path_part(THREADED)}" + (
            f"&since={self.since}" if self.since and not anew else ""
        )
        answer: dict[str, Any] = await (server or self.server).ok("GET", path, None, self.token)
        if anew or self.since is None:
            self.counts = {}
        self.since = answer["next_batch"]
        for room_id, room in answer.get("rooms", {}).get("join", {}).items():
            if "unread_notifications" in room:
                threads = {
                    root: _pair(count) for root, count in room.get("unread_thread_notifications", {}).items()
                }
                found = {"main": _pair(room["unread_notifications"]), **threads}
                self.counts[room_id] = {thread: count for thread, count in found.items() if count != (0, 0)}
        return answer

    async def counted(self, room: str) -> Counts:
        await self.sync()
        return self.counts.get(_id_of(room), {})

    async def send(self, room: str, content: dict[str, Any], kind: str = "m.room.message") -> str:
        self.number += 1
        path = f"{room}/send/{kind}/{self.name}{self.number}"
        event_id: str = (await self.server.ok("PUT", path, content, self.token))["event_id"]
        return event_id

    async def read(self, room: str, event_id: str, kind: str = "m.read", thread: str | None = None) -> None:
        body = {} if thread is None else {"thread_id": thread}
        await self.server.ok("POST", f"{room}/receipt/{kind}/{path_part(event_id)}", body, self.token)

    async def redact(self, room: str, event_id: str) -> None:
        self.number += 1
        path = f"{room}/redact/{path_part(event_id)}/{self.name}{self.number}"
        await self.server.ok("PUT", path, {}, self.token)

    async def ignore(self, *names: str) -> None:
        ignored = {"ignored_users": {f"@{name}:hs.test": {} for name in names}}
        path = user_path(self.name, "account_data/m.ignored_user_list")
        await self.server.ok("PUT", path, ignored, self.token)

    async def put_rule(self, kind: str, rule_id: str, body: dict[str, Any]) -> None:
        await self.server.ok("PUT", f"pushrules/global/{kind}/{path_part(rule_id)}", body, self.token)


def _id_of(room: str) -> str:
    return room.removeprefix("rooms/")


async def _two(server: TestServer) -> tuple[Client, Client, str]:
    """Two in a room, both of whom have synced."""
    alice, bob = await Client.new(server, "alice"), await Client.new(server, "bob")
    room = await server.room(alice.token)
    await server.ok("POST", f"{room}/join", {}, bob.token)
    await alice.sync()
    await bob.sync()
    return alice, bob, room


@ensureDeferred
async def test_what_counts(server: TestServer) -> None:
    """What the predefined rules say of each kind of event; the answer with the event has its count."""
    alice, bob, room = await _two(server)
    assert await alice.counted(room) == {}
    said = await bob.send(room, _text())
    assert await alice.counted(room) == {"main": (1, 0)}
    for kind, content, expected in (
        ("m.room.message", {"msgtype": "m.notice", "body": "x"}, (1, 0)),
        ("m.room.message", {"msgtype": "m.notice", "body": "x", **_mentioning("alice")}, (1, 0)),
        ("m.reaction", {"m.relates_to": {"rel_type": "m.annotation", "event_id": said, "key": "+"}}, (1, 0)),
        ("m.room.message", _text(**{"m.relates_to": {"rel_type": "m.replace", "event_id": said}}), (1, 0)),
        ("m.room.message", _text(**_mentioning("alice")), (2, 1)),
        ("m.room.message", _text(**_mentioning("bob", "carol")), (3, 1)),
        ("m.room.message", _text(**{"m.mentions": {"room": True}}), (4, 1)),
        ("m.room.encrypted", {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x"}, (5, 1)),
        ("org.example.other", {}, (5, 1)),
        ("org.example.other", _mentioning("alice"), (6, 2)),
    ):
        await bob.send(room, content, kind)
        assert await alice.counted(room) == {"main": expected}, (kind, content)
    await alice.send(room, _text(**{"m.mentions": {"room": True}}))
    assert await bob.counted(room) == {"main": (1, 1)}
    assert await alice.counted(room) == {}, "who writes has read"
    fresh = await server.ok("GET", "sync", None, bob.token)
    shown = fresh["rooms"]["join"][_id_of(room)]
    assert shown["unread_notifications"] == {"notification_count": 1, "highlight_count": 1}
    assert "unread_thread_notifications" not in shown, "only for those who ask"


@pytest.mark.parametrize("kind", ["m.read", "m.read.private"])
@ensureDeferred
async def test_receipts_end_what_is_unread(server: TestServer, kind: str) -> None:
    """Public and private ones alike, up to their event, never back; whatever comes later counts."""
    alice, bob, room = await _two(server)
    first, second, third = [await bob.send(room, _text()) for _ in range(3)]
    assert await alice.counted(room) == {"main": (3, 0)}
    for event_id, expected in ((second, {"main": (1, 0)}), (first, {"main": (1, 0)}), (third, {})):
        await alice.read(room, event_id, kind)
        assert await alice.counted(room) == expected
    await bob.send(room, _text())
    await alice.read(room, second, "m.read" if kind == "m.read.private" else "m.read.private")
    assert await alice.counted(room) == {"main": (1, 0)}


@ensureDeferred
async def test_counts_without_a_timeline(server: TestServer) -> None:
    """Who wants no events still hears how many there are, whether memory answers or the database."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(alice, preset="public_chat")
    await server.ok("POST", f"{room}/join", {}, bob)
    none = path_part('{"room": {"timeline": {"limit": 0}}}')
    first = await server.ok("GET", f"sync?filter={none}", None, alice)
    await server.ok("PUT", f"{room}/send/m.room.message/1", {"msgtype": "m.text", "body": "x"}, bob)
    for more in ("", "&full_state=true"):
        answer = await server.ok("GET", f"sync?filter={none}&since={first['next_batch']}{more}", None, alice)
        (shown,) = answer["rooms"]["join"].values()
        assert shown["unread_notifications"]["notification_count"] == 1


@ensureDeferred
async def test_threads_are_read_apart(server: TestServer) -> None:
    """By clients that ask for it; a receipt without a thread reads all, as does who knows nothing of threads."""
    alice, bob, room = await _two(server)
    root = await bob.send(room, _text())
    replies = [await bob.send(room, _text(**_in_thread(root))) for _ in range(2)]
    await bob.send(room, _text(**_in_thread(root), **_mentioning("alice")))
    assert await alice.counted(room) == {"main": (1, 0), root: (3, 1)}
    everything = await server.ok("GET", "sync", None, alice.token)
    shown = everything["rooms"]["join"][_id_of(room)]["unread_notifications"]
    assert shown == {"notification_count": 4, "highlight_count": 1}
    await alice.read(room, replies[0], thread=root)
    assert await alice.counted(room) == {"main": (1, 0), root: (2, 1)}
    await alice.read(room, root, thread="main")
    assert await alice.counted(room) == {root: (2, 1)}
    await alice.send(room, _text(**_in_thread(root)))
    assert await alice.counted(room) == {}
    other = await bob.send(room, _text(**_in_thread(root)))
    await bob.send(room, _text())
    assert await alice.counted(room) == {"main": (1, 0), root: (1, 0)}
    await alice.read(room, other)
    assert await alice.counted(room) == {"main": (1, 0)}


@ensureDeferred
async def test_rules_of_ones_own(server: TestServer) -> None:
    """Changed rules count at once, and for the past; none in a room, only mentions, keywords, member counts."""
    alice, bob, room = await _two(server)
    await bob.send(room, _text("a cat"))
    await bob.send(room, _text("@alice", **_mentioning("alice")))
    await bob.send(room, {"msgtype": "m.notice", "body": "x"})
    assert await alice.counted(room) == {"main": (2, 1)}
    await alice.put_rule("room", _id_of(room), {"actions": []})
    assert await alice.counted(room) == {"main": (1, 1)}
    await bob.send(room, _text())
    assert await alice.counted(room) == {"main": (1, 1)}
    muted = {
        "actions": [],
        "conditions": [{"kind": "event_match", "key": "room_id", "pattern": _id_of(room)}],
    }
    await alice.put_rule("override", "mute", muted)
    assert await alice.counted(room) == {}
    await bob.send(room, _text(**_mentioning("alice")))
    assert await alice.counted(room) == {}
    await server.ok("DELETE", "pushrules/global/override/mute", None, alice.token)
    assert await alice.counted(room) == {"main": (2, 2)}
    await alice.put_rule(
        "content", "cat", {"pattern": "cat", "actions": ["notify", {"set_tweak": "highlight"}]}
    )
    assert await alice.counted(room) == {"main": (3, 3)}
    await bob.send(room, _text("Cat!"))
    assert await alice.counted(room) == {"main": (4, 4)}
    pair = {"actions": ["notify"], "conditions": [{"kind": "room_member_count", "is": "2"}]}
    await alice.put_rule("override", "pair", pair)
    expected = await alice.counted(room)
    carol = await Client.new(server, "carol")
    await server.ok("POST", f"{room}/join", {}, carol.token)
    await bob.send(room, {"msgtype": "m.notice", "body": "x"})
    assert await alice.counted(room) == expected, "what was said to two stays so; three are no pair"


@ensureDeferred
async def test_read_and_a_rule_in_one_sync(server: TestServer) -> None:
    """A room that was read is told of, also when a change of the rules comes with it."""
    alice, bob, room = await _two(server)
    event_id = await bob.send(room, _text())
    assert await alice.counted(room) == {"main": (1, 0)}
    await alice.put_rule("content", "cat", {"pattern": "cat", "actions": ["notify"]})
    await alice.read(room, event_id)
    assert await alice.counted(room) == {}


@ensureDeferred
async def test_members(server: TestServer) -> None:
    """Who comes in has read what was before, also when they come back; who is out has no counts."""
    alice, bob, room = await _two(server)
    await bob.send(room, _text())
    carol = await Client.new(server, "carol")
    await server.ok("POST", f"{room}/join", {}, carol.token)
    assert await carol.counted(room) == {}
    await bob.send(room, _text())
    assert await carol.counted(room) == {"main": (1, 0)}
    await server.ok("POST", f"{room}/kick", {"user_id": "@carol:hs.test"}, alice.token)
    await bob.send(room, _text())
    left = await carol.sync(anew=True)
    assert _id_of(room) not in left["rooms"].get("join", {})
    await server.ok("POST", f"{room}/join", {}, carol.token)
    assert await carol.counted(room) == {}
    await bob.send(room, _text())
    assert await carol.counted(room) == {"main": (1, 0)}


@ensureDeferred
async def test_receipt_for_an_event_on_its_way(server: TestServer) -> None:
    """It reads nothing yet, and loses nothing."""
    alice, bob, room = await _two(server)
    await bob.send(room, _text())
    await alice.read(room, "$unknown")
    assert await alice.counted(room) == {"main": (1, 0)}


@ensureDeferred
async def test_only_what_the_filter_takes_is_news(server: TestServer) -> None:
    """A poll whose filter takes no messages goes on; a receipt of one's own ends it, with the count."""
    alice, bob, room = await _two(server)
    event_id = await bob.send(room, _text())
    await alice.sync()
    only_names = path_part('{"room":{"timeline":{"types":["m.room.name"]},"ephemeral":{"types":[]}}}')
    await bob.send(room, _text())
    quiet = await server.ok("GET", f"sync?filter={only_names}&since={alice.since}", None, alice.token)
    assert "rooms" not in quiet
    await alice.read(room, event_id)
    told = await server.ok("GET", f"sync?filter={only_names}&since={alice.since}", None, alice.token)
    shown = told["rooms"]["join"][_id_of(room)]
    assert shown["unread_notifications"] == {"notification_count": 1, "highlight_count": 0}
    assert shown["timeline"]["events"] == []


@define
class Said:
    """An event as the slow reference count looks at it."""

    sender: str
    thread: str
    mentions: bool
    gone: bool = False  # redacted, or purged


@define
class Reference:
    """Counts from everything that ever happened."""

    said: dict[str, Said] = field(factory=dict)
    read: dict[str, int] = field(factory=dict)  # thread, or "" for all: how many events

    def count(self, ignored: Iterable[str], mode: str) -> Counts:
        found: Counts = {}
        for index, one in enumerate(self.said.values()):
            is_read = index < max(self.read.get("", 0), self.read.get(one.thread, 0))
            if is_read or one.gone or one.sender in {"alice", *ignored} or mode == "mute":
                continue
            if mode == "mentions" and not one.mentions:
                continue
            number, loud = found.get(one.thread, (0, 0))
            found[one.thread] = (number + 1, loud + one.mentions)
        return found

    def mark(self, event_id: str, thread: str) -> None:
        reached = list(self.said).index(event_id) + 1
        self.read[thread] = max(self.read.get(thread, 0), reached)


@define
class Scene:
    """A room in which anything happens at random, and the reference that knows of it."""

    chance: random.Random
    alice: Client
    others: list[Client]
    room: str
    reference: Reference = field(factory=Reference)
    roots: list[str] = field(factory=list)
    ignored: list[str] = field(factory=list)
    mode: str = "all"

    @property
    def expected(self) -> Counts:
        return self.reference.count(self.ignored, self.mode)

    async def step(self) -> None:
        known = [one for one, said in self.reference.said.items() if not said.gone]
        steps = [self.say, self.say, self.ignore, self.rule]
        if known:
            steps += [self.say, self.say, self.read, self.read, self.redact]
        if len(known) > 5:
            steps.append(self.purge)
        await self.chance.choice(steps)(known)

    async def say(self, _known: list[str]) -> None:
        speaker = self.chance.choice([self.alice, *self.others, *self.others])
        root = self.chance.choice(["main", *self.roots[-2:]])
        loud = self.chance.random() < 0.3
        content = _text(
            **(_in_thread(root) if root != "main" else {}), **(_mentioning("alice") if loud else {})
        )
        event_id = await speaker.send(self.room, content)
        self.reference.said[event_id] = Said(speaker.name, root, loud)
        if root == "main":
            self.roots.append(event_id)
        if speaker is self.alice:
            self.reference.mark(event_id, root)

    async def read(self, known: list[str]) -> None:
        event_id = self.chance.choice(known)
        thread = self.chance.choice(["", self.reference.said[event_id].thread])
        kind = self.chance.choice(["m.read", "m.read.private"])
        await self.alice.read(self.room, event_id, kind, thread or None)
        self.reference.mark(event_id, thread)

    async def redact(self, known: list[str]) -> None:
        event_id = self.chance.choice(known)
        await self.alice.redact(self.room, event_id)
        self.reference.said[event_id].gone = True

    async def purge(self, known: list[str]) -> None:
        """What was said before one of the newest goes, receipts or not."""
        kept = self.chance.choice(known[-5:])
        steps = Steps(self.alice.server.database)

        def depth(txn: Transaction) -> int:
            return int(txn.value("SELECT depth FROM events WHERE event_id = %s", (kept,)))

        params = PurgeHistoryParams(
            room_id=_id_of(self.room), depth=await steps.do(depth), delete_local_events=True
        )
        await steps.run(PURGE_HISTORY, params)
        for event_id, said in self.reference.said.items():
            if event_id == kept:
                break
            said.gone = True
        self.roots = [root for root in self.roots if not self.reference.said[root].gone]

    async def ignore(self, _known: list[str]) -> None:
        self.ignored = self.chance.choice([[], ["bob"], ["carol"]])
        await self.alice.ignore(*self.ignored)

    async def rule(self, _known: list[str]) -> None:
        """The last one makes the server look at each event, with the same result."""
        rules: dict[str, tuple[str, str, dict[str, Any]]] = {
            "mentions": ("room", _id_of(self.room), {"actions": []}),
            "mute": ("override", "mute", {"actions": [], "conditions": []}),
            "keyword": ("content", "word", {"pattern": "never", "actions": []}),
        }
        for kind, rule_id, _ in rules.values():
            path = f"pushrules/global/{kind}/{path_part(rule_id)}"
            await self.alice.server.call("DELETE", path, None, self.alice.token)
        self.mode = self.chance.choice(["all", *rules])
        if self.mode in rules:
            await self.alice.put_rule(*rules[self.mode])


@pytest.mark.parametrize("seed", range(4))
@ensureDeferred
async def test_counts_as_the_slow_reference(build_server: BuildServer, seed: int) -> None:
    """Whatever happens: the client that polls, one that starts, and a process that has just started."""
    server = await build_server(**OPEN)
    alice, *others = [await Client.new(server, name) for name in ("alice", "bob", "carol")]
    room = await server.room(alice.token)
    for other in others:
        await server.ok("POST", f"{room}/join", {}, other.token)
    await Steps(server.database).open()
    scene = Scene(random.Random(seed), alice, others, room)
    await alice.sync()
    for number in range(60):
        await scene.step()
        if scene.chance.random() < 0.7:
            assert await alice.counted(room) == scene.expected, number
    assert await alice.counted(room) == scene.expected
    await alice.sync(anew=True)
    assert alice.counts.get(_id_of(room), {}) == scene.expected
    await alice.sync(await build_server(**OPEN), anew=True)
    assert alice.counts.get(_id_of(room), {}) == scene.expected


@ensureDeferred
async def test_counts_after_an_upgrade(build_server: BuildServer) -> None:
    """The old room keeps what was unread, the new one starts with nothing; memory and database agree on both."""
    server = await build_server(**OPEN)
    alice, bob, room = await _two(server)
    for number in range(3):
        await alice.send(room, _text(f"{number}"))
    before = await bob.counted(room)
    assert before == {"main": (3, 0)}
    upgraded = await server.ok("POST", f"{room}/upgrade", {"new_version": "12"}, alice.token)
    new = f"rooms/{upgraded['replacement_room']}"
    told = await bob.counted(room)
    await server.ok("POST", f"{new}/join", {}, bob.token)
    assert await bob.counted(new) == {}
    await alice.send(new, _text("welcome"))
    assert await bob.counted(new) == {"main": (1, 0)}
    other = await build_server(**OPEN)
    for fresh in (server, other):
        await bob.sync(fresh, anew=True)
        assert (bob.counts.get(_id_of(room)), bob.counts.get(_id_of(new))) == (told, {"main": (1, 0)})
