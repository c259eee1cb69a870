"""Devices: names, uses, and what goes with them."""

from pytest_twisted import ensureDeferred

from synapse_lite.storage import accounts, devices, to_device
from synapse_lite.storage.accounts import NewAccount
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.devices import DeviceUse
from synapse_lite.storage.stream import Change, Kind
from synapse_lite.storage.to_device import Address

USER = "@user:hs.test"


async def _device(database: Database, device_id: str, now_ms: int = 1) -> None:
    await database.transact(accounts.create_account, NewAccount(USER, 1))
    await database.transact(devices.create_device, USER, device_id, None, now_ms)


async def _send(database: Database, device_id: str, count: int) -> None:
    def send(txn: Transaction) -> None:
        for _ in range(count):
            to_device.put_messages(txn, USER, "m.test", [(Address(USER, device_id), "{}")])

    await database.transact(send)


async def _inbox(database: Database, device_id: str, limit: int = 10_000) -> int:
    messages, _ = await database.read(
        to_device.read_messages,
        Address(USER, device_id),
        after=0,
        upto=2**62,
        limit=limit,
        max_bytes=1_000_000,
    )
    return len(messages)


@ensureDeferred
async def test_a_device_keeps_its_first_name_until_it_is_renamed(
    database: Database, changes: list[Change]
) -> None:
    """A second log-in changes nothing; a new name is announced, the same one again is not."""
    await database.transact(accounts.create_account, NewAccount(USER, 1))
    changes.clear()
    assert await database.transact(devices.create_device, USER, "D", "first", 1)
    assert not await database.transact(devices.create_device, USER, "D", "second", 2)
    assert [device.display_name for device in await database.read(devices.read_devices, USER)] == ["first"]
    assert await database.transact(devices.rename_device, USER, "D", "third")
    assert await database.transact(devices.rename_device, USER, "D", "third")
    assert not await database.transact(devices.rename_device, USER, "E", "third")
    device = await database.read(devices.find_device, USER, "D")
    assert device is not None
    assert device.display_name == "third"
    assert [change.kind for change in changes] == [Kind.DEVICE_LIST]


@ensureDeferred
async def test_uses_are_written_for_devices_that_exist(database: Database) -> None:
    """A device that was deleted meanwhile does not come back."""
    await _device(database, "D")
    uses = [DeviceUse(USER, name, 5, "192.0.2.1", "agent") for name in ("D", "gone")]
    await database.transact(devices.write_uses, uses)
    (device,) = await database.read(devices.read_devices, USER)
    assert (device.device_id, device.last_seen_ts) == ("D", 5)
    assert (device.last_seen_ip, device.last_seen_user_agent) == ("192.0.2.1", "agent")


@ensureDeferred
async def test_many_devices_go_with_one_announcement(database: Database, changes: list[Change]) -> None:
    """However many are deleted together, others hear of it once; unknown ones announce nothing."""
    names = [f"D{number}" for number in range(20)]
    for name in names:
        await _device(database, name)
    changes.clear()
    assert await database.transact(devices.delete_devices, USER, ["unknown"]) == []
    assert changes == []
    assert await database.transact(devices.delete_devices, USER, names) == []
    assert [change.kind for change in changes] == [Kind.SESSION, Kind.DEVICE_LIST]
    assert await database.read(devices.read_devices, USER) == []


@ensureDeferred
async def test_a_large_inbox_is_left_for_later(database: Database) -> None:
    """Deleting its device takes a bounded part, and tells that there is more; a new device sees none of it."""
    await _device(database, "D")
    await _device(database, "E")
    await _send(database, "D", devices.INBOX_AT_ONCE + 5)
    await _send(database, "E", 3)
    assert await database.transact(devices.delete_devices, USER, ["D"]) == ["D"]
    rows = await database.read(lambda txn: txn.value("SELECT count(*) FROM device_inbox"))
    assert rows == 5 + 3
    await _device(database, "D")
    assert await _inbox(database, "D") == 0
    await _send(database, "D", 2)
    assert await _inbox(database, "D") == 2
    assert await _inbox(database, "E") == 3


@ensureDeferred
async def test_stale_devices_are_found_by_their_last_use(database: Database) -> None:
    """Never used ones by their age; dehydrated ones are never stale."""
    for name, created in (("OLD", 1), ("USED", 2), ("NEW", 100), ("SLEEPS", 1)):
        await _device(database, name, created)
    await database.transact(devices.write_uses, [DeviceUse(USER, "USED", 90, "", "")])
    await database.transact(
        lambda txn: txn.execute("UPDATE devices SET dehydrated = '{}' WHERE device_id = 'SLEEPS'")
    )
    assert await database.transact(devices.stale_devices, 50, 10) == [(USER, "OLD")]
    assert await database.transact(devices.stale_devices, 95, 1) == [(USER, "OLD")]
    assert await database.transact(devices.stale_devices, 95, 10) == [(USER, "OLD"), (USER, "USED")]
