"""What the task is asked, how far it has come, and what it says about rooms."""

from collections.abc import Iterable

from synapse_lite.canonical_json import JsonObject
from synapse_lite.storage.redact_targets import Redactable
from synapse_lite.tasks.model import TaskModel
from synapse_lite.tasks.specs import TaskSpec, TaskView, Upcast

FAILED = "failed"  # outcome of an event that could not be redacted; the detail says why
ROOM = "room"  # outcome of a room; the detail is a RoomReport as JSON
FAILED_ROOM = "failed_room"  # outcome of a room that was given up; the detail says why
UNKNOWN_ROOM = "unknown_room"
WOULD_REDACT = "would_redact"  # outcome of a room in a dry run; the detail is a number of events


class RedactParams(TaskModel):
    """`rooms` empty: every room that holds an event of the user. `limit`: per room; None: no limit.

    `dry_run`: only count what would be redacted. `delete_media`: at the end a `delete_media` task for what the
    user has uploaded. `withdraw_invites`: and a `withdraw_invites` task for the invites that nobody has answered.
    """

    user_id: str
    rooms: tuple[str, ...] = ()
    reason: str | None = None
    limit: int | None = None
    use_admin: bool = False
    before_ts: int | None = None
    after_ts: int | None = None
    event_types: tuple[str, ...] | None = None
    dry_run: bool = False
    delete_media: bool = False
    withdraw_invites: bool = False

    def wanted(self) -> Redactable:
        return Redactable(self.user_id, self.event_types, self.before_ts, self.after_ts)


class Place(TaskModel):
    """Where the next redaction hangs when its sender could not send it now: an event, and the state after it."""

    event_nid: int
    snapshot_nid: int


class RoomCursor(TaskModel):
    """A room that is being worked on.

    `since`: with a limit, the stream position of the oldest event to redact. `before_nid`: events
    from here on are done.
    """

    room_nid: int
    room_id: str
    issuer: str
    place: Place | None
    since: int | None = None
    before_nid: int | None = None
    redacted: int = 0
    failed: int = 0


class RedactCursor(TaskModel):
    """`after_nid`: rooms up to here are done, or `busy` and to be done last; `room` None: the next has not begun.

    `waits`: how often in a row all rooms that are left were busy. The others count.
    """

    after_nid: int = 0
    room: RoomCursor | None = None
    busy: tuple[int, ...] = ()
    waits: int = 0
    rooms: int = 0
    failed_rooms: int = 0
    redacted: int = 0
    failed: int = 0
    remaining: int = 0

    def at(self, after_nid: int, busy: Iterable[int]) -> "RedactCursor":
        """Between two rooms."""
        return self.model_copy(update={"after_nid": after_nid, "room": None, "busy": tuple(busy)})


class RoomReport(TaskModel):
    """What became of a room, shown by the status endpoint.

    `issuer`: who redacted, at the end if that changed meanwhile. `remaining` counts what `limit` left
    out. `may_soft_fail`: the issuer could not send now, so that other servers in the room may keep the
    redactions from their clients.
    """

    issuer: str
    redacted: int
    failed: int
    remaining: int
    may_soft_fail: bool


def _to_place(cursor: JsonObject) -> JsonObject:
    """Up to version 2 redactions made a branch of the room, whose depth was noted, too."""
    room = cursor.get("room")
    if not room:
        return cursor
    branch = room.get("branch")
    place = branch and {key: branch[key] for key in ("event_nid", "snapshot_nid")}
    rest = {key: value for key, value in room.items() if key != "branch"}
    return {**cursor, "room": {**rest, "place": place}}


REDACT_ALL_EVENTS = TaskSpec(
    action="redact_all_events",
    version=4,
    params=RedactParams,
    cursor=RedactCursor,
    resource=lambda params: params.user_id,
    unique=lambda params: None if params.dry_run else params.user_id,
    upcasts=(Upcast(version=1), Upcast(version=2, cursor=_to_place), Upcast(version=3)),
)

RedactTask = TaskView[RedactParams, RedactCursor]
