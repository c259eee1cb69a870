"""A room of a scripted server that one may join, and what it answers to who does."""

from collections.abc import Callable
from typing import Any

from synapse_lite.canonical_json import JsonObject
from synapse_lite.matrix.event import Draft, Event, StateKey, build_event
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from tests.federation.network import Scripted

FEDERATION = "/_matrix/federation"
VERSION = ROOM_VERSIONS["10"]
ROOM = "!room:other.test"
CREATOR = "@carol:other.test"


class Hall:
    """A public room of `other` that the test keeps by hand; `proposed` and `answered` may change what it says."""

    def __init__(self, other: Scripted, **levels: Any) -> None:
        """`levels`: more of the power levels, where not the usual ones hold."""
        self.other = other
        self.events: list[Event] = []
        self.taken: list[JsonObject] = []
        self.proposed: Callable[[JsonObject], JsonObject] = lambda proposal: proposal
        self.answered: Callable[[JsonObject], JsonObject] = lambda answer: answer
        create = self.add("m.room.create", {"creator": CREATOR, "room_version": "10"})
        joined = self.add("m.room.member", {"membership": "join"}, CREATOR)
        powers = self.add("m.room.power_levels", {"users": {CREATOR: 100}} | levels)
        rules = self.add("m.room.join_rules", {"join_rule": "public"})
        self.auth = [create, powers, rules]
        self.creator = joined
        other.scripts[f"{FEDERATION}/v1/make_join/"] = self.make
        other.scripts[f"{FEDERATION}/v2/send_join/"] = self.send

    def add(self, kind: str, content: JsonObject, state_key: str | None = "", sender: str = CREATOR) -> Event:
        self.events.append(self.build(kind, content, state_key, sender))
        return self.events[-1]

    @property
    def current(self) -> dict[StateKey, Event]:
        return {one.key: one for one in self.events if one.is_state}

    def build(self, kind: str, content: JsonObject, state_key: str | None, sender: str = CREATOR) -> Event:
        by_key = self.current
        names = [("m.room.create", ""), ("m.room.power_levels", ""), ("m.room.member", sender)]
        if content.get("membership") == "join":
            names.append(("m.room.join_rules", ""))
        auth = [by_key[name].reference for name in names if name in by_key]
        previous = [self.events[-1].reference] if self.events else []
        draft = Draft(kind, sender, content, 1000 + len(self.events), state_key)
        return build_event(draft, VERSION, ROOM, previous, auth, len(self.events) + 1, self.other.key)

    def make(self, _method: str, target: str, _body: JsonObject | None) -> JsonObject:
        event = {
            "type": "m.room.member", "sender": self.user, "state_key": self.user, "room_id": ROOM,
            "content": {"membership": "join"}, "origin_server_ts": 5, "depth": 6,
            "prev_events": [self.events[-1].event_id], "auth_events": [one.event_id for one in self.auth],
        }  # fmt: skip
        return self.proposed({"room_version": "10", "event": event})

    def send(self, _method: str, _target: str, body: JsonObject | None) -> JsonObject:
        assert body is not None
        self.taken.append(body)
        state, chain = ([one.pdu for one in some] for some in (self.current.values(), self.events))
        return self.answered({"state": state, "auth_chain": chain, "event": body, "members_omitted": False})

    user: str = ""
