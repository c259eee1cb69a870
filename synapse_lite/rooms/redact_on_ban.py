"""Bans and kicks redact what their target has sent, and what of it comes later (MSC4293)."""

from collections.abc import Collection, Iterable, Sequence

from attrs import frozen

from synapse_lite.matrix.event import StateKey
from synapse_lite.matrix.power_levels import PowerLevels
from synapse_lite.matrix.redact_on_ban import REDACT_EVENTS, asks_to_redact, may_redact_all
from synapse_lite.matrix.types import CREATE, ENCRYPTION, MEMBER, POWER_LEVELS, REDACTION, SERVER_ACL
from synapse_lite.rooms.contributors.room_summary import take_back
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore, Standing, StoredEvent
from synapse_lite.storage.notices import delete_notices
from synapse_lite.storage.redact_targets import Redactable, to_redact
from synapse_lite.storage.redactions import NewRedaction, insert_redactions
from synapse_lite.storage.relations import delete_relations
from synapse_lite.storage.search import forget_events
from synapse_lite.storage.state import StateStore
from synapse_lite.storage.stream import Kind

AT_ONCE = 100
"""So many events are redacted in the transaction of the ban; the rest is left to a task."""
NEVER = frozenset({REDACTION, CREATE, SERVER_ACL, ENCRYPTION})
"""What a room needs, even of somebody who is banned."""


@frozen
class RedactOnBan:
    """In a transaction that holds the lock of the room, but for `read_ahead`."""

    events: EventStore
    state: StateStore

    def applies(self, txn: Transaction, stored: StoredEvent) -> bool:
        """Whether the member event redacts what its target sent: it asks for that, and its sender may do so.

        Their level is that of the event's own auth events, as every server sees them.
        """
        event = stored.event
        if event.content.get(REDACT_EVENTS) is not True:
            return False
        replaced = self.events.load(txn, [stored.replaces_nid]) if stored.replaces_nid else {}
        before = replaced[stored.replaces_nid].event.membership if stored.replaces_nid in replaced else None
        return asks_to_redact(event, before) and may_redact_all(event.sender, self._levels(txn, stored))

    def read_ahead(
        self, txn: Transaction, ban: StoredEvent, wanted: Redactable, before_nid: int | None, limit: int
    ) -> None:
        """What `redact` is going to need is in memory when the room is locked."""
        self.events.load(txn, [nid for nid, _ in to_redact(txn, wanted, ban.room_nid, before_nid, limit)])

    def redact(
        self, txn: Transaction, ban: StoredEvent, wanted: Redactable, before_nid: int | None, limit: int
    ) -> list[int]:
        """Redact the next events below `before_nid`, in this order; their nids, fewer than `limit` at the end."""
        found = to_redact(txn, wanted, ban.room_nid, before_nid, limit)
        self._redact(txn, ban, dict(found))
        for nid, _ in found:
            txn.publish(Kind.REDACTED, room_nid=ban.room_nid, redacts_nid=nid, key=str(ban.nid))
        return [nid for nid, _ in found]

    def redact_late(self, txn: Transaction, events: Collection[StoredEvent]) -> None:
        """Of the events, just stored, those whose sender was put out of the room by an event that redacts."""
        places = {(one.room_nid, (MEMBER, one.event.sender)) for one in events}
        nids = self.state.current(txn, places) if places else {}
        members = self.events.load(txn, list(nids.values()))
        redacted = self.events.redactions(txn, list(members))
        for (room_nid, (_, sender)), nid in nids.items():
            member = members.get(nid)
            if member is not None and nid not in redacted and self.applies(txn, member):
                late = _redactable(events, room_nid, sender)
                self._redact(txn, member, {one.nid: one.event_id for one in late})

    def _redact(self, txn: Transaction, ban: StoredEvent, targets: dict[int, str]) -> None:
        rows = [NewRedaction(ban.nid, ban.room_nid, id_, nid, applied=True) for nid, id_ in targets.items()]
        insert_redactions(txn, rows)
        delete_relations(txn, set(targets))
        delete_notices(txn, targets)
        forget_events(txn, targets)
        take_back(txn, self.state, self.events.load(txn, list(targets)).values())

    def _levels(self, txn: Transaction, ban: StoredEvent) -> PowerLevels:
        found = {one.event.type: one.event for one in self.events.by_ids(txn, ban.event.auth_events).values()}
        create = found.get(CREATE)
        if create is None:  # no auth event names it where the room's id does
            place: tuple[int, StateKey] = (ban.room_nid, (CREATE, ""))
            nid = self.state.current(txn, [place])[place]
            create = self.events.load(txn, [nid])[nid].event
        return PowerLevels.read(create, found.get(POWER_LEVELS))


def _redactable(events: Iterable[StoredEvent], room_nid: int, sender: str) -> Sequence[StoredEvent]:
    return [
        one
        for one in events
        if one.room_nid == room_nid
        and one.event.sender == sender
        and one.event.type not in NEVER
        and one.standing in {Standing.ACCEPTED, Standing.SOFT_FAILED}
    ]
