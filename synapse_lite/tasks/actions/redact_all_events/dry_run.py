"""What a redaction would do: the same walk, which neither locks nor writes, but for the cursor."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.storage import redact_targets
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.tasks import TaskItem, read_items, record_items
from synapse_lite.tasks.actions.redact_all_events.spec import (
    UNKNOWN_ROOM,
    WOULD_REDACT,
    RedactCursor,
    RedactTask,
    RoomCursor,
)
from synapse_lite.tasks.outcome import Done, Next

MAX_ROOMS = 50  # in one step
SHOWN_ROOMS = 1000  # in the result


def plan(txn: Transaction, task: RedactTask) -> Next:
    """The first step of every redaction."""
    params = task.params
    unknown = redact_targets.unknown_rooms(txn, params.rooms)
    record_items(txn, task.id, [TaskItem(room_id, UNKNOWN_ROOM) for room_id in unknown])
    total = redact_targets.count_to_redact(txn, params.wanted(), params.rooms, params.limit)
    return Next(RedactCursor(), phase="count" if params.dry_run else "redact", total=total)


def count(txn: Transaction, task: RedactTask, cursor: RedactCursor) -> Next | Done:
    params = task.params
    done = 0
    for _ in range(MAX_ROOMS):
        room = cursor.room
        if room is None:
            found = redact_targets.next_room(txn, params.user_id, cursor.after_nid, params.rooms)
            if found is None:
                return Done(_counts(txn, task.id, cursor), done=done)
            room = RoomCursor(room_nid=found[0], room_id=found[1], issuer="", place=None)
        budget = task.batch - done
        left = budget if params.limit is None else min(budget, params.limit - room.redacted)
        targets = redact_targets.to_redact(txn, params.wanted(), room.room_nid, room.before_nid, left)
        done += len(targets)
        room = room.model_copy(
            update={
                "before_nid": targets[-1][0] if targets else None,
                "redacted": room.redacted + len(targets),
            }
        )
        if len(targets) == budget:
            return Next(cursor.model_copy(update={"room": room}), done=done)
        if room.redacted:
            record_items(txn, task.id, [TaskItem(room.room_id, WOULD_REDACT, str(room.redacted))])
        cursor = RedactCursor(after_nid=room.room_nid, redacted=cursor.redacted + room.redacted)
    return Next(cursor, done=done)


def _counts(txn: Transaction, task_id: str, cursor: RedactCursor) -> JsonObject:
    items = read_items(txn, task_id, outcome=WOULD_REDACT, after=None, limit=SHOWN_ROOMS)
    return {
        "would_redact": cursor.redacted,
        "rooms": {item.item: int(item.detail or 0) for item in items},
    }
