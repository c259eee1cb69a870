"""What users told the operators of: events, rooms, users."""

from collections.abc import Sequence

from synapse_lite import canonical_json
from synapse_lite.cli.import_synapse.target import Import
from synapse_lite.matrix.event import Event
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.imported import reports as ours
from synapse_lite.storage.imported.reports import ImportedEventReport, ImportedRoomReport, ImportedUserReport
from synapse_lite.storage.synapse.database import SynapseRow
from synapse_lite.storage.synapse.reports import reports

EVENT_REPORTS = "event reports"
NAME = ("id",)


def import_reports(work: Import) -> None:
    """After the rooms: a report holds the event that it is about."""
    _of_events(work)

    def read_room(row: SynapseRow) -> ImportedRoomReport:
        user_id = work.own(row["user_id"])
        return ImportedRoomReport(row["id"], row["received_ts"], user_id, row["reason"], row["room_id"])

    def read_user(row: SynapseRow) -> ImportedUserReport:
        user_id = work.own(row["user_id"])
        return ImportedUserReport(
            row["id"], row["received_ts"], user_id, row["reason"], row["target_user_id"]
        )

    source = work.synapse
    work.take("room reports", reports(source, "room_reports"), NAME, read_room, ours.add_room_reports)
    work.take("user reports", reports(source, "user_reports"), NAME, read_user, ours.add_user_reports)


def _of_events(work: Import) -> None:
    store = EventStore(0)

    def read(row: SynapseRow) -> SynapseRow:
        score = canonical_json.decode_object(row["content"] or "{}").get("score")
        return {
            **row,
            "user_id": work.own(row["user_id"]),
            "score": score if isinstance(score, int) else None,
        }

    def add(txn: Transaction, found: Sequence[SynapseRow]) -> int:
        stored = store.by_ids(txn, [row["event_id"] for row in found])
        for row in found:
            if row["event_id"] not in stored:
                work.refuse(EVENT_REPORTS, str(row["id"]))
        there = [row for row in found if row["event_id"] in stored]
        return ours.add_event_reports(
            txn, [_event_report(row, stored[row["event_id"]].event) for row in there]
        )

    work.take(EVENT_REPORTS, reports(work.synapse, "event_reports"), NAME, read, add)


def _event_report(row: SynapseRow, event: Event) -> ImportedEventReport:
    return ImportedEventReport(
        report_nid=row["id"],
        received_ts=row["received_ts"],
        user_id=row["user_id"],
        reason=row["reason"],
        room_id=event.room_id,
        event_id=event.event_id,
        sender=event.sender,
        event=canonical_json.encode_exact({**event.pdu, "event_id": event.event_id}).decode(),
        score=row["score"],
    )
