"""Who redacts in a room, and where."""

from collections.abc import Collection, Iterable, Mapping

from attrs import frozen

from synapse_lite.ids import is_local
from synapse_lite.matrix.auth_rules.state import CREATE, POWER_LEVELS
from synapse_lite.matrix.event import Event, StateKey
from synapse_lite.matrix.power_levels import PowerLevels
from synapse_lite.matrix.types import MEMBER, REDACTION
from synapse_lite.rooms.heads import HeadReader
from synapse_lite.storage import redact_targets
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.heads import RoomHead
from synapse_lite.storage.rooms import joined_among
from synapse_lite.storage.state import StateStore
from synapse_lite.tasks.actions.redact_all_events.spec import Place, RedactTask

REACHES = (1, 1000)  # how many events of the user are looked at, one after the other, for a place to hang on


@frozen
class Issuer:
    """`place` None: at the head of the room."""

    user_id: str
    place: Place | None = None


@frozen
class Issuers:
    """`server_name` is ours."""

    heads: HeadReader
    events: EventStore
    state: StateStore
    server_name: str

    def read_ahead(
        self, txn: Transaction, task: RedactTask, head: RoomHead, events: Collection[int]
    ) -> Collection[str]:
        """Before the room is locked: who of the possible issuers is joined. What else `find` asks for, and the `events`,
        are in memory then.
        """
        possible = self._possible(task)
        self.heads.read_ahead(txn, head, _needed(possible), events)
        return joined_among(txn, head.room.nid, possible)

    def find(
        self, txn: Transaction, task: RedactTask, head: RoomHead, joined: Collection[str] | None = None
    ) -> Issuer:
        """The user; else the admin, with the power to do so; else the user as of the last time when they could.

        When nobody can, the admin: the room says why it refuses. `joined`, where it is known, is what `read_ahead` found.
        """
        user_id, admin_id = task.params.user_id, task.requester
        possible = self._possible(task)
        if len(possible) == 1:
            return Issuer(admin_id)
        if joined is None:
            joined = joined_among(txn, head.room.nid, possible)
        for issuer in possible:
            if issuer in joined and self._may_redact_now(txn, head, issuer, own=issuer == user_id):
                return Issuer(issuer)
        place = self._last_place(txn, head.room.nid, user_id)
        return Issuer(admin_id) if place is None else Issuer(user_id, place)

    def _possible(self, task: RedactTask) -> tuple[str, ...]:
        """Who may be the issuer, in this order."""
        user_id, admin_id = task.params.user_id, task.requester
        if task.params.use_admin or not is_local(user_id, self.server_name):
            return (admin_id,)
        return (user_id, admin_id)

    def _may_redact_now(self, txn: Transaction, head: RoomHead, user_id: str, *, own: bool) -> bool:
        current = self.heads.current(txn, head, _needed([user_id]))
        events = self.events.load(txn, list(current.values()))
        return may_redact({key: events[nid].event for key, nid in current.items()}, user_id, own=own)

    def _last_place(self, txn: Transaction, room_nid: int, user_id: str) -> Place | None:
        """The newest event of the user after which they could redact their own ones."""
        keys = _needed([user_id])
        for reach in REACHES:
            places = redact_targets.places(txn, user_id, room_nid, reach)
            states = self.state.at_each(txn, {snapshot_nid for _, snapshot_nid in places}, keys)
            events = self.events.load(txn, {nid for state in states.values() for nid in state.values()})
            for event_nid, snapshot_nid in places:
                state = {key: events[nid].event for key, nid in states[snapshot_nid].items()}
                if may_redact(state, user_id, own=True):
                    return Place(event_nid=event_nid, snapshot_nid=snapshot_nid)
        return None


def _needed(user_ids: Iterable[str]) -> list[StateKey]:
    return [CREATE, POWER_LEVELS, *((MEMBER, user_id) for user_id in user_ids)]


def may_redact(state: Mapping[StateKey, Event], user_id: str, *, own: bool) -> bool:
    """Whether a room in this state lets the user redact their own events, or those of others."""
    member = state.get((MEMBER, user_id))
    if member is None or member.membership != "join":
        return False
    levels = PowerLevels.read(state[CREATE], state.get(POWER_LEVELS))
    needed = levels.required(REDACTION, is_state=False)
    return levels.user(user_id) >= (needed if own else max(needed, levels.redact))
