"""What another server knows of a room, and tells who asks for what is missing."""

from urllib.parse import unquote

from synapse_lite.canonical_json import JsonObject
from synapse_lite.federation.peers import PeerError
from synapse_lite.matrix.event import Event
from tests.federation.network import Network
from tests.federation.remote_room import RemoteRoom, send, texts
from tests.server import TestServer

V1 = "/_matrix/federation/v1"


class History:
    """What `other` knows of the room, and answers as a good server does."""

    def __init__(self, room: RemoteRoom) -> None:
        self.room = room
        self.events: dict[str, Event] = {}
        self.states: dict[str, list[Event]] = {}
        scripts = room.other.scripts
        scripts[f"{V1}/get_missing_events"] = self.missing
        scripts[f"{V1}/state_ids"] = self.state_ids
        scripts[f"{V1}/state/"] = self.state
        scripts[f"{V1}/event/"] = self.event
        scripts[f"{V1}/event_auth/"] = self.event_auth

    def add(self, event: Event, state: list[Event] | None = None) -> Event:
        """`state` is that before the event."""
        self.events[event.event_id] = event
        self.states[event.event_id] = list(self.room.state.values()) if state is None else state
        return event

    async def chain(self, count: int, first: Event | None = None) -> list[Event]:
        """Messages, each after the one before it."""
        said = [] if first is None else [first]
        for number in range(count):
            said.append(self.add(await self.room.say(str(number), previous=said[-1:] or None)))
        return said

    def missing(self, _method: str, _target: str, body: JsonObject | None) -> JsonObject:
        assert body is not None
        found: list[Event] = []
        frontier = list(body["latest_events"])
        while frontier and len(found) < body["limit"]:
            event = self.events.get(frontier.pop(0))
            for event_id in event.prev_events if event else ():
                if event_id not in body["earliest_events"] and event_id in self.events:
                    found.append(self.events[event_id])
                    frontier.append(event_id)
        return {"events": [event.pdu for event in found[: body["limit"]]]}

    def state_ids(self, _method: str, target: str, _body: object) -> JsonObject:
        state = self.states[unquote(target.rpartition("=")[2])]
        return {"pdu_ids": [one.event_id for one in state], "auth_chain_ids": self.auth_ids(state)}

    def state(self, _method: str, target: str, _body: object) -> JsonObject:
        state = self.states[unquote(target.rpartition("=")[2])]
        return {"pdus": [one.pdu for one in state], "auth_chain": []}

    def event(self, _method: str, target: str, _body: object) -> JsonObject:
        event_id = unquote(target.rpartition("/")[2])
        if event_id not in self.events:
            raise PeerError("unknown", 404, "M_NOT_FOUND")
        return {"origin": "x", "origin_server_ts": 1, "pdus": [self.events[event_id].pdu]}

    def event_auth(self, _method: str, target: str, _body: object) -> JsonObject:
        event_id = unquote(target.rpartition("/")[2])
        return {"auth_chain": [self.events[one].pdu for one in self.auth_ids([self.events[event_id]])]}

    def auth_ids(self, events: list[Event]) -> list[str]:
        found: dict[str, None] = {}
        frontier = [one for event in events for one in event.auth_events]
        while frontier:
            event_id = frontier.pop()
            if event_id in self.events and event_id not in found:
                found[event_id] = None
                frontier += self.events[event_id].auth_events
        return list(found)


async def joined_by_third(room: RemoteRoom, network: Network) -> RemoteRoom:
    """The room as one more server has it."""
    third = RemoteRoom(room.server, network.scripted("third.test"), room.room_id)
    await third.join()
    await room.look()
    return third


def counts(network: Network) -> dict[str, int]:
    found: dict[str, int] = {}
    for _, _, target in network.asked:
        name = target.removeprefix(f"{V1}/").partition("/")[0]
        found[name] = found.get(name, 0) + 1
    return found


async def refuse_nothing_else(server: TestServer, room: RemoteRoom, token: str) -> None:
    """The room goes on after whatever was sent."""
    await room.look()
    fine = await room.say("fine")
    await send(server, room.other, fine.pdu)
    assert (await texts(server, room, token))[-1] == "fine"
