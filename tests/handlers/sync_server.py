"""One process as far as /sync is concerned, on a real database: a write path, a log of the stream, readers."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredQueue, ensureDeferred

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.filters import EventFilter, read_event_filter, read_sync_filter
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.sync.values import SyncRequest
from synapse_lite.handlers.tokens import read_token
from synapse_lite.replication.bus import Bus
from synapse_lite.replication.changes import POLL_SECONDS, ChangeLog
from synapse_lite.replication.waiters import Waiter
from synapse_lite.rooms.values import Write
from synapse_lite.storage import rooms
from synapse_lite.storage.account_data import put_account_data
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.event_transactions import ClientRequest
from synapse_lite.storage.events import StoredEvent
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.stream import read_position
from synapse_lite.workers.features import account_data, ephemeral, sync
from synapse_lite.workers.features.history import history_handler
from tests.builders import ALICE, World
from tests.server import TestServer

MAX_LIMIT = 100
FEATURES = (account_data.build, ephemeral.build, sync.build)


def requester(user_id: str, device: str = "DEVICE") -> Requester:
    return Requester(user_id, device, f"{user_id} {device}")


def waiters(log: ChangeLog) -> DeferredQueue[str]:
    """Who begins to wait, from now on."""
    wait, waiting = log.wait, DeferredQueue[str]()

    async def observed(waiter: Waiter, seconds: float) -> bool:
        ended = ensureDeferred(wait(waiter, seconds))
        if seconds > 0:
            reactor.callLater(0, waiting.put, waiter.user_id)
        return await ended

    log.wait = observed  # type: ignore[method-assign]
    return waiting


class SyncServer:
    """Call `start` first. `options` are those of homeserver.yaml."""

    def __init__(self, database: Database, bus: Bus | None = None, **options: Any) -> None:
        self.database = database
        server = TestServer(database, bus=bus, features=FEATURES, **options)
        core = server.core
        self.clock = server.clock
        self.world = World.of(core)
        self.log = core.log
        self.waiting = waiters(core.log)
        self.joined = core.rooms.joined
        self.handler = sync.sync_handler(core)
        self.reader = self.handler._reader
        self.live = self.handler._live
        self.history = history_handler(core)
        self.ephemeral = ephemeral.ephemeral_handler(core)

    async def start(self) -> None:
        await self.log.start()

    # Reading

    async def sync(
        self, user_id: str, since: str | None = None, *, device: str = "DEVICE", timeout_ms: int = 0,
        filter: Mapping[str, Any] | None = None, full_state: bool = False,  # noqa: A002 (as the API has it)
    ) -> JsonObject:  # fmt: skip
        wanted = SyncRequest(
            requester(user_id, device),
            None if since is None else read_token(since).whole,
            timeout_ms,
            read_sync_filter(dict(filter or {}), MAX_LIMIT),
            full_state,
        )
        answer: JsonObject = orjson.loads(await self.handler.sync(wanted))
        return answer

    async def poll(self, user_id: str, since: str, **more: Any) -> "Deferred[JsonObject]":
        """A long poll that waits already."""
        self.waiting.pending.clear()
        answer = ensureDeferred(self.sync(user_id, since, **{"timeout_ms": 30_000, **more}))
        waiting = self.waiting.get()

        def end(result: Any) -> Any:
            if not waiting.called:
                waiting.callback("nobody")
            return result

        answer.addBoth(end)
        await waiting
        assert not answer.called
        return answer

    async def catch_up(self) -> None:
        """Poll the database until this process has seen what others wrote."""
        position = await self.database.read(read_position)
        while self.log.position < position:
            if not self.log._reading:
                self.clock.advance(POLL_SECONDS)
            await self.database.read(read_position)

    async def token(self, user_id: str = ALICE) -> str:
        """A `since` for everything that follows."""
        token: str = (await self.sync(user_id))["next_batch"]
        return token

    async def messages(
        self, user_id: str, room: Room, start: str | None = None, stop: str | None = None, *,
        dir: str = "b", limit: int = 10, **filter: Any,  # noqa: A002 (as the API has it)
    ) -> JsonObject:  # fmt: skip
        answer = await self.history.messages(
            requester(user_id),
            room.room_id,
            read_token(start) if start else None,
            read_token(stop) if stop else None,
            backwards=dir == "b",
            selection=selection(limit=limit, **filter),
        )
        return decoded(answer)

    async def context(self, user_id: str, room: Room, event_id: str, **filter: Any) -> JsonObject:  # noqa: A002
        return decoded(
            await self.history.context(requester(user_id), room.room_id, event_id, selection(**filter))
        )

    async def event(self, user_id: str, room: Room, event_id: str, device: str = "DEVICE") -> JsonObject:
        answer: JsonObject = orjson.loads(
            await self.history.event(requester(user_id, device), room.room_id, event_id)
        )
        return answer

    # Writing

    async def do(self, function: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        """A function of the world, in a transaction of its own."""
        return await self.database.transact(function, *arguments, **more)

    async def room(self, *users: str, version: str = "12") -> Room:
        room: Room = await self.do(self.world.room, *users, version=version)
        return room

    async def say(self, room: Room, sender: str, text: str = "hello") -> str:
        return _id(await self.do(self.world.message, room, sender, text))

    async def say_all(self, room: Room, sender: str, texts: list[str]) -> list[str]:
        """Many messages in one transaction."""
        return await self.do(lambda txn: [_id(self.world.message(txn, room, sender, text)) for text in texts])

    async def member(self, room: Room, sender: str, target: str, membership: str) -> str:
        return _id(await self.do(self.world.member, room, sender, target, membership))

    async def join(self, room: Room, user_id: str) -> str:
        return await self.member(room, user_id, user_id, "join")

    async def leave(self, room: Room, user_id: str) -> str:
        return await self.member(room, user_id, user_id, "leave")

    async def set(
        self, room: Room, kind: str, content: Mapping[str, Any], sender: str = ALICE, key: str | None = ""
    ) -> str:
        return _id(await self.do(self.world.send, room, kind, sender, content, state_key=key))

    async def show_history_to(self, room: Room, visibility: str) -> str:
        return await self.set(room, "m.room.history_visibility", {"history_visibility": visibility})

    async def redact(self, room: Room, event_id: str, sender: str = ALICE) -> str:
        content = {"reason": "why not"}
        return _id(
            await self.do(self.world.send, room, "m.room.redaction", sender, content, redacts=event_id)
        )

    async def say_as(self, room: Room, who: Requester, txn_id: str) -> str:
        """A message with a transaction id."""

        def send(txn: Transaction) -> str:
            draft = self.world.draft("m.room.message", who.user_id, {"body": txn_id})
            request = ClientRequest(who.session, "send", txn_id)
            (result,) = self.world.appender.append(txn, [Write(room.nid, draft, request)])
            assert isinstance(result, StoredEvent)
            return result.event.event_id

        return str(await self.do(send))

    async def revert(self, room: Room, key: tuple[str, str], event_id: str | None) -> None:
        """What a resolution may do when branches meet: another event of the key is in force, or none."""
        await self.do(self.world.revert, room, key, event_id)

    async def put_account_data(
        self, user_id: str, kind: str, content: JsonObject, room: Room | None = None
    ) -> None:
        await self.do(put_account_data, user_id, room.nid if room else 0, kind, content)

    async def forget(self, room: Room, user_id: str) -> None:
        await self.do(rooms.forget, room.nid, user_id)


def selection(**filter: Any) -> EventFilter:  # noqa: A002 (as the API has it)
    return read_event_filter(filter, MAX_LIMIT)


def decoded(answer: Any) -> Any:
    return orjson.loads(orjson.dumps(answer))


def ids(events: list[JsonObject]) -> list[str]:
    return [event["event_id"] for event in events]


def timeline_ids(answer: JsonObject, room: Room, section: str = "join") -> list[str]:
    return ids(answer["rooms"][section][room.room_id]["timeline"]["events"])


def section(answer: JsonObject, room: Room, name: str = "join") -> JsonObject:
    found: JsonObject = answer["rooms"][name][room.room_id]
    return found


def state_keys(answer: JsonObject, room: Room, name: str = "join") -> set[tuple[str, str]]:
    return {(event["type"], event["state_key"]) for event in section(answer, room, name)["state"]["events"]}


def limit(number: int, **more: Any) -> JsonObject:
    """A filter for /sync."""
    return {"room": {"timeline": {"limit": number}, **more}}


def lazy(number: int = 10) -> JsonObject:
    return limit(number, state={"lazy_load_members": True})


def _id(stored: StoredEvent) -> str:
    return stored.event.event_id
