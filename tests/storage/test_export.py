"""Which tables an export of a user is made from."""

from pytest_twisted import ensureDeferred

from synapse_lite.storage import accounts
from synapse_lite.storage.accounts import NewAccount
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.export import ELSEWHERE, EXPORTED, LEFT_OUT, read_exported
from tests.builders import ALICE, BOB

_ABOUT_USERS = """
SELECT DISTINCT table_name FROM information_schema.columns WHERE table_schema = 'public' AND data_type = 'text'
AND column_name SIMILAR TO '%(user_id|sender|requester|creator|quarantined_by)%'
"""
_FILL = """
INSERT INTO user_threepids VALUES ('email', 'alice@example.com', %(user)s, 1, 2), ('msisdn', '491', %(user)s, 3, 4);
INSERT INTO event_reports (received_ts, room_id, event_id, sender, event, user_id, reason)
    VALUES (5, '!r', '$e', %(other)s, '{"type": "x"}', %(user)s, 'rude'), (6, '!r', '$f', %(user)s, '{}', %(other)s, 'no');
INSERT INTO rooms (room_id, version, created_ts) VALUES ('!r', '12', 1);
INSERT INTO receipts (room_nid, user_id, receipt_type, event_id, ts) SELECT room_nid, %(user)s, 'm.read', '$e', 7 FROM rooms
"""


@ensureDeferred
async def test_every_table_about_users_is_exported_or_left_out_on_purpose(database: Database) -> None:
    """A new table with a column for a user wants a decision."""
    found = {name for (name,) in await database.read(lambda txn: txn.rows(_ABOUT_USERS))}
    exported = {what.table for what in EXPORTED.values()}
    assert found == {*exported, *ELSEWHERE, *LEFT_OUT}
    assert not (exported | ELSEWHERE) & LEFT_OUT.keys()


@ensureDeferred
async def test_rows_of_a_user(database: Database) -> None:
    """Theirs only, by name, whatever number is read at a time; no secrets."""

    def fill(txn: Transaction) -> None:
        for user_id in (ALICE, BOB):
            accounts.create_account(txn, NewAccount(user_id, 1, "hash"))
        txn.execute(_FILL, {"user": ALICE, "other": BOB})

    def read(txn: Transaction, limit: int) -> dict[str, list[object]]:
        found = dict[str, list[object]]()
        for name, what in EXPORTED.items():
            rows, after = read_exported(txn, what, ALICE, None, limit)
            while after is not None:
                more, after = read_exported(txn, what, ALICE, after, limit)
                rows += more
            if rows:
                found[name] = list(rows)
        return found

    await database.transact(fill)
    found = await database.read(read, 100)
    assert found == await database.read(read, 1)
    assert found.keys() == {"account", "threepids", "event_reports", "receipts"}
    assert [one["address"] for one in found["threepids"]] == ["alice@example.com", "491"]  # type: ignore[index]
    (report,) = found["event_reports"]
    expected = {"received_ts": 5, "room_id": "!r", "event_id": "$e", "sender": BOB, "event": {"type": "x"}}
    assert report == {**expected, "reason": "rude", "score": None}
    (receipt,) = found["receipts"]
    assert receipt == {
        "room_id": "!r",
        "receipt_type": "m.read",
        "thread_id": "",
        "event_id": "$e",
        "ts": 7,
    }
    assert "hash" not in str(found)
