"""Events as they are stored."""

from pytest_twisted import ensureDeferred

from synapse_lite.matrix.event import Draft, build_event
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.matrix.signing import generate_signing_key
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import MANY, EventStore, NewEvent, Standing, StoredEvent
from synapse_lite.storage.heads import know_room

TEXTS = ("\\N", "\\", "tab\there", "two\nlines", "back\r", '"quoted"', "{1,2}", "ünï", "")
VERSION = ROOM_VERSIONS["11"]


@ensureDeferred
async def test_many_events_are_stored_as_they_are(database: Database) -> None:
    """However many are stored at once, and whatever is in their texts; those without a state key have none."""
    key = generate_signing_key("hs.test")
    events = [
        build_event(
            Draft("m.test", "@a:hs.test", {"text": text}, 1, None if number % 2 else text),
            VERSION,
            "!room:hs.test",
            [f"${number}"],
            [],
            1,
            key,
        )
        for number in range(MANY)
        for text in TEXTS
    ]

    def run(txn: Transaction) -> None:
        room = know_room(txn, "!room:hs.test", VERSION, 1)
        new = [
            NewEvent(StoredEvent(nid, room.nid, event, None, None, standing=Standing.OUTLIER), [nid, nid + 1])
            for nid, event in enumerate(events, 1)
        ]
        EventStore(0).insert(txn, new, 1)
        found = EventStore(0).by_ids(txn, [event.event_id for event in events])
        assert [found[event.event_id].event.pdu for event in events] == [event.pdu for event in events]
        rows = txn.rows("SELECT event_nid, state_key, auth_nids FROM events ORDER BY event_nid")
        assert rows == [(nid, event.state_key, [nid, nid + 1]) for nid, event in enumerate(events, 1)]

    await database.transact(run)
