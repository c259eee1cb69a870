"""Rooms as scripted servers have them: what they build, and what they answer to those who ask."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import attrs
import orjson
from aiohttp import web

from synapse_lite.matrix.auth_rules import auth_keys
from synapse_lite.matrix.event import Draft, Event, StateKey, build_event
from synapse_lite.matrix.room_versions import ROOM_VERSIONS, RoomVersion
from synapse_lite.matrix.signing import SigningKey

VERSION = ROOM_VERSIONS["11"]
FEDERATION = "/_matrix/federation"
State = Mapping[StateKey, Event]


@attrs.define
class PeerRoom:
    """What is built hangs on the last event, so that `events` are branches that do not meet again.

    `befores` are states before events, by id: of all but memberships.
    """

    room_id: str
    version: RoomVersion
    key: SigningKey
    state: dict[StateKey, Event]
    tips: list[Event] = attrs.field(factory=list)
    events: dict[str, Event] = attrs.field(factory=dict)
    befores: dict[str, State] = attrs.field(factory=dict)
    _shared: State | None = None

    def __attrs_post_init__(self) -> None:
        self.events.update({event.event_id: event for event in self.state.values()})

    @classmethod
    def create(cls, key: SigningKey, name: str) -> Self:
        """A public room, of which the user `name` of the key's server is the only member."""
        creator = f"@{name}:{key.server_name}"
        room = cls(f"!{name}:{key.server_name}", VERSION, key, {})
        for kind, content, state_key in (
            ("m.room.create", {"room_version": VERSION.identifier}, ""),
            ("m.room.member", {"membership": "join"}, creator),
            ("m.room.power_levels", {"users": {creator: 100}}, ""),
            ("m.room.join_rules", {"join_rule": "public"}, ""),
            ("m.room.history_visibility", {"history_visibility": "shared"}, ""),
        ):
            room.build(kind, content, creator, state_key)
        return room

    def build(
        self, kind: str, content: dict[str, Any], sender: str, state_key: str | None = None,
        key: SigningKey | None = None,
    ) -> Event:  # fmt: skip
        """The next event of the room, signed by the sender's server (if it is another than the room's: with `key`)."""
        keys = auth_keys(kind, sender, state_key, content, self.version)
        event = build_event(
            Draft(kind, sender, content, int(time.time() * 1000), state_key),
            self.version,
            self.room_id,
            [tip.reference for tip in self.tips],
            [self.state[one].reference for one in keys if one in self.state],
            max((tip.depth for tip in self.tips), default=0) + 1,
            key or self.key,
        )
        self.add(event)
        return event

    def say(self, sender: str, count: int) -> list[Event]:
        content = [{"msgtype": "m.text", "body": f"message {number}"} for number in range(count)]
        return [self.build("m.room.message", one, sender) for one in content]

    def join(self, users: Iterable[tuple[str, SigningKey]], name: str) -> list[Event]:
        """The users join, called `name`."""
        content = {"membership": "join", "displayname": name}
        return [self.build("m.room.member", dict(content), user, user, key) for user, key in users]

    def add(self, event: Event) -> None:
        """An event after all that there are."""
        self.events[event.event_id] = event
        if event.membership is None:
            self._shared = self._shared or dict(self.state)
            self.befores[event.event_id] = self._shared
        if event.is_state:
            self.state[event.key] = event
            self._shared = None
        self.tips = [event]

    def branch(self) -> "PeerRoom":
        """The room as it is now, to go on elsewhere: what is built in one is known to the other, but does not follow it."""
        other = attrs.evolve(self, state=dict(self.state), tips=list(self.tips))
        other.events, other.befores = self.events, self.befores
        return other

    def before(self, event_id: str) -> State | None:
        """The state before an event; None for one that is unknown."""
        passed: dict[StateKey, Event] = {}
        while event_id in self.events and event_id not in self.befores:
            (event_id,) = self.events[event_id].prev_events
            below = self.events[event_id]
            if below.is_state:
                passed.setdefault(below.key, below)
        known = self.befores.get(event_id)
        return None if known is None else {**known, **passed}

    def template(self, user: str) -> dict[str, Any]:
        """What `make_join` proposes."""
        content = {"membership": "join"}
        keys = auth_keys("m.room.member", user, user, content, self.version)
        return {
            "type": "m.room.member",
            "room_id": self.room_id,
            "sender": user,
            "state_key": user,
            "content": content,
            "depth": self.tips[0].depth + 1,
            "origin_server_ts": int(time.time() * 1000),
            "prev_events": [tip.reference for tip in self.tips],
            "auth_events": [self.state[key].reference for key in keys if key in self.state],
        }

    def auth_chain(self, events: Iterable[Event]) -> list[Event]:
        found: dict[str, Event] = {}
        waiting = [one for event in events for one in event.auth_events]
        while waiting:
            event_id = waiting.pop()
            if event_id not in found:
                found[event_id] = self.events[event_id]
                waiting += self.events[event_id].auth_events
        return list(found.values())

    def below(self, event_ids: Sequence[str], stop: Iterable[str] = ()) -> Iterator[Event]:
        """The events and what they follow, newest first, as far as `stop`."""
        seen = set(stop)
        level = [one for one in event_ids if one in self.events]
        while level:
            new = [one for one in dict.fromkeys(level) if one not in seen]
            seen.update(new)
            yield from (self.events[one] for one in new)
            level = [below for one in new for below in self.events[one].prev_events]


class RoomAnswers:
    """What servers in the rooms answer about them."""

    def __init__(self, rooms: Mapping[str, PeerRoom]) -> None:
        self._rooms = rooms

    def add_to(self, app: web.Application) -> None:
        v1 = f"{FEDERATION}/v1"
        app.router.add_get(f"{v1}/make_join/{{room}}/{{user}}", self._of(_make_join))
        app.router.add_put(f"{FEDERATION}/v2/send_join/{{room}}/{{event}}", self._send_join)
        app.router.add_post(f"{v1}/get_missing_events/{{room}}", self._missing)
        app.router.add_get(f"{v1}/backfill/{{room}}", self._of(_backfill))
        app.router.add_get(f"{v1}/state/{{room}}", self._of(_state))
        app.router.add_get(f"{v1}/state_ids/{{room}}", self._of(_state_ids))
        app.router.add_get(f"{v1}/event_auth/{{room}}/{{event}}", self._of(_event_auth))
        app.router.add_get(f"{v1}/event/{{event}}", self._event)

    def _of(self, answer: Callable[[PeerRoom, web.Request], Any]) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.Response:
            return _json(answer(self._room(request), request))

        return handle

    def _room(self, request: web.Request) -> PeerRoom:
        room = self._rooms.get(request.match_info["room"])
        if room is None:
            raise web.HTTPNotFound
        return room

    async def _send_join(self, request: web.Request) -> web.Response:
        """Without members, if they are not asked for, as real servers answer."""
        room = self._room(request)
        omitted = request.query.get("omit_members") == "true"
        state = [one for one in room.state.values() if not omitted or one.type != "m.room.member"]
        event = Event.from_pdu(orjson.loads(await request.read()), room.version)
        servers = {one.sender.partition(":")[2] for one in room.state.values()}
        room.add(event)
        return _json(
            {
                "origin": room.key.server_name,
                "state": _pdus(state),
                "auth_chain": _pdus(room.auth_chain([*state, event])),
                "event": event.pdu,
                "members_omitted": omitted,
                **({"servers_in_room": sorted(servers)} if omitted else {}),
            }
        )

    async def _missing(self, request: web.Request) -> web.Response:
        room, body = self._room(request), orjson.loads(await request.read())
        latest = [one for event_id in body["latest_events"] for one in room.events[event_id].prev_events]
        found = list(itertools.islice(room.below(latest, body["earliest_events"]), body.get("limit", 10)))
        return _json({"events": _pdus(reversed(found))})

    async def _event(self, request: web.Request) -> web.Response:
        for room in self._rooms.values():
            event = room.events.get(request.match_info["event"])
            if event is not None:
                return _json({"origin": room.key.server_name, "origin_server_ts": 1, "pdus": [event.pdu]})
        raise web.HTTPNotFound


def _make_join(room: PeerRoom, request: web.Request) -> Any:
    return {"room_version": room.version.identifier, "event": room.template(request.match_info["user"])}


def _backfill(room: PeerRoom, request: web.Request) -> Any:
    events = room.below(request.query.getall("v"))
    found = itertools.islice(events, int(request.query["limit"]))
    return {"origin": room.key.server_name, "origin_server_ts": 1, "pdus": _pdus(found)}


def _state_before(room: PeerRoom, request: web.Request) -> list[Event]:
    state = room.before(request.query["event_id"])
    if state is None:
        raise web.HTTPNotFound
    return list(state.values())


def _state(room: PeerRoom, request: web.Request) -> Any:
    state = _state_before(room, request)
    return {"pdus": _pdus(state), "auth_chain": _pdus(room.auth_chain(state))}


def _state_ids(room: PeerRoom, request: web.Request) -> Any:
    state = _state_before(room, request)
    chain = room.auth_chain(state)
    return {"pdu_ids": [one.event_id for one in state], "auth_chain_ids": [one.event_id for one in chain]}


def _event_auth(room: PeerRoom, request: web.Request) -> Any:
    event = room.events.get(request.match_info["event"])
    if event is None:
        raise web.HTTPNotFound
    return {"auth_chain": _pdus(room.auth_chain([event]))}


def _pdus(events: Iterable[Event]) -> list[Any]:
    return [event.pdu for event in events]


def _json(content: Any) -> web.Response:
    return web.Response(body=orjson.dumps(content), content_type="application/json")
