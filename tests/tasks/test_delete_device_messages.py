"""The inbox of a deleted device goes in slices."""

from functools import partial

from pytest_twisted import ensureDeferred

from synapse_lite.storage import accounts, devices, to_device
from synapse_lite.storage.accounts import NewAccount
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import END
from synapse_lite.storage.to_device import Address
from synapse_lite.tasks.actions.delete_device_messages import (
    DELETE_DEVICE_MESSAGES,
    DeleteDeviceMessages,
    delete_devices,
)
from synapse_lite.tasks.queue import Status
from synapse_lite.tasks.registry import TaskRegistry
from tests.tasks.conftest import Engine

USER = "@user:hs.test"
LARGE = devices.INBOX_AT_ONCE + 700


def _fill(txn: Transaction) -> None:
    accounts.create_account(txn, NewAccount(USER, 1))
    for device_id in ("D", "E"):
        devices.create_device(txn, USER, device_id, None, 1)
    for device_id in ["D"] * LARGE + ["E"] * 3:
        to_device.put_messages(txn, USER, "m.test", [(Address(USER, device_id), "{}")])


async def _inboxes(engine: Engine) -> dict[str, int]:
    return dict(
        await engine.database.read(
            lambda txn: txn.rows("SELECT device_id, count(*) FROM device_inbox GROUP BY device_id")
        )
    )


@ensureDeferred
async def test_a_large_inbox_becomes_a_task(engine: Engine) -> None:
    """The device is gone at once; its messages follow, and none is for its successor, whose own stay with those of other devices."""
    await engine.database.transact(_fill)
    await engine.database.transact(delete_devices, USER, ["D", "E"])
    left = await _inboxes(engine)
    assert 0 < sum(left.values()) < LARGE
    await engine.database.transact(devices.create_device, USER, "D", None, 1)
    await engine.database.transact(to_device.put_messages, USER, "m.test", [(Address(USER, "D"), "{}")])
    waiting = await engine.database.read(
        partial(to_device.read_messages, after=0, upto=END, limit=10, max_bytes=1000), Address(USER, "D")
    )
    assert len(waiting.messages) == 1
    registry = TaskRegistry()
    registry.register(DELETE_DEVICE_MESSAGES, DeleteDeviceMessages())
    page = await engine.queue.find(actions=[DELETE_DEVICE_MESSAGES.action])
    assert {task.resource_id for task in page.tasks} <= {"D", "E"}
    await engine.start_all(registry)
    ended = [await engine.until_ended(task.id) for task in page.tasks]
    assert {task.status for task in ended} == {Status.COMPLETE}
    assert sum(task.done for task in ended) == sum(left.values())
    assert await _inboxes(engine) == {"D": 1}
    await engine.execute("DELETE FROM device_inbox; DELETE FROM devices; DELETE FROM users")
