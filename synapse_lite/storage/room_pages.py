"""A page of a room's history with all that decides how it is shown, in one statement.

A round trip costs as much as what it asks for; so who may read the page is asked together with it.
"""

from collections.abc import Sequence

from attrs import frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.marks import Marks
from synapse_lite.storage.planner import keeping_to_indexes
from synapse_lite.storage.prepared import Prepared
from synapse_lite.storage.rooms import ACCESS, RoomAccess, access_of
from synapse_lite.storage.stream import ROOM_ORDER, ROOM_ORDER_BACK, Kind, Place, room_span
from synapse_lite.storage.timeline import Entry, Selection, condition_of

_MARKS = (  # OFFSET: each is looked up by the event, not met on the way through those of the server
    "(SELECT min(d.event_nid) FROM (SELECT event_nid FROM redactions"
    "  WHERE target_nid = s.event_nid AND applied OFFSET 0) AS d) AS redaction_nid,"
    " EXISTS (SELECT FROM relations r WHERE r.parent_id ="
    "  (SELECT e.event_id FROM events e WHERE e.event_nid = s.event_nid) OFFSET 0) AS is_parent"
)
_COLUMNS = (  # of the whole page, which is read faster than rows
    "array_agg(position), array_agg(minor), array_agg(event_nid),"
    " array_agg(ARRAY[event_nid, redaction_nid]) FILTER (WHERE redaction_nid IS NOT NULL),"
    " array_agg(event_nid) FILTER (WHERE is_parent)"
)
_COUNT = 5


@frozen
class RoomPage:
    """How the reader stands to the room, its events in the order asked, and what is known of them."""

    access: RoomAccess
    entries: Sequence[Entry]
    marks: Marks

    @property
    def newest(self) -> Entry | None:
        return max(self.entries, default=None)


@keeping_to_indexes
def read_page(
    txn: Transaction, room_id: str, user_id: str, after: Place, upto: Place, limit: int, selection: Selection,
    *, backwards: bool,
) -> RoomPage | None:  # fmt: skip
    """As `timeline.page`, whoever the reader is: what they may see is to be found out. None for an unknown room."""
    condition, arguments = condition_of(selection)
    statement = _statement(condition, backwards=backwards) if condition else _PLAIN[backwards]
    row = txn.row(statement, (user_id, room_id, *after, *upto, *arguments, limit))
    return (
        None if row is None else _page(access_of(row[:-_COUNT]), *(column or () for column in row[-_COUNT:]))
    )


def _statement(condition: str, *, backwards: bool) -> str:
    order = ROOM_ORDER_BACK if backwards else ROOM_ORDER
    return (
        f"SELECT a.*, p.* FROM ({ACCESS} OFFSET 0) AS a CROSS JOIN LATERAL (SELECT {_COLUMNS} FROM ("
        f"SELECT s.position, s.minor, s.event_nid, {_MARKS} FROM stream s"
        f" WHERE {room_span('a.room_nid', f'{Kind.EVENT:d}', '%s, %s', '%s, %s')} {condition}"
        f" ORDER BY {order} LIMIT %s) AS page) AS p"
    )


_PLAIN = {
    True: Prepared("room_page_back", _statement("", backwards=True)),
    False: Prepared("room_page", _statement("", backwards=False)),
}


def _page(
    access: RoomAccess, positions: Sequence[int], minors: Sequence[int], nids: Sequence[int],
    redactions: Sequence[tuple[int, int]], parents: Sequence[int],
) -> RoomPage:  # fmt: skip
    entries = list(zip(map(Place, positions, minors), nids, strict=True))
    return RoomPage(access, entries, Marks({*nids}, dict(redactions), {*parents}))
