"""Rooms and events in one line, through the real storage."""

from collections.abc import Callable, Mapping
from typing import Any, Self

from argon2 import PasswordHasher
from attrs import define, field
from twisted.internet.task import Clock as Timers

from synapse_lite.clock import Clock, DelayedCall
from synapse_lite.errors import MatrixError
from synapse_lite.matrix.event import Draft, StateKey
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.matrix.signing import generate_signing_key
from synapse_lite.matrix.types import MEMBER
from synapse_lite.rooms.append import EventAppender
from synapse_lite.rooms.contributors import room_contributors
from synapse_lite.rooms.values import Point, Result, Write
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore, StoredEvent
from synapse_lite.storage.memberships import delete_memberships, upsert_memberships
from synapse_lite.storage.rooms import Membership, Room, head_snapshot
from synapse_lite.storage.state import REMOVED, StateStore
from synapse_lite.storage.state_deltas import insert_delta
from synapse_lite.storage.stream import Kind, Position
from synapse_lite.workers.core import Core

SERVER = "hs.test"
CHEAP_HASHER = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
_RECOUNT = """
    UPDATE room_summary SET
        joined = (SELECT count(*) FROM memberships WHERE room_nid = %(room)s AND membership = 'join'),
        invited = (SELECT count(*) FROM memberships WHERE room_nid = %(room)s AND membership = 'invite')
    WHERE room_nid = %(room)s
"""
ALICE, BOB, MALLORY = (f"@{name}:{SERVER}" for name in ("alice", "bob", "mallory"))


class TickingClock:
    """Each look at the clock is a second later. Nothing that is to happen later does."""

    def __init__(self) -> None:
        self._now = 1_700_000_000_000
        self._timers = Timers()

    def now_ms(self) -> int:
        self._now += 1000
        return self._now

    def monotonic(self) -> float:
        return self.now_ms() / 1000

    def call_later(self, seconds: float, function: Callable[..., Any], *args: Any) -> DelayedCall:
        return self._timers.callLater(seconds, function, *args)


@define
class World:
    """The write path of one process."""

    clock: Any = field(factory=TickingClock)
    events: EventStore = field(factory=lambda: EventStore(10_000_000))
    state: StateStore = field(factory=lambda: StateStore(10_000_000))
    forget_on_leave: bool = False
    server_name: str = SERVER
    appender: EventAppender = field(init=False)

    def __attrs_post_init__(self) -> None:
        key = generate_signing_key(self.server_name)
        self.appender = EventAppender(
            self.events,
            self.state,
            key,
            self.clock,
            room_contributors(self.state, self.server_name, forget_on_leave=self.forget_on_leave),
        )

    @classmethod
    def of(cls, core: Core) -> Self:
        """What a process writes with."""
        world = cls(core.clock, core.events, core.state)
        world.appender = core.appender
        return world

    def draft(self, kind: str, sender: str, content: Mapping[str, Any], **more: Any) -> Draft:
        return Draft(kind, sender, dict(content), self.clock.now_ms(), **more)

    def try_send(self, txn: Transaction, room: Room, kind: str, sender: str, content: Mapping[str, Any],
                 *, point: Point | None = None, privileged: bool = False, **more: Any) -> Result:  # fmt: skip
        draft = self.draft(kind, sender, content, **more)
        return self.appender.append(txn, [Write(room.nid, draft, point=point, privileged=privileged)])[0]

    def send(self, txn: Transaction, room: Room, kind: str, sender: str, content: Mapping[str, Any],
             **more: Any) -> StoredEvent:  # fmt: skip
        result = self.try_send(txn, room, kind, sender, content, **more)
        if isinstance(result, MatrixError):
            raise result
        assert isinstance(result, StoredEvent)
        return result

    def message(self, txn: Transaction, room: Room, sender: str, text: str = "hello") -> StoredEvent:
        return self.send(txn, room, "m.room.message", sender, {"msgtype": "m.text", "body": text})

    def member(self, txn: Transaction, room: Room, sender: str, target: str, membership: str) -> StoredEvent:
        return self.send(txn, room, "m.room.member", sender, {"membership": membership}, state_key=target)

    def revert(self, txn: Transaction, room: Room, key: StateKey, event_id: str | None) -> None:
        """What a resolution may do when branches meet: another event of the key is in force, or none."""
        found = self.events.by_ids(txn, [event_id] if event_id else [])
        nid = found[event_id].nid if event_id else None
        previous = self.state.current(txn, [(room.nid, key)]).get((room.nid, key))
        about = key[1] if key[0] == MEMBER else None
        if nid is not None:
            self.state.set_current(txn, room.nid, {key: nid})
        else:
            self.state.unset_current(txn, room.nid, [key])
        if about is not None:
            self._put_member(txn, room, about, found.get(event_id or ""))
        key_nid = self.state.find_keys(txn, [key])[key]
        head = head_snapshot(txn, room.nid)
        snapshot = self.state.derive(txn, room.nid, head or 0, {key_nid: nid or REMOVED})
        txn.execute("UPDATE rooms SET snapshot_nid = %s WHERE room_nid = %s", (snapshot, room.nid))

        def record(txn: Transaction, position: Position) -> None:
            insert_delta(txn, position, room.nid, key, nid, previous)

        txn.publish(Kind.STATE, room_nid=room.nid, user_id=about, at_position=record)

    def _put_member(self, txn: Transaction, room: Room, user_id: str, stored: StoredEvent | None) -> None:
        if stored is None:
            delete_memberships(txn, [(room.nid, user_id)])
        else:
            membership = stored.event.membership or "leave"
            row = Membership(room.nid, user_id, membership, stored.event.sender, stored.nid, forgotten=False)
            upsert_memberships(txn, [row])
        txn.execute(_RECOUNT, {"room": room.nid})

    def room(self, txn: Transaction, creator: str = ALICE, *joined: str, version: str = "12") -> Room:
        """A public room in which creator and `joined` are."""
        rules = ROOM_VERSIONS[version]
        content: dict[str, Any] = {"room_version": version}
        if not rules.implicit_creator:
            content["creator"] = creator
        room_id = None if rules.room_id_is_hash else f"!{self.clock.now_ms()}:{self.server_name}"
        create = self.draft("m.room.create", creator, content, state_key="")
        room = self.appender.create_room(txn, create, rules, room_id)
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


__all__ = ["ALICE", "BOB", "CHEAP_HASHER", "MALLORY", "SERVER", "Clock", "World", "extremities"]
