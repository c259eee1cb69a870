"""Rooms, their events and their state as Synapse's database has them.

A state group is a set of state events. It is stored whole, or as what it changes of another one.
"""

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

from attrs import frozen

from synapse_lite.canonical_json import JsonObject, decode_exact, decode_object
from synapse_lite.errors import bad_json
from synapse_lite.storage.synapse.database import SynapseDatabase, SynapseRow

StateKey = tuple[str, str]


@frozen
class SynapseRoom:
    """`events`: how many its history has."""

    room_id: str
    version: str
    is_public: bool
    is_partial: bool
    events: int


@frozen
class SynapseEvent:
    """`ordering`: its place in Synapse's stream. `json` is the event, `metadata` what Synapse knows of it besides. `group` is the state after it; None where it is not
    known. Times are milliseconds since 1970.
    """

    event_id: str
    ordering: int
    json: str
    metadata: str
    is_outlier: bool
    rejected: str | None
    received_ts: int | None
    group: int | None

    def pdu(self) -> JsonObject:
        """With `unsigned`, where Synapse puts what may be seen of the room. 400 when it is no JSON object."""
        pdu = decode_exact(self.json)
        if not isinstance(pdu, dict):
            raise bad_json("Not an event")
        return pdu

    def is_soft_failed(self) -> bool:
        """400 when that cannot be read."""
        return bool(decode_object(self.metadata).get("soft_failed"))


@frozen
class StateGroup:
    """What it says, over `base` if there is one."""

    base: int | None
    event_ids: dict[StateKey, str]


_FOUND = (
    "(SELECT e.stream_ordering, e.topological_ordering, e.event_id, e.received_ts, e.outlier, j.json,"
    " j.internal_metadata, x.reason AS rejected, g.state_group FROM events e JOIN event_json j ON j.event_id = e.event_id"
    " LEFT JOIN rejections x ON x.event_id = e.event_id"
    " LEFT JOIN event_to_state_groups g ON g.event_id = e.event_id"
    " WHERE {}) AS found"
)
_EVENTS = _FOUND.format("e.room_id = ? AND {}")
_EVENTS_BY_ID = _FOUND.format("e.event_id = ? AND e.outlier")
_BY_DEPTH = ("topological_ordering", "stream_ordering")


def rooms(database: SynapseDatabase) -> list[SynapseRoom]:
    """Those that users of this server are in, have been in, or are invited to; the one in which something was said last at the end."""
    found = database.rows(
        "SELECT r.room_id, r.room_version, r.is_public, p.room_id AS partial, e.number FROM rooms r"
        " JOIN (SELECT DISTINCT room_id FROM local_current_membership) m ON m.room_id = r.room_id"
        " LEFT JOIN partial_state_rooms p ON p.room_id = r.room_id"
        " LEFT JOIN (SELECT room_id, max(stream_ordering) AS newest, count(*) AS number FROM events WHERE NOT outlier GROUP BY room_id) e"
        "  ON e.room_id = r.room_id ORDER BY coalesce(e.newest, 0), r.room_id"
    )
    return [
        SynapseRoom(
            row["room_id"],
            row["room_version"] or "1",
            bool(row["is_public"]),
            row["partial"] is not None,
            row["number"] or 0,
        )
        for row in found
    ]


def outliers(database: SynapseDatabase, room_id: str) -> Iterator[SynapseEvent]:
    """Events that are known by themselves, causes first."""
    for row in database.pages(_EVENTS.format("e.outlier"), _BY_DEPTH, arguments=[room_id]):
        yield _event(row)


def outlier(database: SynapseDatabase, event_id: str) -> SynapseEvent | None:
    """That one, if it is known by itself."""
    rows = database.rows(f"SELECT * FROM {_EVENTS_BY_ID}", [event_id])
    return _event(rows[0]) if rows else None


def history(database: SynapseDatabase, room_id: str) -> Iterator[SynapseEvent]:
    """The others in the order of the room: first what was fetched later, then what came as it was said."""
    earlier = _EVENTS.format("NOT e.outlier AND e.stream_ordering < 0")
    for row in database.pages(earlier, _BY_DEPTH, arguments=[room_id]):
        yield _event(row)
    live = _EVENTS.format("NOT e.outlier AND e.stream_ordering >= 0")
    for row in database.pages(live, ("stream_ordering",), arguments=[room_id]):
        yield _event(row)


def state_group(database: SynapseDatabase, group: int) -> StateGroup:
    edges = database.rows("SELECT prev_state_group FROM state_group_edges WHERE state_group = ?", [group])
    entries = database.values(
        "SELECT type, state_key, event_id FROM state_groups_state WHERE state_group = ?", [group]
    )
    return StateGroup(
        edges[0]["prev_state_group"] if edges else None,
        {(kind, key): event_id for kind, key, event_id in entries},
    )


def current_state(database: SynapseDatabase, room_id: str) -> dict[StateKey, str]:
    """Event ids; empty when nobody of this server is in the room."""
    rows = database.rows(
        "SELECT type, state_key, event_id FROM current_state_events WHERE room_id = ?", [room_id]
    )
    return {(row["type"], row["state_key"]): row["event_id"] for row in rows}


def forward_extremities(database: SynapseDatabase, room_id: str) -> list[str]:
    rows = database.rows("SELECT event_id FROM event_forward_extremities WHERE room_id = ?", [room_id])
    return [row["event_id"] for row in rows]


def local_memberships(database: SynapseDatabase, room_id: str) -> dict[str, tuple[str, bool]]:
    """By user of this server the event that says what they are in the room, and whether they have forgotten it."""
    rows = database.rows(
        "SELECT c.user_id, c.event_id, m.forgotten FROM local_current_membership c"
        " LEFT JOIN room_memberships m ON m.event_id = c.event_id WHERE c.room_id = ?",
        [room_id],
    )
    return {row["user_id"]: (row["event_id"], bool(row["forgotten"])) for row in rows}


def _event(row: SynapseRow) -> SynapseEvent:
    return SynapseEvent(
        row["event_id"],
        row["stream_ordering"],
        row["json"],
        row["internal_metadata"],
        bool(row["outlier"]),
        row["rejected"],
        row["received_ts"],
        row["state_group"],
    )


NUMBERED = (
    ("events", "stream_ordering"),
    ("device_lists_stream", "stream_id"),
    ("device_inbox", "stream_id"),
    ("stream_positions", "stream_id"),  # of all streams, also where the rows are gone
)


def newest_position(database: SynapseDatabase) -> int:
    """No number that other servers or clients have been told of its streams is higher, and no message waits behind it."""
    found = [
        database.rows(f"SELECT max({column}) AS newest FROM {table}")[0]["newest"] or 0
        for table, column in NUMBERED
    ]
    return max(found)


def aliases(database: SynapseDatabase, room_id: str) -> dict[str, str | None]:
    """Who has made them."""
    rows = database.rows("SELECT room_alias, creator FROM room_aliases WHERE room_id = ?", [room_id])
    return {row["room_alias"]: row["creator"] for row in rows}


def room_account_data(database: SynapseDatabase, room_id: str) -> Iterator[SynapseRow]:
    return database.pages("room_account_data", ("user_id", "account_data_type"), "room_id = ?", [room_id])


def room_tags(database: SynapseDatabase, room_id: str) -> Iterator[list[SynapseRow]]:
    """All of a user at a time: of those of whom the room has heard, as the table is not indexed by rooms."""
    of_members = "room_id = ? AND user_id IN (SELECT user_id FROM local_current_membership WHERE room_id = ?)"
    rows = database.pages("room_tags", ("user_id", "tag"), of_members, [room_id, room_id])
    for _, of_user in groupby(rows, key=itemgetter("user_id")):
        yield list(of_user)


def receipts(database: SynapseDatabase, room_id: str) -> Iterator[SynapseRow]:
    return database.pages("receipts_linearized", ("stream_id",), "room_id = ?", [room_id])


def blocked_rooms(database: SynapseDatabase) -> Iterator[tuple[str, str]]:
    """Rooms that nobody may join, and who has said so."""
    for row in database.pages("blocked_rooms", ("room_id",)):
        yield row["room_id"], row["user_id"]
