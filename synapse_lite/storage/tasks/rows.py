"""The values of the task engine, as the database keeps them. Times are milliseconds since 1970."""

from collections.abc import Iterable, Sequence
from enum import StrEnum

from attrs import field, frozen
from attrs.converters import optional

from synapse_lite.canonical_json import JsonObject

Capability = tuple[str, int]
"""An action, and the version of its params and cursor."""

FollowerKey = tuple[str, int]
"""A follower's name, and the number of the shard."""


class Status(StrEnum):
    SCHEDULED = "scheduled"
    ACTIVE = "active"
    COMPLETE = "complete"
    FAILED = "failed"
    CANCELLED = "cancelled"


class WaitingReason(StrEnum):
    """Why a pending task does not run."""

    NO_RUNNER = "no_runner"  # no live process is able to
    PAUSED = "paused"  # its action is
    BACKOFF = "backoff"  # its time has not come
    LOCK = "lock"  # another task holds its lock key, or the last place of its action


TASK_COLUMNS = ("id", "action", "status", "timestamp_ms", "resource_id", "result", "error", "created_ts")
"""What a list of tasks may be sorted by: the fields of Synapse, and when it was asked for."""


class Transition(StrEnum):
    """What can happen to a task; the words of its history."""

    ENQUEUED = "enqueued"
    CLAIMED = "claimed"
    RESCUED = "rescued"  # claimed from an owner whose lease had expired
    POSTPONED = "postponed"
    RETRIED = "retried"
    RELEASED = "released"
    CANCEL_REQUESTED = "cancel_requested"
    REOPENED = "reopened"  # had ended, and goes on from its cursor
    PAUSED = "paused"  # released, because its action is paused
    COMPLETED = "complete"
    FAILED = "failed"
    CANCELLED = "cancelled"


def _capabilities(pairs: Iterable[tuple[str, int]]) -> list[Capability]:
    return [(action, version) for action, version in pairs]


@frozen
class NewTask:
    """A row to be: `params` is JSON text; `run_at_ms` None means now."""

    id: str
    action: str
    version: int
    params: str
    requester: str
    endpoint: str
    resource_id: str | None
    unique_key: str | None
    lock_key: str | None
    priority: int
    max_attempts: int
    run_at_ms: int | None
    parent_id: str | None = None


@frozen
class TaskRequest:
    """A request that may be repeated. `digest` tells it from others that were given the same key by mistake."""

    requester: str
    key: str
    digest: bytes


@frozen
class Task:
    """A task as its observers see it.

    `timestamp_ms` is when it may run while it is scheduled, else its last change. `owner` is the name
    of the runner that works on it; `attempt` counts failures since the last progress. `runnable_by`
    names the live runners that are able to run it, and `last_seen_runner` the runner that was able to
    most recently, alive or not. `claimed_done` was done when the present owner took it.
    `parent_id` is the task of which it is a part.
    """

    id: str
    action: str
    version: int
    status: Status = field(converter=Status)
    timestamp_ms: int
    resource_id: str | None
    params: JsonObject
    result: JsonObject | None
    error: str | None
    done: int
    total: int | None
    phase: str | None
    owner: str | None
    attempt: int
    max_attempts: int
    priority: int
    requester: str
    endpoint: str
    cancel_requested: bool
    created_at_ms: int
    updated_at_ms: int
    finished_at_ms: int | None
    claimed_at_ms: int | None
    claimed_done: int
    runnable_by: list[str]
    last_seen_runner: str | None
    waiting_reason: WaitingReason | None = field(converter=optional(WaitingReason))
    parent_id: str | None

    @property
    def eta_ms(self) -> int | None:
        """Milliseconds until it is done, at the pace of its present owner; None when that is not known."""
        progress = self.done - self.claimed_done
        if (
            self.status is not Status.ACTIVE
            or self.total is None
            or self.claimed_at_ms is None
            or progress <= 0
        ):
            return None
        left = max(0, self.total - self.done)
        return left * (self.updated_at_ms - self.claimed_at_ms) // progress


@frozen
class Children:
    """How many parts a task has, by what has become of them."""

    pending: int
    complete: int
    failed: int
    cancelled: int

    @property
    def ended(self) -> int:
        return self.complete + self.failed + self.cancelled


@frozen
class TaskFilter:
    """Empty means any. Timestamps up to and including `max_timestamp_ms`; `parent_id`: the parts of a task.

    `periodic`: what the server does again and again by itself, or what somebody asked for.
    """

    actions: Sequence[str] = ()
    resource_id: str | None = None
    statuses: Sequence[Status] = ()
    max_timestamp_ms: int | None = None
    parent_id: str | None = None
    periodic: bool | None = None


@frozen
class TaskOrder:
    """By a column of `TASK_COLUMNS`, and by the id where it is the same."""

    column: str
    descending: bool = False


@frozen
class TaskEvent:
    """One line of a task's history."""

    at_ms: int
    transition: Transition = field(converter=Transition)
    runner: str | None
    detail: str | None


@frozen
class TaskItem:
    """What became of one item that a task worked on."""

    item: str
    outcome: str
    detail: str | None = None


@frozen
class Runner:
    """One start of a process that runs tasks; `active` counts the tasks that it owns."""

    id: str
    name: str
    started_at_ms: int
    expires_at_ms: int
    alive: bool
    active: int
    capabilities: list[Capability] = field(converter=_capabilities)


@frozen
class Unserved:
    """Pending tasks that no live runner is able to run."""

    action: str
    version: int
    count: int
    oldest_run_at_ms: int
    last_seen_runner: str | None
    last_seen_at_ms: int | None


@frozen
class ActionState:
    """`max_running` None: no limit. `pending` tasks wait, `active` ones have an owner."""

    action: str
    versions: list[int]
    paused: bool
    max_running: int | None
    pending: int
    active: int
    runnable_by: list[str]


@frozen
class Lease:
    """The right to work on a task, until someone else claims it."""

    task_id: str
    epoch: int
    runner: str


@frozen
class Claimed:
    """A task that is ours now; `rescued_from` is the runner whose lease had expired."""

    lease: Lease
    action: str
    version: int
    attempt: int
    max_attempts: int
    rescued_from: str | None


@frozen
class Fenced:
    """A task under its fence: nobody else can claim it before the transaction ends. JSON is text.

    `objection` says why the requester may not act as a server admin now; None when they may.
    """

    version: int
    params: str
    cursor: str | None
    done: int
    total: int | None
    attempt: int
    max_attempts: int
    requester: str
    objection: str | None
    cancel_requested: bool
    paused: bool


@frozen
class FollowerLease:
    """The right to advance a follower, until someone else claims it."""

    name: str
    shard: int
    epoch: int
    runner: str

    @property
    def key(self) -> FollowerKey:
        return self.name, self.shard


@frozen
class FencedFollower:
    """A follower under its fence. `head` is the last position of the stream; `delivering`: see the table."""

    position: int
    delivering: int | None
    attempt: int
    paused: bool
    head: int

    @property
    def lag(self) -> int:
        """Positions. Who had to wait for the fence may see a `head` from before that, which is not gone back to."""
        return max(0, self.head - self.position)


@frozen
class FollowerState:
    """A follower as its observers see it. `lag` counts positions of the stream; `owner_alive` None: no owner.

    The stream is trimmed no further than the `slowest` one has come.
    """

    name: str
    shard: int
    position: int
    lag: int
    slowest: bool
    owner: str | None
    owner_alive: bool = field(converter=bool)
    attempt: int
    error: str | None
    paused: bool
    updated_at_ms: int


@frozen
class Gauges:
    """`counts` by action and status; `waiting_ms` of the oldest task that could run now, by action."""

    counts: dict[tuple[str, str], int]
    waiting_ms: dict[str, int]
    unserved: list[Unserved]
    followers: list[FollowerState]
