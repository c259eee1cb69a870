"""Tasks about accounts and their devices."""

from collections.abc import Callable

from synapse_lite.storage import deactivation, devices, one_time_keys, to_device
from synapse_lite.storage.account_data import put_account_data
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.one_time_keys import StoredKey
from synapse_lite.storage.stream import read_position
from synapse_lite.storage.to_device import Address
from synapse_lite.tasks.actions.deactivate_user import DEACTIVATE_USER, DeactivateParams
from synapse_lite.tasks.actions.delete_device_messages import DELETE_DEVICE_MESSAGES, DeleteMessagesParams
from synapse_lite.tasks.actions.delete_old_otks import DELETE_OLD_OTKS, DeleteOldKeysParams
from synapse_lite.tasks.actions.erase_user import ERASE_USER, EraseParams
from synapse_lite.tasks.actions.erase_users import ERASE_USERS, EraseUsersParams
from synapse_lite.tasks.actions.prune_devices import PRUNE_DEVICES, PruneDevicesParams
from tests.chaos.stage import Outcome, Stage, Subject, count, nids
from tests.chaos.subjects_of_media import upload

ROOMS = 40
MESSAGES = 12
FILES = 150
DEVICES = 1200
KEYED = 200
INBOX = 2500
OLD, BEFORE, NEW = 1, 5_000, 2_000_000_000_000
FORGOTTEN = "memberships WHERE user_id = %s AND membership = 'leave' AND forgotten"
LEAVES = "events WHERE room_nid = ANY(%s) AND sender = %s AND membership = 'leave'"
OPEN = (
    "users WHERE user_id = %s AND (NOT deactivated OR password_hash IS NOT NULL OR displayname IS NOT NULL)"
)


def erased_user(stage: Stage) -> Subject:
    params, expected, read = _erased(stage, ROOMS, MESSAGES)
    return Subject(ERASE_USER, params, expected, read)


def erased_users(stage: Stage) -> Subject:
    few = [_erased(stage, ROOMS // 8, MESSAGES) for _ in range(4)]
    user_ids = tuple(params.user_id for params, _, _ in few)

    def read(txn: Transaction) -> Outcome:
        return {params.user_id: read_one(txn) for params, _, read_one in few}

    params = EraseUsersParams(user_ids=user_ids, erasure=few[0][0])
    return Subject(ERASE_USERS, params, {params.user_id: expected for params, expected, _ in few}, read)


def _erased(
    stage: Stage, in_rooms: int, messages: int
) -> tuple[EraseParams, Outcome, Callable[[Transaction], Outcome]]:
    """What they wrote is redacted once, what they uploaded is gone, and so are they, from every room, once."""
    owner, user = stage.user("owner"), stage.user("erased")
    rooms = [stage.room(owner, user) for _ in range(in_rooms)]
    for room in rooms:
        stage.speak(room, user, messages)
        stage.speak(room, owner, 1)
    stage.do(_make_devices, user, FILES, OLD)
    stage.do(upload, user, FILES)

    def read(txn: Transaction) -> Outcome:
        redacted = (
            "redactions r JOIN events e ON e.event_nid = r.target_nid WHERE r.applied AND e.sender = %s"
        )
        written = f"{redacted} AND e.type = 'm.room.message'"
        return {
            "redacted": count(txn, written, user),
            "targets": txn.value(f"SELECT count(DISTINCT target_nid) FROM {written}", (user,)),
            "of others": count(txn, redacted, owner),
            "leaves": count(txn, LEAVES, nids(rooms), user),
            "forgotten": count(txn, FORGOTTEN, user),
            "left": [count(txn, f"{table} WHERE user_id = %s", user) for table in ("devices", "media")],
            "open": count(txn, OPEN, user),
        }

    all_messages = in_rooms * messages
    expected = {"redacted": all_messages, "targets": all_messages, "of others": 0}
    expected |= {"leaves": in_rooms, "forgotten": in_rooms, "left": [0, 0], "open": 0}
    return EraseParams(user_id=user), expected, read


def closed_account(stage: Stage) -> Subject:
    """They have left every room, once, and own nothing any more."""
    owner, user = stage.user("owner"), stage.user("closed")
    rooms = [stage.room(owner, user) for _ in range(ROOMS)]
    stage.do(_make_devices, user, FILES, OLD)

    def own(txn: Transaction) -> None:
        for number in range(DEVICES):
            put_account_data(txn, user, 0, f"org.example.{number}", {})
        assert deactivation.close_account(txn, user, erase=True)

    stage.do(own)

    def read(txn: Transaction) -> Outcome:
        return {
            "leaves": count(txn, LEAVES, nids(rooms), user),
            "joined": count(txn, "memberships WHERE user_id = %s AND membership = 'join'", user),
            "left": [
                count(txn, f"{table} WHERE user_id = %s", user) for table in ("devices", "account_data")
            ],
            "open": count(txn, OPEN, user),
        }

    expected = {"leaves": ROOMS, "joined": 0, "left": [0, 0], "open": 0}
    result = {"devices": FILES, "left_rooms": ROOMS, "failed_to_leave": 0, "deleted_rows": DEVICES}
    params = DeactivateParams(user_id=user, erase=True)
    return Subject(DEACTIVATE_USER, params, expected, read, result)


def stale_devices(stage: Stage) -> Subject:
    """The old ones are gone, each counted once."""
    user = stage.user("devices")
    stage.do(_make_devices, user, DEVICES, OLD)
    stage.do(_make_devices, user, DEVICES, NEW)

    def read(txn: Transaction) -> Outcome:
        old = "devices WHERE user_id = %s AND last_seen_ts < %s"
        return {"old": count(txn, old, user, BEFORE), "all": count(txn, "devices WHERE user_id = %s", user)}

    params = PruneDevicesParams(before_ts=BEFORE, user_ids=(user,))
    expected = {"old": 0, "all": DEVICES}
    return Subject(PRUNE_DEVICES, params, expected, read, {"dry_run": False, "devices": DEVICES})


def old_keys(stage: Stage) -> Subject:
    """Those of old devices are gone, each counted once; nobody else on the stage has keys."""
    user = stage.user("keys")
    stage.do(_give_keys, user)

    def read(txn: Transaction) -> Outcome:
        keys = "one_time_keys JOIN key_stocks USING (stock_nid) JOIN devices USING (user_id, device_id)"
        return {
            "old": count(txn, f"{keys} WHERE user_id = %s AND last_seen_ts < %s", user, BEFORE),
            "all": count(txn, f"{keys} WHERE user_id = %s", user),
        }

    params = DeleteOldKeysParams(before_ts=BEFORE)
    expected = {"old": 0, "all": 10 * KEYED}
    return Subject(DELETE_OLD_OTKS, params, expected, read, {"dry_run": False, "keys": 10 * KEYED})


def inbox(stage: Stage) -> Subject:
    """Messages to a device that is gone are gone; those for a later one of its name stay."""
    sender, user = stage.user("sender"), stage.user("inbox")
    (device_id,) = stage.do(_make_devices, user, 1, OLD)

    def write(messages: int) -> None:
        contents = [(Address(user, device_id), "{}")]
        for _ in range(messages):
            stage.do(to_device.put_messages, sender, "m.test", contents)

    def fill(txn: Transaction) -> None:
        txn.insert(
            "INSERT INTO device_inbox (user_id, device_id, position, sender, type, content) VALUES %s",
            [(user, device_id, -number, sender, "m.test", "{}") for number in range(INBOX)],
        )

    stage.do(fill)
    up_to = stage.do(read_position)
    write(3)

    def read(txn: Transaction) -> Outcome:
        return {"messages": count(txn, "device_inbox WHERE user_id = %s", user)}

    params = DeleteMessagesParams(user_id=user, device_id=device_id, up_to_stream_id=up_to)
    return Subject(DELETE_DEVICE_MESSAGES, params, {"messages": 3}, read, {"deleted": INBOX})


def _make_devices(txn: Transaction, user_id: str, number: int, last_seen_ts: int) -> list[str]:
    names = [f"D{last_seen_ts}x{one}" for one in range(number)]
    for name in names:
        devices.create_device(txn, user_id, name, None, 1)
    txn.execute(
        "UPDATE devices SET last_seen_ts = %s WHERE user_id = %s AND device_id = ANY(%s)",
        (last_seen_ts, user_id, names),
    )
    return names


def _give_keys(txn: Transaction, user_id: str) -> None:
    for last_seen in (OLD, NEW):
        for device_id in _make_devices(txn, user_id, KEYED, last_seen):
            keys = [StoredKey("signed", f"{number}", f"{number}", "{}") for number in range(10)]
            one_time_keys.add_keys(txn, user_id, device_id, keys)
