"""Tasks of administrators whose process is killed again and again: between statements, before a commit, after one."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred

from synapse_lite.matrix.redact_on_ban import REDACT_EVENTS
from synapse_lite.storage import accounts, devices, one_time_keys
from synapse_lite.storage.accounts import NewAccount
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.devices import DeviceUse
from synapse_lite.storage.one_time_keys import StoredKey
from synapse_lite.storage.stream import Kind
from synapse_lite.storage.tasks import Status
from synapse_lite.tasks.actions.delete_old_otks import DELETE_OLD_OTKS, DeleteOldKeysParams
from synapse_lite.tasks.actions.prune_devices import PRUNE_DEVICES, PruneDevicesParams
from synapse_lite.tasks.actions.redact_all_events import RedactParams
from synapse_lite.tasks.actions.redact_on_ban import REDACT_ON_BAN, RedactOnBanParams
from synapse_lite.tasks.actions.redact_users import REDACT_USERS, RedactUsersParams
from synapse_lite.tasks.actions.remove_guests import REMOVE_GUESTS, RemoveGuestsParams
from synapse_lite.tasks.actions.shutdown_room import ShutdownParams
from synapse_lite.tasks.actions.shutdown_rooms import SHUTDOWN_ROOMS, ShutdownRoomsParams
from tests.builders import ALICE, SERVER
from tests.tasks.killing import Processes, burning, start
from tests.tasks.steps import Steps

KILLS = 50
OLD, BEFORE, NEW = 1, 5_000, 9_000
DEVICES, KEYS = 90, 30
SPAMMERS = [f"@spam{number}:{SERVER}" for number in range(3)]
ROOMS, MESSAGES = 4, 5


@pytest_twisted.async_yield_fixture
async def processes(database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Processes]:
    processes = await start(Steps(database), burning(monkeypatch), KILLS)
    yield processes
    assert processes.kills == KILLS


async def count(steps: Steps, sql: str, *arguments: object) -> Any:
    return await steps.do(lambda txn: txn.value(f"SELECT count(*) FROM {sql}", arguments))


def make_devices(txn: Transaction) -> None:
    """As many old ones of alice's as new ones, each with keys."""
    accounts.create_account(txn, NewAccount(ALICE, 1))
    for number in range(2 * DEVICES):
        name = f"D{number}"
        devices.create_device(txn, ALICE, name, None, 1)
        devices.write_uses(txn, [DeviceUse(ALICE, name, NEW if number % 2 else OLD, "", "")])
        keys = [StoredKey("signed", f"{key}", f"{key}", "{}") for key in range(KEYS // 10)]
        one_time_keys.add_keys(txn, ALICE, name, keys)


@ensureDeferred
async def test_devices_are_pruned(processes: Processes) -> None:
    """Each is counted once, and those that are used are there."""
    await processes.steps.do(make_devices)
    task = await processes.run(PRUNE_DEVICES, PruneDevicesParams(before_ts=BEFORE))
    assert (task.status, task.result) == (Status.COMPLETE, {"dry_run": False, "devices": DEVICES})
    assert (task.done, task.total) == (DEVICES, DEVICES)
    assert await count(processes.steps, "devices") == DEVICES
    assert await count(processes.steps, "devices WHERE last_seen_ts < %s", BEFORE) == 0


@ensureDeferred
async def test_old_keys_are_deleted(processes: Processes) -> None:
    """The stock of each device is looked at once, and the keys of those that are used are there."""
    await processes.steps.do(make_devices)
    task = await processes.run(DELETE_OLD_OTKS, DeleteOldKeysParams(before_ts=BEFORE))
    keys = DEVICES * (KEYS // 10)
    assert (task.status, task.result) == (Status.COMPLETE, {"dry_run": False, "keys": keys})
    assert (task.done, task.total) == (2 * DEVICES, 2 * DEVICES)
    assert await count(processes.steps, "one_time_keys") == keys


@ensureDeferred
async def test_users_are_redacted(processes: Processes) -> None:
    """Each message is redacted once, by the part of its sender; other people's are as they were."""
    steps = processes.steps
    for _ in range(ROOMS):
        room = await steps.do(steps.world.room, ALICE, *SPAMMERS)
        for user_id in (ALICE, *SPAMMERS):
            for _ in range(MESSAGES):
                await steps.do(steps.world.send, room, "m.room.message", user_id, {"body": "x"})
    redaction = RedactParams(user_id=SPAMMERS[0], event_types=("m.room.message",))
    task = await processes.run(REDACT_USERS, RedactUsersParams(user_ids=tuple(SPAMMERS), redaction=redaction))
    assert task.result is not None
    assert (task.status, task.result["complete"], task.done) == (Status.COMPLETE, 3, 3)
    messages = len(SPAMMERS) * ROOMS * MESSAGES
    assert await count(steps, "events WHERE type = 'm.room.redaction'") == messages
    assert await count(steps, "(SELECT DISTINCT target_nid FROM redactions WHERE applied) AS r") == messages
    assert (
        await count(
            steps, "redactions r JOIN events e ON e.event_nid = r.target_nid WHERE e.sender = %s", ALICE
        )
        == 0
    )


@ensureDeferred
async def test_a_ban_redacts(processes: Processes) -> None:
    """Each message of the target is redacted once, those of others are as they were."""
    steps, world = processes.steps, processes.steps.world
    target, messages = SPAMMERS[0], 300

    def fill(txn: Transaction) -> RedactOnBanParams:
        room = world.room(txn, ALICE, target)
        for user_id, number in ((target, messages), (ALICE, MESSAGES)):
            for _ in range(number):
                world.message(txn, room, user_id)
        content = {"membership": "ban", REDACT_EVENTS: True}
        ban = world.send(txn, room, "m.room.member", ALICE, content, state_key=target)
        return RedactOnBanParams(room_id=room.room_id, ban=ban.event_id)

    task = await processes.run(REDACT_ON_BAN, await steps.do(fill))
    redacted = messages + 1  # with the join
    assert (task.status, task.result, task.done) == (Status.COMPLETE, {"redacted": redacted}, redacted)
    assert await count(steps, "redactions WHERE applied") == redacted
    assert await count(steps, "(SELECT DISTINCT target_nid FROM redactions) AS r") == redacted
    assert await count(steps, f"stream WHERE kind = {Kind.REDACTED:d}") == redacted


@ensureDeferred
async def test_guests_leave(processes: Processes) -> None:
    """Each by one event; who has an account stays."""
    steps, world = processes.steps, processes.steps.world
    guests = [f"@guest{number:03}:{SERVER}" for number in range(120)]

    def fill(txn: Transaction) -> RemoveGuestsParams:
        for user_id in guests:
            accounts.create_account(txn, NewAccount(user_id, 1, is_guest=True))
        room = world.room(txn, ALICE, *SPAMMERS, *guests)
        cause = world.send(
            txn, room, "m.room.guest_access", ALICE, {"guest_access": "forbidden"}, state_key=""
        )
        return RemoveGuestsParams(room_id=room.room_id, cause=cause.event_id)

    task = await processes.run(REMOVE_GUESTS, await steps.do(fill))
    assert (task.status, task.result) == (Status.COMPLETE, {"left": 120, "failed_to_leave": 0})
    assert await count(steps, "events WHERE membership = 'leave'") == len(guests)
    assert await count(steps, "memberships WHERE membership = 'join'") == 1 + len(SPAMMERS)


@ensureDeferred
async def test_rooms_are_shut_down(processes: Processes) -> None:
    """All that are named, each member counted once; another one stays as it is."""
    steps = processes.steps
    rooms = [await steps.do(steps.world.room, ALICE, *SPAMMERS) for _ in range(ROOMS + 1)]
    named = tuple(room.room_id for room in rooms[:ROOMS])
    params = ShutdownRoomsParams(room_ids=named, shutdown=ShutdownParams(room_id=named[0], block=True))
    task = await processes.run(SHUTDOWN_ROOMS, params)
    assert task.result is not None
    assert (task.status, task.result["complete"], task.done) == (Status.COMPLETE, ROOMS, ROOMS)
    assert await count(steps, "rooms") == 1
    assert await count(steps, "memberships WHERE membership = 'join'") == 1 + len(SPAMMERS)
    assert await count(steps, "task_items WHERE outcome = 'kicked'") == ROOMS * (1 + len(SPAMMERS))
    assert await count(steps, "blocked_rooms") == ROOMS
