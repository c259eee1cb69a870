"""Random histories: memory and database agree, and a client that follows /sync knows what the server knows."""

from collections import Counter
from random import Random
from typing import Any

import orjson
import pytest
from attrs import define, field
from pytest_twisted import ensureDeferred

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.filters import read_sync_filter
from synapse_lite.handlers.sync.values import SyncRequest, SyncResult
from synapse_lite.handlers.sync.writing import write_sync
from synapse_lite.storage import rooms
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.stream import read_position
from tests.builders import ALICE, BOB, MALLORY
from tests.handlers.sync_server import MAX_LIMIT, SyncServer, ids, lazy, limit, requester

CAROL = "@carol:hs.test"
USERS = (ALICE, BOB, CAROL, MALLORY)
SEEDS = range(6)


@define
class History:
    """Rooms in which things happen by chance. Alice founds them and stays."""

    server: SyncServer
    random: Random
    reverting: bool = False
    rooms: list[Room] = field(factory=list)
    said: list[tuple[Room, str, str]] = field(factory=list)
    topics: list[tuple[Room, str]] = field(factory=list)
    members: dict[str, set[str]] = field(factory=dict)

    async def begin(self) -> None:
        for version in ("10", "12"):
            self.rooms.append(await self.server.room(ALICE, BOB, CAROL, version=version))
            self.members[self.rooms[-1].room_id] = {ALICE, BOB, CAROL}

    async def go_on(self, steps: int, *, moving: float = 0.25) -> None:
        """`moving`: how often somebody comes or goes."""
        for _ in range(steps):
            room = self.random.choice(self.rooms)
            await (self._move(room) if self.random.random() < moving else self._act(room))

    async def _move(self, room: Room) -> None:
        members = self.members[room.room_id]
        user_id = self.random.choice(USERS[1:])
        if user_id not in members:
            await self.server.join(room, user_id)
            members.add(user_id)
        elif self.random.random() < 0.6:
            sender = self.random.choice([user_id, ALICE])
            await self.server.member(room, sender, user_id, "leave")
            members.discard(user_id)
        else:
            content = {"membership": "join", "displayname": str(self.random.random())}
            await self.server.set(room, "m.room.member", content, user_id, user_id)

    async def _act(self, room: Room) -> None:
        sender = self.random.choice(sorted(self.members[room.room_id]))
        await self._be_there(room, sender)
        what = self.random.random()
        mine = [event_id for place, event_id, author in self.said if place == room and author == sender]
        if what < 0.2 and mine:
            await self.server.redact(room, self.random.choice(mine[-3:]), sender)
        elif what < 0.4:
            key = str(self.random.randrange(1_000_000) if what < 0.3 else self.random.randrange(3))
            await self.server.set(room, "org.test", {"v": self.random.random() > 0.5, "n": key}, ALICE, key)
        elif what < 0.45 and self.topics and self.reverting:
            place, event_id = self.random.choice(self.topics)
            await self.server.revert(place, ("m.room.topic", ""), event_id)
        elif what < 0.47:
            topic = {"topic": str(self.random.random())}
            self.topics.append((room, await self.server.set(room, "m.room.topic", topic)))
        elif what < 0.5:
            await self.server.do(self.server.world.send, room, "m.image", sender, {"url": "mxc://hs.test/1"})
        else:
            self.said.append((room, await self.server.say(room, sender), sender))

    async def _be_there(self, room: Room, user_id: str) -> None:
        """Sometimes they type, or read."""
        what, ephemeral = self.random.random(), self.server.ephemeral
        if what < 0.2:
            await ephemeral.type(requester(user_id), room.room_id, 60_000 if what < 0.1 else 0)
        elif what < 0.4 and self.said:
            kind = "m.read" if what < 0.3 else "m.read.private"
            place, event_id, _ = self.random.choice(self.said)
            if place == room:
                await ephemeral.read(requester(user_id), room.room_id, {kind: event_id})


def _random_filter(random: Random, room_ids: list[str]) -> JsonObject:
    timeline: JsonObject = {"limit": random.choice([0, 1, 2, 5, 50])}
    room: JsonObject = {"timeline": timeline}
    for place, chance, name, value in (
        (timeline, 0.2, "types", ["m.room.m*", "m.image"]),
        (timeline, 0.2, "not_types", ["m.room.redaction", "org.*"]),
        (timeline, 0.1, "senders", [ALICE, BOB]),
        (timeline, 0.1, "not_senders", [ALICE]),
        (timeline, 0.1, "contains_url", random.random() < 0.5),
        (timeline, 0.1, "not_rooms", room_ids[:1]),
        (room, 0.1, "rooms", room_ids[:1]),
        (room, 0.7, "state", {"lazy_load_members": True}),
        (room, 0.2, "state", {"types": ["org.*"]}),
        (room, 0.1, "ephemeral", {"types": ["m.typing"]}),
        (room, 0.1, "ephemeral", {"not_rooms": room_ids[:1]}),
    ):
        if random.random() < chance:
            place[name] = value
    return {"room": room}


def _comparable(request: SyncRequest, result: SyncResult) -> JsonObject:
    answer: JsonObject = orjson.loads(orjson.dumps(write_sync(request, result, 0)))
    for room in answer.get("rooms", {}).get("join", {}).values():
        room["state"]["events"].sort(key=lambda event: event["event_id"])
    return answer


@pytest.mark.parametrize("seed", SEEDS)
@ensureDeferred
async def test_memory_and_database_give_the_same_answer(server: SyncServer, seed: int) -> None:
    """Whatever memory answers, the database would have answered: for all users, windows and filters."""
    random = Random(seed)
    history = History(server, random)
    await history.begin()
    await history.go_on(40, moving=0.08)
    room_ids = [room.room_id for room in history.rooms]
    outcomes: Counter[str] = Counter()

    end = await server.database.read(read_position)
    for user_id in USERS:
        joined = await server.joined.of(user_id)
        for since in random.sample(range(end // 2, end), 15):
            wanted = read_sync_filter(_random_filter(random, room_ids), MAX_LIMIT)
            request = SyncRequest(requester(user_id), since, 0, wanted)
            live = await server.live.since(request, since, joined)
            if live is not None:
                now_ms = server.clock.now_ms()
                read = await server.database.snapshot(server.reader.since, request, since, now_ms)
                assert _comparable(request, live) == _comparable(request, read), (user_id, since, wanted)
            outcomes["unknown" if live is None else "same"] += 1
    assert outcomes["same"] >= 20, outcomes


@define
class Client:
    """Believes what /sync says, as clients do, and reads what is missing from /messages."""

    server: SyncServer
    user_id: str
    since: str | None = None
    state: dict[str, dict[tuple[str, str], str]] = field(factory=dict)
    events: dict[str, list[str]] = field(factory=dict)
    speakers: dict[str, set[str]] = field(factory=dict)

    async def sync(self, wanted: Any) -> None:
        answer = await self.server.sync(self.user_id, self.since, filter=wanted)
        for room_id in answer.get("rooms", {}).get("leave", {}):
            for known in (self.state, self.events, self.speakers):
                known.pop(room_id, None)
        for room_id, shown in answer.get("rooms", {}).get("join", {}).items():
            state = self.state.setdefault(room_id, {})
            for event in [*shown["state"]["events"], *shown["timeline"]["events"]]:
                if "state_key" in event:
                    state[event["type"], event["state_key"]] = event["event_id"]
            speakers = {event["sender"] for event in shown["timeline"]["events"]}
            self.speakers.setdefault(room_id, set()).update(speakers)
            assert all(("m.room.member", user_id) in state for user_id in speakers)
            await self._take(room_id, shown["timeline"])
        self.since = answer["next_batch"]

    async def _take(self, room_id: str, timeline: JsonObject) -> None:
        """Append a timeline, and fill the gap before it up to what is known."""
        stop = self.since if room_id in self.events else None
        known = self.events.setdefault(room_id, [])
        fresh = [event_id for event_id in ids(timeline["events"]) if event_id not in known]
        start = timeline["prev_batch"] if timeline["limited"] else None
        (room,) = [room for room in await self._rooms() if room.room_id == room_id]
        while start is not None:
            page = await self.server.messages(self.user_id, room, start, stop, limit=3)
            fresh = [e for e in reversed(ids(page["chunk"])) if e not in known] + fresh
            start = page.get("end")
        known += fresh

    async def _rooms(self) -> list[Room]:
        return list((await self.server.do(rooms.rooms_by_nid, range(1, 10_000))).values())


@pytest.mark.parametrize("seed", SEEDS)
@ensureDeferred
async def test_a_client_knows_what_the_server_knows(server: SyncServer, seed: int) -> None:
    """After any history, with any limits: the current state, and every event that may be seen, once, in order."""
    random = Random(seed)
    history = History(server, random, reverting=True)
    await history.begin()
    clients = [Client(server, user_id) for user_id in USERS]
    for _ in range(8):
        await history.go_on(random.randrange(1, 10))
        for client in clients:
            if random.random() < 0.7:
                await client.sync(limit(random.choice([0, 1, 3, 10])))
    for client in clients:
        await client.sync(limit(2))
        inside = {room.room_id for room in history.rooms if client.user_id in history.members[room.room_id]}
        assert client.state.keys() == inside
        for room in history.rooms:
            if room.room_id in inside:
                assert client.state[room.room_id] == await server.do(_current_state, room.nid)
                page = await server.messages(client.user_id, room, limit=MAX_LIMIT)
                assert len(page["chunk"]) < MAX_LIMIT
                everything = ids(page["chunk"])[::-1]
                assert client.events[room.room_id] == everything


@pytest.mark.parametrize("seed", SEEDS)
@ensureDeferred
async def test_a_lazy_client_knows_what_it_needs(server: SyncServer, seed: int) -> None:
    """All state but members; of these everybody who speaks; and nobody's member event is out of date."""
    random = Random(seed)
    history = History(server, random, reverting=True)
    await history.begin()
    clients = [Client(server, user_id) for user_id in USERS]
    for _ in range(10):
        await history.go_on(random.randrange(1, 10), moving=0.4)
        for client in clients:
            if random.random() < 0.7:
                await client.sync(lazy(random.choice([1, 3, 10])))
    for client in clients:
        await client.sync(lazy(2))
        inside = {room.room_id for room in history.rooms if client.user_id in history.members[room.room_id]}
        assert client.state.keys() == inside
        for room in history.rooms:
            if room.room_id in inside:
                current = await server.do(_current_state, room.nid)
                known = client.state[room.room_id]
                assert {key: current[key] for key in known if key in current} == known
                assert all(key in known for key in current if key[0] != "m.room.member")
                assert {
                    ("m.room.member", user_id) for user_id in client.speakers[room.room_id]
                } <= known.keys()


def _current_state(txn: Transaction, room_nid: int) -> dict[tuple[str, str], str]:
    return {
        (kind, key): event_id
        for kind, key, event_id in txn.rows(
            "SELECT c.type, c.state_key, e.event_id FROM current_state c JOIN events e USING (event_nid)"
            " WHERE c.room_nid = %s",
            (room_nid,),
        )
    }
