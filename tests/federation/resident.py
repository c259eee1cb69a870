"""A room of another server with many members, who are left out of the answer to a join."""

from typing import Any
from urllib.parse import unquote

from synapse_lite.canonical_json import JsonObject
from synapse_lite.federation import resync
from synapse_lite.federation.peers import PeerError
from synapse_lite.matrix.event import Draft, Event, build_event
from synapse_lite.matrix.signing import SigningKey
from synapse_lite.storage.events import StoredEvent
from synapse_lite.storage.partial_rooms import is_partial
from synapse_lite.storage.rooms import Room, room_by_id
from synapse_lite.tasks.actions.resync_room import RESYNC_ROOM, ResyncRoom
from tests.federation.hall import CREATOR, FEDERATION, ROOM, VERSION, Hall
from tests.federation.network import Scripted
from tests.federation.pair import join_path
from tests.federation.tasks import run_pending
from tests.server import TestServer, path_part

MANY = resync.FEW + 50
THIRD = "third.test"


class Resident(Hall):
    """A room of `other` with many members, which it leaves out when it is asked to; `is_silent`: it does not tell them either."""

    def __init__(self, other: Scripted, count: int, **levels: Any) -> None:
        super().__init__(other, **levels)
        self.is_silent = False
        self.latest = {one.key: one for one in self.events}
        for number in range(count):
            self.member(self.name_of(number), "join")
        other.scripts[f"{FEDERATION}/v1/state_ids/"] = self.state_ids
        other.scripts[f"{FEDERATION}/v1/state/"] = self.state
        other.scripts[f"{FEDERATION}/v1/event_auth/"] = self.event_auth
        other.scripts[f"{FEDERATION}/v1/event/"] = self.event

    def name_of(self, number: int) -> str:
        return f"@u{number}:{self.other.name}"

    def member(
        self, user_id: str, membership: str, sender: str | None = None, key: SigningKey | None = None
    ) -> Event:
        sender = sender or user_id
        auth = [one.reference for one in (self.auth if membership == "join" else self.auth[:2])]
        auth += [self.latest[key].reference for key in _own(sender, user_id) if key in self.latest]
        draft = Draft("m.room.member", sender, {"membership": membership}, 1000 + len(self.events), user_id)
        previous = [self.events[-1].reference]
        event = build_event(draft, VERSION, ROOM, previous, auth, len(self.events) + 1, key or self.other.key)
        self.events.append(event)
        self.latest[event.key] = event
        return event

    def send(self, method: str, target: str, body: JsonObject | None) -> JsonObject:
        answer = super().send(method, target, body)
        answer["state"] = [one.pdu for one in self.latest.values()]
        if "omit_members=true" not in target:
            return answer
        state = [pdu for pdu in answer["state"] if pdu["type"] != "m.room.member"]
        servers = [self.other.name, THIRD]
        chain = [self.creator.pdu]
        return {
            **answer,
            "state": state,
            "auth_chain": chain,
            "members_omitted": True,
            "servers_in_room": servers,
        }

    def state_ids(self, _method: str, target: str, _body: JsonObject | None) -> JsonObject:
        if self.is_silent:
            raise PeerError("no answer")
        assert self.joined.event_id in unquote(target)
        ids = [one.event_id for one in self.latest.values()]
        return {"pdu_ids": ids, "auth_chain_ids": [one.event_id for one in self.events]}

    def state(self, _method: str, _target: str, _body: JsonObject | None) -> JsonObject:
        pdus = [one.pdu for one in self.latest.values()]
        return {"pdus": pdus, "auth_chain": [one.pdu for one in self.events]}

    def event(self, _method: str, target: str, _body: JsonObject | None) -> JsonObject:
        event_id = unquote(target.rpartition("/")[2])
        return {"pdus": [one.pdu for one in self.events if one.event_id == event_id]}

    def event_auth(self, *_question: object) -> JsonObject:
        return {"auth_chain": [one.pdu for one in self.events]}

    @property
    def joined(self) -> Event:
        """The join of our user."""
        return Event.from_pdu(self.taken[-1], VERSION)

    def says(
        self, user_id: str, kind: str, content: JsonObject, state_key: str | None = None,
        redacts: str | None = None,
    ) -> Event:  # fmt: skip
        """An event that follows our join, by what was known of the user when they came."""
        own = next(one for one in self.events if one.key == ("m.room.member", user_id))
        auth = [one.reference for one in (*(self.auth[:2] if state_key is None else self.auth), own)]
        draft = Draft(kind, user_id, content, 9_000, state_key, redacts)
        joined = self.joined
        return build_event(draft, VERSION, ROOM, [joined.reference], auth, joined.depth + 1, self.other.key)


def _own(sender: str, user_id: str) -> list[tuple[str, str]]:
    return list(dict.fromkeys([("m.room.member", sender), ("m.room.member", user_id)]))


async def entered(server: TestServer, other: Scripted, count: int = MANY) -> tuple[Resident, str]:
    """The room, and the token of bob who has joined it."""
    resident = Resident(other, count)
    return resident, await enter(server, resident)


async def enter(server: TestServer, resident: Resident) -> str:
    """The token of bob, who joins the room."""
    resident.user = f"@bob:{server.name}"
    bob = await server.user("bob")
    await server.ok("POST", join_path(ROOM), {}, bob)
    return bob


def with_banned(other: Scripted, **levels: Any) -> tuple[Resident, str]:
    """The room, and somebody who is banned there, which is left out."""
    resident = Resident(other, MANY, **levels)
    banned = resident.name_of(7)
    resident.member(banned, "ban", CREATOR)
    return resident, banned


async def fetch_members(server: TestServer) -> Any:
    return await run_pending(server, RESYNC_ROOM, ResyncRoom(server.core.federated.resync))


async def room_of(server: TestServer) -> Room:
    room = await server.database.read(room_by_id, ROOM)
    assert room is not None
    return room


async def partial(server: TestServer) -> bool:
    return await server.database.read(is_partial, (await room_of(server)).nid)


async def stored(server: TestServer, event_id: str) -> StoredEvent:
    return (await server.database.read(server.core.events.by_ids, [event_id]))[event_id]


async def shown(server: TestServer, token: str) -> list[str]:
    page = await server.ok("GET", f"rooms/{path_part(ROOM)}/messages?dir=b&limit=50", token=token)
    return [one["content"]["body"] for one in reversed(page["chunk"]) if "body" in one["content"]]
