"""The stream: one counter that orders everything a client can see in /sync.

Positions are given out at the end of a transaction, under one row lock, so they become visible in
order and without gaps; see docs/architecture.md. `Transaction.commit` is the only caller of
`write_changes`: whoever writes something visible says so with `Transaction.publish`.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import Enum, IntEnum
from typing import Any, Final, NamedTuple, Protocol

import orjson
from attrs import frozen
from psycopg2.extensions import AsIs

from synapse_lite.storage.prepared import Prepared


class Kind(IntEnum):
    """What changed; the numbers are stored."""

    EVENT = 1
    RECEIPT = 2
    TYPING = 3
    ACCOUNT_DATA = 4
    SESSION = 5  # a token, device or account changed: cached sessions of the user are void
    ROOM_GONE = (
        6  # a room is purged: the user is out of it; without a user: what was known of it is no longer true
    )
    KEPT = 7  # an event below the edge of a purged history: state, or one of ours; no page shows it
    DEVICE_LIST = 8  # devices of the user or their keys; without a `key`: the cross-signing keys, or whatever
    TO_DEVICE = 9  # a message in the inbox of a device
    KEY_COUNTS = 14  # one-time or fallback keys of a device were uploaded or claimed
    KEYS_NEEDED = 15  # the last one-time key of a device, or its fallback key, is used
    USER_SIGNATURES = 16  # the user signed keys of others, of which nobody else hears
    PRIVATE_RECEIPT = 17  # of no concern to anybody else
    STATE = 18  # the current state changed otherwise than by the event there: see `storage.state_deltas`
    PROFILE = 19  # the account or its profile changed: what the user directory says of it
    PRESENCE = 20  # the user is there, or is not any more: see `storage.presence`
    THREAD_SUBSCRIPTION = 21  # the user follows a thread, or does so no longer
    FORGOTTEN = 22  # the user has forgotten a room that they are out of
    REDACTED = 23  # an event was redacted by one that is not a redaction, whose nid is the `key`
    PURGED = 24  # events of the room's past are deleted, or rejected
    # The event whose nid is the `key` is stored otherwise now: whole, or as rejected. Without a key: a purge deletes
    # some of the room, of which clients hear when it is done.
    AMENDED = 25
    MEDIA = 26  # what is known of media, or of bytes, is no longer true: see `storage.media.told`


NOT_IN_FORCE = "not in force"
"""The `key` of a state event that did not become part of the current state."""
AFTER_GAP = "after a gap"
"""The `key` of an event before which others are missing."""


class Scope(Enum):
    """Whom a change concerns, besides the user whom it names."""

    ROOM = "those in the room"
    USER = "nobody"
    SHARED = "those in any room of the user's"
    AT_LEISURE = "those in any room of the user's, all that came meanwhile at once"


class Trim(Enum):
    """When a row may go, once all clients that still follow have seen it (`tasks.periodic.FOLLOWED_MS`)."""

    NEVER = "never"
    SUPERSEDED = "when there is a later one of the same user, room and key"
    FOLLOWED = "at once: it only concerned those who were there"


@frozen
class KindInfo:
    """`is_urgent`: other processes hear of it at once, also those in which nobody waits."""

    scope: Scope
    trim: Trim
    is_urgent: bool = False


KINDS: Mapping[Kind, KindInfo] = {
    Kind.EVENT: KindInfo(Scope.ROOM, Trim.NEVER),
    Kind.RECEIPT: KindInfo(Scope.ROOM, Trim.SUPERSEDED),
    Kind.TYPING: KindInfo(Scope.ROOM, Trim.FOLLOWED),
    Kind.ACCOUNT_DATA: KindInfo(Scope.USER, Trim.SUPERSEDED),
    Kind.SESSION: KindInfo(Scope.USER, Trim.FOLLOWED, is_urgent=True),
    Kind.ROOM_GONE: KindInfo(Scope.USER, Trim.NEVER),
    Kind.KEPT: KindInfo(Scope.USER, Trim.NEVER),
    Kind.DEVICE_LIST: KindInfo(Scope.SHARED, Trim.SUPERSEDED),
    Kind.TO_DEVICE: KindInfo(Scope.USER, Trim.FOLLOWED),
    Kind.KEY_COUNTS: KindInfo(Scope.USER, Trim.FOLLOWED),
    Kind.KEYS_NEEDED: KindInfo(Scope.USER, Trim.FOLLOWED),
    Kind.USER_SIGNATURES: KindInfo(Scope.USER, Trim.SUPERSEDED),
    Kind.PRIVATE_RECEIPT: KindInfo(Scope.USER, Trim.SUPERSEDED),
    Kind.PROFILE: KindInfo(Scope.USER, Trim.SUPERSEDED),
    Kind.PRESENCE: KindInfo(Scope.AT_LEISURE, Trim.FOLLOWED),
    Kind.THREAD_SUBSCRIPTION: KindInfo(Scope.USER, Trim.SUPERSEDED),
    Kind.FORGOTTEN: KindInfo(Scope.USER, Trim.FOLLOWED),
    Kind.PURGED: KindInfo(Scope.ROOM, Trim.FOLLOWED),
    Kind.REDACTED: KindInfo(Scope.ROOM, Trim.FOLLOWED),
    Kind.AMENDED: KindInfo(Scope.USER, Trim.FOLLOWED),
    Kind.MEDIA: KindInfo(Scope.USER, Trim.FOLLOWED, is_urgent=True),
    Kind.STATE: KindInfo(Scope.ROOM, Trim.NEVER),
}


class Place(NamedTuple):
    """A place in the history of a room: the end of `position`, or with a negative `minor` a point within it.

    What was fetched later stands before the event whose gap it fills: at its position, with a minor of its own.
    """

    position: int
    minor: int = 0

    @property
    def before(self) -> "Place":
        """The place just before it."""
        return Place(self.position, self.minor - 1)

    @property
    def whole(self) -> int:
        """The last position that lies before it, or ends there."""
        return self.position if self.minor == 0 else self.position - 1


START: Final = Place(0)


class Change(NamedTuple):
    """One position of the stream.

    `user_id` is whom it concerns besides the room: whose membership changed, the owner of
    account data, a receipt or a session. `redacts_nid` is the event that an applied redaction empties.
    `device_id` is the only device of the user whom it concerns; None: all of them. `key` is what of it
    changed: the type of account data, the type and thread of a receipt. `content` is what it is now, as
    JSON, where it is small and many read it at once. `devices`, in memory only (`with_devices`): the ids by user
    of a change that concerns many devices.
    """

    position: int
    kind: Kind
    room_nid: int | None = None
    event_nid: int | None = None
    user_id: str | None = None
    redacts_nid: int | None = None
    device_id: str | None = None
    key: str | None = None
    content: str | None = None
    devices: Mapping[str, Collection[str]] | None = None

    def concerns(self, user_id: str, room_nids: Collection[int]) -> bool:
        """Whether a user who is in these rooms may see something new.

        Of what concerns all who share a room with `user_id` only they know here: see `Scope`.
        """
        if self.devices is not None:
            return user_id in self.devices
        return self.user_id == user_id or (self.room_nid in room_nids and self.kind in _OF_ROOMS)

    @property
    def about_nid(self) -> int | None:
        """The event of which it tells: the one that came, or that redacts without being a redaction."""
        return int(self.key) if self.kind is Kind.REDACTED and self.key else self.event_nid

    def is_for(self, user_id: str, device_id: str | None) -> bool:
        """Whether what concerns the user, or a room of theirs, concerns this device."""
        if self.devices is not None:
            return device_id in self.devices.get(user_id, ())
        return self.user_id != user_id or self.device_id in {None, device_id}


Devices = Collection[tuple[str, str]]  # (user, device)


def write_devices(devices: Devices) -> str:
    """As `content` of one change that concerns many devices."""
    return orjson.dumps([[user_id, device_id] for user_id, device_id in devices]).decode()


def with_devices(change: Change) -> Change:
    """As it is kept in memory: `content` that names devices becomes `devices`."""
    if change.kind not in _OF_DEVICES or change.content is None:
        return change
    devices: dict[str, list[str]] = {}
    for user_id, device_id in orjson.loads(change.content):
        devices.setdefault(user_id, []).append(device_id)
    return change._replace(content=None, devices=devices)


def devices_of(changes: Iterable[Change], kinds: Collection[Kind]) -> Iterator[tuple[str, str]]:
    """(user, device) of the changes of these kinds that concern single devices."""
    for change in changes:
        if change.kind not in kinds:
            continue
        if change.devices is not None:
            yield from ((user_id, one) for user_id, some in change.devices.items() for one in some)
        elif change.user_id is not None and change.device_id is not None:
            yield change.user_id, change.device_id


_OF_DEVICES = frozenset({Kind.TO_DEVICE, Kind.KEY_COUNTS})


def kinds_of(*scopes: Scope) -> frozenset[Kind]:
    return frozenset(kind for kind, info in KINDS.items() if info.scope in scopes)


def kinds_trimmed(trim: Trim) -> list[int]:
    """The numbers of the kinds, for SQL."""
    return [int(kind) for kind, info in KINDS.items() if info.trim is trim]


_OF_ROOMS = kinds_of(Scope.ROOM)


class Reader(Protocol):
    """The part of a `Transaction` that reading takes."""

    def rows(self, sql: str, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]: ...


class Writer(Protocol):
    """The part of a `Transaction` that writing takes."""

    def later(self, sql: str, arguments: Sequence[object] = ()) -> None: ...


_STORED = Change._fields.index("devices")
_COLUMNS = "position, kind, room_nid, event_nid, user_id, redacts_nid, device_id, key, content"

ROOM_ORDER = "s.room_nid, s.kind, s.position, s.minor"
ROOM_ORDER_BACK = "s.room_nid DESC, s.kind DESC, s.position DESC, s.minor DESC"
END = 2**63 - 1  # as `upto`


def room_span(room_nid: str, kind: str, after: str, upto: str) -> str:
    """SQL about `stream s`, of SQL values: the room's rows of a kind at after < place <= upto.

    A bound is a position, which means its end, or `position, minor`.

    Rows are compared, and sorted by `ROOM_ORDER`, so that only the index of the room's rows will do. Of equal
    columns and `ORDER BY position` the planner may think that the whole server's stream is soon read to the
    first rows of the room: it knows how many there are, not that all of them are old.
    """
    first, last = (bound if "," in bound else f"{bound}, 0" for bound in (after, upto))
    return (
        "s.room_nid IS NOT NULL"  # as in the index
        f" AND ({ROOM_ORDER}) > ({room_nid}, {kind}, {first}) AND ({ROOM_ORDER}) <= ({room_nid}, {kind}, {last})"
    )


_BEFORE = "current_setting('synapse_lite.before')::bigint"
_WRITE = Prepared(
    "write_changes",
    "WITH head AS ("
    " UPDATE stream_position SET position = position + %s RETURNING position - %s AS before),"
    f" told AS (INSERT INTO stream ({_COLUMNS})"
    " SELECT head.before + n, kind, room_nid, event_nid, user_id, redacts_nid, device_id, key, content"
    " FROM head, unnest(%s::smallint[], %s::bigint[], %s::bigint[], %s::text[], %s::bigint[], %s::text[],"
    "  %s::text[], %s::text[]) WITH ORDINALITY"
    " AS item (kind, room_nid, event_nid, user_id, redacts_nid, device_id, key, content, n))"
    " SELECT set_config('synapse_lite.before', before::text, false) FROM head",
)
READ_BEFORE = f"SELECT {_BEFORE}"
"""The position before those that the session gave out last, also when that transaction has ended."""

Position = int | AsIs
"""A position, or the SQL for one that is not known yet."""


def write_changes(txn: Writer, changes: Sequence[Change]) -> None:
    """Give the changes the next positions, and store them; until the commit nobody else gives out any."""
    kinds, *columns = (
        list(column) for column in zip(*(change[1:_STORED] for change in changes), strict=True)
    )
    txn.later(_WRITE, [len(changes), len(changes), [int(kind) for kind in kinds], *columns])


def position_in_sql(index: int) -> AsIs:
    """The position of the `index`-th of the changes that are being written."""
    return AsIs(f"{_BEFORE} + {index + 1}")


def placed(changes: Iterable[Change], before: int) -> list[Change]:
    """The changes that were written, at their positions."""
    return [change._replace(position=position) for position, change in enumerate(changes, before + 1)]


@frozen
class Lineage:
    """What a database that goes on keeps: the table of the position, and that it only rises."""

    table: int
    position: int

    def leads_to(self, later: "Lineage") -> bool:
        return later.table == self.table and later.position >= self.position


def read_position(txn: Reader) -> int:
    """The last position given out."""
    ((position,),) = txn.rows("SELECT position FROM stream_position")
    return int(position)


def begin_beyond(txn: Writer, position: int) -> None:
    """Give out no position up to this one: other servers know of earlier ones."""
    txn.later("UPDATE stream_position SET position = greatest(position, %s)", (position,))


def read_lineage(txn: Reader) -> Lineage | None:
    """None while the database has no position: it is being restored."""
    rows = txn.rows("SELECT tableoid::bigint, position FROM stream_position")
    return Lineage(*rows[0]) if rows else None


def is_told(txn: Reader, event_nid: int) -> bool:
    """Whether the stream has the event, which it takes once."""
    return bool(txn.rows("SELECT 1 FROM stream WHERE event_nid = %s", (event_nid,)))


def read_changes(txn: Reader, after: int, limit: int) -> list[Change]:
    """The next changes after a position, in order, at most `limit`."""
    rows = txn.rows(
        f"SELECT {_COLUMNS} FROM stream WHERE position > %s AND minor >= 0 ORDER BY position LIMIT %s",
        (after, limit),
    )
    return [Change(row[0], Kind(row[1]), *row[2:]) for row in rows]


def read_changes_of(txn: Reader, kinds: Collection[Kind], after: int, upto: int, limit: int) -> list[Change]:
    """The next changes of some kinds in (after, upto], in order, at most `limit`."""
    rows = txn.rows(
        f"SELECT {_COLUMNS} FROM stream WHERE position > %s AND position <= %s AND minor = 0 AND kind = ANY(%s)"
        " ORDER BY position LIMIT %s",
        (after, upto, [int(kind) for kind in kinds], limit),
    )
    return [Change(row[0], Kind(row[1]), *row[2:]) for row in rows]


def quiet_changes(
    txn: Reader, user_id: str, room_nids: Collection[int], kinds: Collection[Kind], after: int, upto: int
) -> list[Change]:
    """Changes in order: of the rooms and of the user alone, of these kinds except events."""
    of_room = [int(kind) for kind in kinds if kind in _OF_ROOMS and kind is not Kind.EVENT]
    of_user = [int(kind) for kind in kinds if kind not in _OF_ROOMS]
    rows = txn.rows(
        f"SELECT {_COLUMNS} FROM unnest(%s::bigint[]) AS r (of_room) CROSS JOIN unnest(%s::smallint[]) AS k (of_kind)"
        f" CROSS JOIN LATERAL (SELECT {_COLUMNS} FROM stream s"
        f"  WHERE {room_span('of_room', 'of_kind', '%s', '%s')} OFFSET 0) AS of_rooms"
        f" UNION ALL SELECT {_COLUMNS} FROM unnest(%s::smallint[]) AS k (of_kind)"
        f" CROSS JOIN LATERAL (SELECT {_COLUMNS} FROM stream s WHERE user_id IS NOT NULL"
        "  AND (user_id, kind, position) > (%s, of_kind, %s) AND (user_id, kind, position) <= (%s, of_kind, %s)"
        "  OFFSET 0) AS of_user ORDER BY position",
        (list(room_nids), of_room, after, upto, of_user, user_id, after, user_id, upto),
    )
    return [Change(row[0], Kind(row[1]), *row[2:]) for row in rows]
