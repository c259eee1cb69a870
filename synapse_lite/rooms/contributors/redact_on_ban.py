"""A ban that redacts does so in its own transaction, as far as that is little; the rest is left to a task."""

from collections.abc import Callable, Iterator

from attrs import frozen

from synapse_lite.matrix.redact_on_ban import REDACT_EVENTS
from synapse_lite.matrix.types import MEMBER
from synapse_lite.rooms.redact_on_ban import AT_ONCE, RedactOnBan
from synapse_lite.rooms.values import Written
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import StoredEvent
from synapse_lite.storage.redact_targets import Redactable, senders_among


@frozen
class RedactOnBanContributor:
    """`go_on` makes sure that the rest is redacted, too, whatever becomes of this process."""

    redactions: RedactOnBan
    go_on: Callable[[Transaction, StoredEvent], None]

    def __call__(self, txn: Transaction, written: Written) -> None:
        for room_nid, bans in self._asking(written):
            known = senders_among(txn, room_nid, list(bans))
            for user_id, ban in bans.items():
                if user_id in known and self.redactions.applies(txn, ban):
                    wanted = Redactable(user_id, everything=True)
                    if len(self.redactions.redact(txn, ban, wanted, None, AT_ONCE)) == AT_ONCE:
                        self.go_on(txn, ban)

    def _asking(self, written: Written) -> Iterator[tuple[int, dict[str, StoredEvent]]]:
        """By room who is put out of it by an event that asks for it. Who enters a room meets many of these."""
        for room_nid, deltas in written.deltas.items():
            bans = {
                delta.key[1]: delta.event
                for delta in deltas
                if delta.key[0] == MEMBER
                and delta.event is not None
                and delta.event.event.content.get(REDACT_EVENTS) is True
            }
            if bans:
                yield room_nid, bans
