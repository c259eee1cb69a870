"""A room of ours as a scripted server takes part in it."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from attrs import define, field
from twisted.internet import reactor

from synapse_lite.federation.staging import StagedRooms
from synapse_lite.matrix.auth_rules import auth_keys
from synapse_lite.matrix.event import Draft, Event, StateKey, build_event
from synapse_lite.matrix.signing import SigningKey
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import StoredEvent
from synapse_lite.storage.heads import read_head
from synapse_lite.storage.rooms import Room, room_by_id
from synapse_lite.storage.stream import read_position
from tests.federation.network import Scripted
from tests.server import TestServer

TRANSACTIONS = count()
PATIENCE = 20_000  # looks


async def settle(server: TestServer) -> None:
    """Until what was sent is in its rooms."""
    (staged,) = [
        life for feature in server.features for life in feature.lives if isinstance(life, StagedRooms)
    ]
    await staged.settled()


@asynccontextmanager
async def second_process(server: TestServer, arguments: dict[str, Any]) -> AsyncIterator[TestServer]:
    """One more of the same server, with `arguments` for its database."""
    database = Database(reactor, arguments, name="second", size=2, settings={})
    database.start()
    peers = server.core.federation.peers
    second = TestServer(
        database, bus=server.bus, peers=peers, signing_key=server.signing_key, trusted_key_servers=[]
    )
    await second.start()
    try:
        yield second
    finally:
        await second.stop()
        database.stop()


async def until(server: TestServer, holds: Callable[[Transaction], Any]) -> None:
    """AssertionError when it does not come to that, by many looks into the database."""
    for _ in range(PATIENCE):
        if await server.database.read(holds):
            return
    raise AssertionError("It does not come to that")


async def catch_up(server: TestServer) -> None:
    """Until it knows all that was committed, by whomever."""
    await settle(server)
    while server.core.log.position < await server.database.read(read_position):
        server.core.log._read_on()


async def send(
    server: TestServer, other: Scripted, *pdus: Any, edus: Sequence[Any] = (), txn_id: str | None = None
) -> dict[str, Any]:
    """The results of a transaction that must be taken, once its events are in their rooms."""
    body = {"origin": other.name, "origin_server_ts": 1, "pdus": list(pdus), "edus": list(edus)}
    txn_id = txn_id or f"t{next(TRANSACTIONS)}"
    status, answer = await other.ask(server, "PUT", f"/_matrix/federation/v1/send/{txn_id}", body)
    assert status == 200, answer
    await settle(server)
    results: dict[str, Any] = answer["pdus"]
    return results


@define
class RemoteRoom:
    """What `other` builds hangs on the room's head, unless told otherwise."""

    server: TestServer
    other: Scripted
    room_id: str
    state: dict[StateKey, Event] = field(factory=dict)
    tips: list[Event] = field(factory=list)

    @property
    def user(self) -> str:
        return f"@carol:{self.other.name}"

    async def look(self) -> None:
        """Learn the head of the room from the server."""

        def read(txn: Transaction) -> tuple[dict[StateKey, Event], list[Event]]:
            room = room_by_id(txn, self.room_id)
            assert room is not None
            head = read_head(txn, room.nid)
            assert head is not None
            whole = self.server.core.state.whole(txn, head.snapshot_nid)
            events = self.server.core.events.load(txn, [*whole.values(), *head.extremities])
            state = {key: events[nid].event for key, nid in whole.items()}
            return state, [events[nid].event for nid in head.extremities]

        self.state, self.tips = await self.server.database.read(read)

    async def room(self) -> Room:
        room = await self.server.database.read(room_by_id, self.room_id)
        assert room is not None
        return room

    async def build(
        self, kind: str, content: dict[str, Any], state_key: str | None = None, *, sender: str | None = None,
        previous: Sequence[Event] | None = None, state: Mapping[StateKey, Event] | None = None,
        key: SigningKey | None = None, redacts: str | None = None, ts: int | None = None,
    ) -> Event:  # fmt: skip
        room = await self.room()
        state = self.state if state is None else state
        previous = self.tips if previous is None else previous
        sender = sender or self.user
        draft = Draft(
            kind, sender, content, self.server.clock.now_ms() if ts is None else ts, state_key, redacts
        )
        keys = auth_keys(kind, sender, state_key, content, room.version)
        return build_event(
            draft, room.version, self.room_id, [one.reference for one in previous],
            [state[one].reference for one in keys if one in state],
            max((one.depth for one in previous), default=0) + 1, key or self.other.key,
        )  # fmt: skip

    async def join(self) -> Event:
        """The user of `other` joins the public room."""
        await self.look()
        event = await self.build("m.room.member", {"membership": "join"}, self.user)
        assert await send(self.server, self.other, event.pdu) == {event.event_id: {}}
        assert await self.membership(self.user) == "join"
        await self.look()
        return event

    async def say(self, text: str, **more: Any) -> Event:
        """Build a message, without sending it."""
        return await self.build("m.room.message", {"msgtype": "m.text", "body": text}, **more)

    async def membership(self, user_id: str) -> str | None:
        return await self.server.database.read(
            lambda txn: txn.value(
                "SELECT membership FROM memberships JOIN rooms USING (room_nid)"
                " WHERE room_id = %s AND user_id = %s",
                (self.room_id, user_id),
            )
        )

    async def stored(self, event: Event | str) -> StoredEvent | None:
        event_id = event if isinstance(event, str) else event.event_id
        found = await self.server.database.read(self.server.core.events.by_ids, [event_id])
        return found.get(event_id)


async def remote_room(server: TestServer, other: Scripted, **body: Any) -> tuple[RemoteRoom, str]:
    """A public room of alice that carol of `other` has joined, and alice's token."""
    token = await server.user("alice")
    path = await server.room(token, **body)
    room = RemoteRoom(server, other, path.removeprefix("rooms/"))
    await room.join()
    return room, token


async def texts(server: TestServer, room: RemoteRoom, token: str) -> list[str]:
    """What the messages of the room say, oldest first."""
    page = await server.ok("GET", f"rooms/{room.room_id}/messages?dir=b&limit=100", None, token)
    return [e["content"].get("body", "?") for e in reversed(page["chunk"]) if e["type"] == "m.room.message"]


async def typists(server: TestServer, room: RemoteRoom, token: str) -> list[str]:
    synced = await server.ok("GET", "sync", None, token)
    ephemeral = synced["rooms"]["join"][room.room_id]["ephemeral"]["events"]
    return [
        user for event in ephemeral if event["type"] == "m.typing" for user in event["content"]["user_ids"]
    ]
