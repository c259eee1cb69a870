"""Rooms and events in one line, through the real storage."""

from collections.abc import Mapping
from typing import Any

from attrs import define, field

from synapse_lite.clock import Clock
from synapse_lite.errors import MatrixError
from synapse_lite.matrix.event import Draft
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.matrix.signing import generate_signing_key
from synapse_lite.storage.append import EventAppender, Result
from synapse_lite.storage.branches import Anchor, Room, Write
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore, StoredEvent
from synapse_lite.storage.state import StateStore

SERVER = "hs.test"
ALICE, BOB, MALLORY = (f"@{name}:{SERVER}" for name in ("alice", "bob", "mallory"))


class TickingClock:
    """Each look at the clock is a second later."""

    def __init__(self) -> None:
        self._now = 1_700_000_000_000

    def now_ms(self) -> int:
        self._now += 1000
        return self._now


@define
class World:
    """The write path of one process."""

    clock: Any = field(factory=TickingClock)
    events: EventStore = field(factory=lambda: EventStore(10_000_000))
    state: StateStore = field(factory=lambda: StateStore(10_000_000))
    appender: EventAppender = field(init=False)

    def __attrs_post_init__(self) -> None:
        key = generate_signing_key(SERVER)
        self.appender = EventAppender(self.events, self.state, key, self.clock, forget_on_leave=False)

    def draft(self, kind: str, sender: str, content: Mapping[str, Any], **more: Any) -> Draft:
        return Draft(kind, sender, dict(content), self.clock.now_ms(), **more)

    def try_send(self, txn: Transaction, room: Room, kind: str, sender: str, content: Mapping[str, Any],
                 *, anchor: Anchor | None = None, privileged: bool = False, **more: Any) -> Result:  # fmt: skip
        draft = self.draft(kind, sender, content, **more)
        return self.appender.append(txn, [Write(room.nid, draft, anchor=anchor, privileged=privileged)])[0]

    def send(self, txn: Transaction, room: Room, kind: str, sender: str, content: Mapping[str, Any],
             **more: Any) -> StoredEvent:  # fmt: skip
        result = self.try_send(txn, room, kind, sender, content, **more)
        if isinstance(result, MatrixError):
            raise result
        return result

    def message(self, txn: Transaction, room: Room, sender: str, text: str = "hello") -> StoredEvent:
        return self.send(txn, room, "m.room.message", sender, {"msgtype": "m.text", "body": text})

    def member(self, txn: Transaction, room: Room, sender: str, target: str, membership: str) -> StoredEvent:
        return self.send(txn, room, "m.room.member", sender, {"membership": membership}, state_key=target)

    def room(self, txn: Transaction, creator: str = ALICE, *joined: str, version: str = "12") -> Room:
        """A public room in which creator and `joined` are."""
        rules = ROOM_VERSIONS[version]
        content: dict[str, Any] = {"room_version": version}
        if not rules.implicit_creator:
            content["creator"] = creator
        room_id = None if rules.room_id_is_hash else f"!{self.clock.now_ms()}:{SERVER}"
        create = self.draft("m.room.create", creator, content, state_key="")
        room = self.appender.found(txn, create, rules, room_id)
        self.member(txn, room, creator, creator, "join")
        users = {} if rules.privileged_creators else {creator: 100}
        self.send(txn, room, "m.room.power_levels", creator, {"users": users}, state_key="")
        self.send(txn, room, "m.room.join_rules", creator, {"join_rule": "public"}, state_key="")
        for user in joined:
            self.member(txn, room, user, user, "join")
        return room


def extremities(txn: Transaction, room: Room) -> list[int]:
    nids: list[int] = txn.value("SELECT extremities FROM rooms WHERE room_nid = %s", (room.nid,))
    return nids


__all__ = ["ALICE", "BOB", "MALLORY", "SERVER", "Clock", "World", "extremities"]
