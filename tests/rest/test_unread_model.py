"""Unread counts beside a slow reference that counts everything that ever happened."""

import random
from collections.abc import Iterable
from typing import Any

import pytest
from attrs import define, field
from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import Transaction
from synapse_lite.tasks.actions.purge_history import PURGE_HISTORY, PurgeHistoryParams
from tests.rest.conftest import BuildServer
from tests.rest.counting import Client, Counts, id_of, in_thread, mentioning, text
from tests.server import OPEN, path_part
from tests.tasks.steps import Steps


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
        content = text(**(in_thread(root) if root != "main" else {}), **(mentioning("alice") if loud else {}))
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
            room_id=id_of(self.room), depth=await steps.do(depth), delete_local_events=True
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
            "mentions": ("room", id_of(self.room), {"actions": []}),
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
    assert alice.counts.get(id_of(room), {}) == scene.expected
    await alice.sync(await build_server(**OPEN), anew=True)
    assert alice.counts.get(id_of(room), {}) == scene.expected
