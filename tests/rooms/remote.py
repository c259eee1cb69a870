"""Another server, whose events may hang wherever it likes: signed with a key of its own."""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field

from synapse_lite.matrix.auth_rules import auth_keys
from synapse_lite.matrix.event import Draft, Event, build_event
from synapse_lite.matrix.signing import SigningKey, generate_signing_key
from synapse_lite.rooms.contributors import room_contributors
from synapse_lite.rooms.receive import EventReceiver, Received
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import StoredEvent
from synapse_lite.storage.rooms import Room
from synapse_lite.storage.state import StateKey
from tests.builders import SERVER, World, extremities

OTHER = "other.test"
CAROL, DAVE = f"@carol:{OTHER}", f"@dave:{OTHER}"
State = dict[StateKey, Event]


@define
class Remote:
    """What it sends is received by `world`, through the database."""

    database: Database
    world: World
    key: SigningKey = field(factory=lambda: generate_signing_key(OTHER))
    receiver: EventReceiver = field(init=False)

    def __attrs_post_init__(self) -> None:
        contributors = room_contributors(self.world.state, SERVER, forget_on_leave=False)
        self.receiver = EventReceiver(
            self.database, self.world.events, self.world.state, self.world.clock, contributors
        )

    def build(self, room: Room, previous: Sequence[Event], state: Mapping[StateKey, Event], kind: str,
              sender: str, content: dict[str, Any], state_key: str | None = None,
              redacts: str | None = None) -> Event:  # fmt: skip
        """An event after these, with auth events from a state."""
        draft = Draft(kind, sender, content, self.world.clock.now_ms(), state_key, redacts)
        keys = auth_keys(kind, sender, state_key, content, room.version)
        return build_event(
            draft,
            room.version,
            room.room_id,
            [event.reference for event in previous],
            [state[key].reference for key in keys if key in state],
            max(event.depth for event in previous) + 1,
            self.key,
        )

    async def state(self, stored: StoredEvent) -> State:
        """The state after an event."""

        def read(txn: Transaction) -> State:
            whole = self.world.state.whole(txn, stored.after_nid)
            events = self.world.events.load(txn, list(whole.values()))
            return {key: events[nid].event for key, nid in whole.items()}

        return await self.database.read(read)

    async def receive(self, room: Room, event: Event, *auth_events: Event) -> StoredEvent:
        await self.receiver.store_outliers(room.nid, auth_events)
        return await self.receiver.receive(Received(room.nid, event))

    async def follow(self, room: Room, previous: StoredEvent, kind: str, sender: str,
                     content: dict[str, Any], **more: Any) -> StoredEvent:  # fmt: skip
        """Build an event after one, by the state there, and receive it."""
        state = await self.state(previous)
        event = self.build(room, [previous.event], state, kind, sender, content, **more)
        return await self.receive(room, event)

    async def member(self, room: Room, previous: StoredEvent, sender: str, target: str,
                     membership: str) -> StoredEvent:  # fmt: skip
        return await self.follow(
            room, previous, "m.room.member", sender, {"membership": membership}, state_key=target
        )

    async def head(self, room: Room) -> list[StoredEvent]:
        def read(txn: Transaction) -> list[StoredEvent]:
            nids = extremities(txn, room)
            events = self.world.events.load(txn, nids)
            return [events[nid] for nid in nids]

        return await self.database.read(read)

    async def current(self, room: Room) -> dict[StateKey, int]:
        """The current state; every place that tells it has to agree."""

        def read(txn: Transaction) -> dict[StateKey, int]:
            rows = txn.rows(
                "SELECT type, state_key, event_nid FROM current_state WHERE room_nid = %s", (room.nid,)
            )
            current = {(kind, key): nid for kind, key, nid in rows}
            head = txn.value("SELECT snapshot_nid FROM rooms WHERE room_nid = %s", (room.nid,))
            assert self.world.state.whole(txn, head) == current
            deltas = txn.rows(
                "SELECT type, state_key, event_nid, previous_nid FROM state_deltas WHERE room_nid = %s"
                " ORDER BY position",
                (room.nid,),
            )
            replayed: dict[StateKey, int] = {}
            for kind, key, event_nid, previous_nid in deltas:
                assert replayed.pop((kind, key), None) == previous_nid
                if event_nid is not None:
                    replayed[kind, key] = event_nid
            assert replayed == current
            members = txn.rows("SELECT user_id, event_nid FROM memberships WHERE room_nid = %s", (room.nid,))
            assert dict(members) == {
                key: nid for (kind, key), nid in current.items() if kind == "m.room.member"
            }
            joined, state_events = txn.row(
                "SELECT joined, state_events FROM room_summary WHERE room_nid = %s", (room.nid,)
            ) or (0, 0)
            assert joined == txn.value(
                "SELECT count(*) FROM memberships WHERE room_nid = %s AND membership = 'join'", (room.nid,)
            )
            assert state_events == len(current)
            sizes = "SELECT room_nid, joined, joined_local, state_events FROM"
            assert txn.rows(f"{sizes} room_sizes") == txn.rows(f"{sizes} room_summary")
            return current

        return await self.database.read(read)
