"""The content of transactions (server-server API, "Transactions")."""

from collections.abc import Sequence

from attrs import frozen

from synapse_lite.canonical_json import JsonObject, decode
from synapse_lite.matrix.redaction import redact
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.sending import Outgoing


@frozen
class BodyWriter:
    """An event that was redacted meanwhile is sent without its content."""

    events: EventStore
    server_name: str

    def write(self, txn: Transaction, transactions: Sequence[Outgoing]) -> list[JsonObject]:
        nids = {nid for one in transactions for nid in one.event_nids}
        stored = self.events.load(txn, nids) if nids else {}
        redacted = self.events.redactions(txn, nids) if nids else {}
        pdus = {
            nid: redact(one.event.pdu, one.event.version) if nid in redacted else one.event.pdu
            for nid, one in stored.items()
        }
        return [
            {
                "origin": self.server_name,
                "origin_server_ts": one.ts,
                "pdus": [pdus[nid] for nid in one.event_nids if nid in pdus],
                "edus": [decode(json) for json in one.edus],
            }
            for one in transactions
        ]
