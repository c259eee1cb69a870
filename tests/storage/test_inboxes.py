"""Inboxes of devices: how they are read, and what measuring them reads."""

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.storage import to_device
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.to_device import Address, put_messages, read_inboxes, read_messages
from tests.storage.reading import rows_read

DEVICES, MESSAGES = 1_000, 20  # messages of each device
BOUND, MEASURED = 15, 10


@pytest.mark.new_database
@pytest.mark.parametrize("analyzed", [False, True])
@ensureDeferred
async def test_only_the_inboxes_of_who_gets_something_are_measured(
    database: Database, monkeypatch: pytest.MonkeyPatch, analyzed: bool
) -> None:
    """Whatever the planner knows of the table; their oldest messages go, and those of nobody else."""
    monkeypatch.setattr(to_device, "TRIMMED_ONE_IN", 1)
    monkeypatch.setattr(to_device, "MOST_WAITING", BOUND)
    await database.transact(_fill)
    if analyzed:
        await database.transact(lambda txn: txn.execute("ANALYZE"))

    def send(txn: Transaction) -> int:
        before = rows_read(txn)
        put_messages(txn, "@a:hs", "m.test", [(Address("@u:hs", f"D{n}"), "{}") for n in range(MEASURED)])
        return rows_read(txn) - before

    assert await database.transact(send) <= 5 * MEASURED * MESSAGES
    left = await database.read(
        lambda txn: txn.rows(
            "SELECT count, min, count(*) FROM ("
            " SELECT count(*), min(position) FROM device_inbox GROUP BY user_id, device_id) AS inboxes"
            " GROUP BY 1, 2 ORDER BY 3"
        )
    )
    assert left == [(BOUND + 1, MESSAGES - BOUND + 1, MEASURED), (MESSAGES, 1, DEVICES - MEASURED)]


@pytest.mark.parametrize("many", [0, 50])
@ensureDeferred
async def test_messages_are_put_into_the_inboxes_of_devices_that_exist(
    database: Database, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    """Copied or inserted: each as it is written, whatever a device is called; those for other devices are lost."""
    monkeypatch.setattr(to_device, "MANY", many)
    names = ["A", "a\tb", "\\N", "two\nlines"]
    addresses = [Address("@u:hs", name) for name in (*names, "GONE")]
    contents = [rf'{{"number":{number},"text":"\n\\\t\"日"}}' for number in range(len(addresses))]

    def fill(txn: Transaction) -> None:
        txn.execute("INSERT INTO users (user_id, created_ts) VALUES ('@u:hs', 1)")
        for name in names:
            txn.execute(
                "INSERT INTO devices (user_id, device_id, created_ts) VALUES ('@u:hs', %s, 1)", (name,)
            )

    await database.transact(fill)
    await database.transact(put_messages, "@a:hs", "m.test", list(zip(addresses, contents, strict=True)))
    position = await database.read(lambda txn: txn.value("SELECT position FROM stream_position"))
    rows = await database.read(lambda txn: txn.rows("SELECT * FROM device_inbox ORDER BY content"))
    assert rows == [
        (*address, position, "@a:hs", "m.test", content)
        for address, content in zip(addresses[:-1], contents, strict=False)
    ]
    await database.transact(put_messages, "@a:hs", "m.test", [])
    await database.transact(
        lambda txn: txn.execute("DELETE FROM device_inbox; DELETE FROM devices; DELETE FROM users")
    )


@ensureDeferred
async def test_many_inboxes_are_read_as_one_is(database: Database) -> None:
    """By number and by bytes, from a position to another; who has nothing, or does not exist, has an empty one."""

    def fill(txn: Transaction) -> None:
        txn.execute("INSERT INTO users (user_id, created_ts) VALUES ('@u:hs', 1)")
        for device_id, after in (("A", 0), ("B", 0), ("C", 2), ("EMPTY", 0)):
            txn.execute(
                "INSERT INTO devices (user_id, device_id, created_ts, inbox_after) VALUES ('@u:hs', %s, 1, %s)",
                (device_id, after),
            )
        for device_id, sizes in (("A", (9, 9, 9)), ("B", (50, 1)), ("C", (1, 1, 1, 1))):
            for position, size in enumerate(sizes, 1):
                txn.execute(
                    "INSERT INTO device_inbox VALUES ('@u:hs', %s, %s, '@a:hs', 'm', %s)",
                    (device_id, position, "x" * size),
                )

    await database.transact(fill)
    addresses = [Address("@u:hs", name) for name in ("A", "B", "C", "EMPTY", "GONE")]
    for after, upto, limit, most, expected in (
        (0, 9, 9, 999, (([1, 2, 3], True), ([1, 2], True), ([3, 4], True))),
        (0, 9, 2, 999, (([1, 2], False), ([1, 2], True), ([3, 4], True))),
        (0, 9, 9, 20, (([1, 2], False), ([1], False), ([3, 4], True))),
        (1, 2, 9, 20, (([2], True), ([2], True), ([], True))),
        (0, 9, 0, 999, (([], False), ([], False), ([], False))),
    ):
        span = {"after": after, "upto": upto, "limit": limit, "max_bytes": most}
        found = await database.read(read_inboxes, addresses, **span)
        shown = [([one.position for one in of.messages], of.is_all) for of in found.values()]
        assert shown == [*expected, ([], True), ([], True)]
        for address in addresses:
            assert await database.read(read_messages, address, **span) == found[address]
    await database.transact(
        lambda txn: txn.execute("DELETE FROM device_inbox; DELETE FROM devices; DELETE FROM users")
    )


def _fill(txn: Transaction) -> None:
    devices = f"generate_series(0, {DEVICES - 1}) n"
    txn.execute("INSERT INTO users (user_id, created_ts) VALUES ('@u:hs', 1)")
    txn.execute(
        f"INSERT INTO devices (user_id, device_id, created_ts) SELECT '@u:hs', 'D' || n, 1 FROM {devices}"
    )
    txn.execute(
        "INSERT INTO device_inbox (user_id, device_id, position, sender, type, content)"
        f" SELECT '@u:hs', 'D' || n, m, '@a:hs', 'm.test', '{{}}' FROM generate_series(1, {MESSAGES}) m, {devices}"
    )
    txn.execute("UPDATE stream_position SET position = 1000")
