"""A small room to test the rules on."""

from collections.abc import Collection, Mapping

from nacl.signing import SigningKey as Ed25519Key

from synapse_lite.canonical_json import JsonObject
from synapse_lite.matrix.auth_rules import auth_keys, check_event
from synapse_lite.matrix.event import Draft, Event, Reference, build_event
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.matrix.signing import SigningKey

ALICE = "@alice:a.example"
BOB = "@bob:b.example"
CAROL = "@carol:c.example"
DAVE = "@dave:a.example"

KEY = SigningKey("a.example", "1", Ed25519Key(b"\x01" * 32))

StateDict = dict[tuple[str, str], Event]


class Room:
    """Events on one state; `send` moves the state on, `build` only makes the event.

    Alice makes the room and joins. Time goes on by one with every event, unless told otherwise.
    """

    def __init__(self, version: str, create: JsonObject | None = None) -> None:
        self.version = ROOM_VERSIONS[version]
        self.room_id = "!room:a.example"
        self.state: StateDict = {}
        self.events: dict[str, Event] = {}
        self.clock = 1000
        content = {"room_version": version, **({} if self.version.implicit_creator else {"creator": ALICE})}
        self.create = self.send(ALICE, "m.room.create", content | (create or {}), "", prev=[])
        self.room_id = self.create.room_id
        self.join(ALICE)

    def build(
        self,
        sender: str,
        event_type: str,
        content: JsonObject,
        state_key: str | None = None,
        *,
        prev: list[str] | None = None,
        on: StateDict | None = None,
        ts: int | None = None,
        redacts: str | None = None,
    ) -> Event:
        state = self.state if on is None else on
        self.clock += 1
        keys = auth_keys(event_type, sender, state_key, content, self.version)
        is_root = event_type == "m.room.create" and self.version.room_id_is_hash
        event = build_event(
            Draft(event_type, sender, content, ts or self.clock, state_key, redacts),
            self.version,
            None if is_root else self.room_id,
            [self.reference(event_id) for event_id in (["$somewhere:a.example"] if prev is None else prev)],
            [state[key].reference for key in keys if key in state],
            5,
            KEY,
        )
        self.events[event.event_id] = event
        return event

    def reference(self, event_id: str) -> Reference:
        """To an event of this room, or to one that nobody knows."""
        if event_id in self.events:
            return self.events[event_id].reference
        return event_id if self.version.event_id_is_hash else [event_id, {"sha256": "x"}]

    def send(
        self, sender: str, event_type: str, content: JsonObject, state_key: str, prev: list[str] | None = None
    ) -> Event:
        """Build, check, and make it part of the state."""
        event = self.build(sender, event_type, content, state_key, prev=prev)
        check_event(event, self.state)
        self.state[event.key] = event
        return event

    def join(self, user_id: str) -> Event:
        if user_id == ALICE:
            return self.send(
                ALICE, "m.room.member", {"membership": "join"}, ALICE, prev=[self.create.event_id]
            )
        return self.send(user_id, "m.room.member", {"membership": "join"}, user_id)

    def open(self) -> Event:
        return self.rule("public")

    def rule(self, join_rule: str) -> Event:
        return self.send(ALICE, "m.room.join_rules", {"join_rule": join_rule}, "")

    def levels(self, users: Mapping[str, int], **content: object) -> Event:
        """Power levels by Alice; she has 100 where creators are not privileged."""
        everybody = dict(users) if self.version.privileged_creators else {ALICE: 100, **users}
        return self.send(ALICE, "m.room.power_levels", {"users": everybody, **content}, "")

    def put(self, sender: str, membership: str, target: str) -> Event:
        """Force a membership into the state, allowed or not."""
        event = self.build(sender, "m.room.member", {"membership": membership}, target)
        self.state[event.key] = event
        return event

    def allows(self, event: Event) -> None:
        check_event(event, self.state)

    def fetch(self, event_ids: Collection[str]) -> dict[str, Event]:
        return {event_id: self.events[event_id] for event_id in event_ids if event_id in self.events}
