"""The past of a room: where it ends, and what of it goes or stays when it is purged."""

from attrs import frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.planner import keeping_to_indexes
from synapse_lite.storage.stream import ROOM_ORDER, ROOM_ORDER_BACK, Kind, room_span

Place = tuple[int, int]
"""How far a walk through the past has come: depth and event nid, or pass and position."""

START: Place = (-1, 0)
PASSES = (Kind.KEPT, Kind.EVENT)  # by position: what earlier purges kept may be needed no longer


@frozen
class PurgeBoundary:
    """What is past: events of the room with a smaller `depth`, or with a smaller `position`: one of both.

    With `keeps_local`, those of our users stay. `server_name` is ours.
    """

    room_nid: int
    server_name: str
    depth: int | None = None
    position: int | None = None
    keeps_local: bool = False


@frozen
class PastSlice:
    """Some events of the past: those to delete (of our users, of others), those that stay.

    `last`: where to go on; None when there are no more.
    """

    local: list[int]
    remote: list[int]
    kept: list[int]
    last: Place | None

    @property
    def to_delete(self) -> list[int]:
        return [*self.local, *self.remote]


def depth_of_event(txn: Transaction, event_id: str) -> tuple[str, int] | None:
    """(room id, depth) of an event."""
    return txn.row(
        "SELECT r.room_id, e.depth FROM events e JOIN rooms r USING (room_nid) WHERE e.event_id = %s",
        (event_id,),
    )


def event_at_time(txn: Transaction, room_nid: int, ts: int) -> Place | None:
    """(depth, position) of the last event that was received before or at `ts` (ms); None: there is none.

    Positions and times of receipt rise together, so that the event is found by halving.
    """
    low, high = 0, int(txn.value("SELECT position FROM stream_position"))
    while low < high:
        middle = (low + high + 1) // 2
        position, _, received_ts = _event_at(txn, room_nid, middle) or (0, 0, 0)
        if received_ts <= ts:
            low = middle
        else:
            high = position - 1
    found = _event_at(txn, room_nid, low)
    return (found[1], found[0]) if found else None


def _event_at(txn: Transaction, room_nid: int, position: int) -> tuple[int, int, int] | None:
    """(position, depth, received ts) of the last event up to a position."""
    return txn.row(
        "SELECT s.position, e.depth, e.received_ts FROM stream s JOIN events e USING (event_nid)"
        f" WHERE {room_span('%s', f'{Kind.EVENT:d}', '0', '%s')} ORDER BY {ROOM_ORDER_BACK} LIMIT 1",
        (room_nid, room_nid, position),
    )


@frozen
class _Walk:
    """The order in which the past is gone through. `beyond`: a target `t` is not past, stays, or comes later."""

    place: str
    source: str
    order: str
    beyond: str


_BY_DEPTH = _Walk(
    place="e.depth, e.event_nid",
    source="events e JOIN rooms r USING (room_nid) WHERE e.room_nid = %(room_nid)s AND e.depth < %(edge)s"
    " AND (e.depth, e.event_nid) > (%(first)s, %(second)s)",
    order="e.depth, e.event_nid",
    beyond="t.depth >= %(edge)s OR t.depth > e.depth",
)
_BY_POSITION = _Walk(
    place="%(first)s, s.position",
    source="stream s JOIN events e USING (event_nid) JOIN rooms r ON r.room_nid = s.room_nid"
    f" WHERE {room_span('%(room_nid)s', '%(kind)s', '%(second)s', '%(edge)s, -1')}"
    f" AND (s.kind = {Kind.EVENT:d} OR e.state_key IS NULL)",
    order=ROOM_ORDER,
    beyond="EXISTS (SELECT FROM stream o WHERE o.event_nid = t.event_nid"
    " AND (o.position >= %(edge)s OR o.kind <> s.kind OR o.position > s.position))",
)
_IS_LOCAL = "right({sender}, %(suffix_length)s) = %(suffix)s"


@keeping_to_indexes
def count_past(txn: Transaction, edge: PurgeBoundary, after: Place, limit: int) -> tuple[int, Place | None]:
    """How many the next events of the past are, `limit` at most; and where to go on, None: no more."""
    walk, arguments = _walk(edge, after, limit)
    rows = txn.rows(
        f"SELECT {walk.place} FROM {walk.source} ORDER BY {walk.order} LIMIT %(limit)s", arguments
    )
    return len(rows), rows[-1] if len(rows) == limit else _next_pass(edge, after)


@keeping_to_indexes
def read_past(txn: Transaction, edge: PurgeBoundary, after: Place, limit: int) -> PastSlice:
    """The next events of the past.

    A redaction stays as long as what it redacts: without it the content would come back.
    """
    walk, arguments = _walk(edge, after, limit)
    rows = txn.rows(
        f"SELECT {walk.place}, e.event_nid, {_IS_LOCAL.format(sender='e.sender')} AS is_local,"
        " e.state_key IS NOT NULL OR e.event_nid = ANY(r.extremities)"
        "  OR EXISTS (SELECT FROM redactions d JOIN events t ON t.event_nid = d.target_nid"
        f"   WHERE d.event_nid = e.event_nid AND d.applied AND (t.state_key IS NOT NULL OR {walk.beyond}"
        "    OR t.event_nid = ANY(r.extremities)"
        f"    OR (%(keeps)s AND {_IS_LOCAL.format(sender='t.sender')}))) AS needed"
        f" FROM {walk.source} ORDER BY {walk.order} LIMIT %(limit)s",
        arguments,
    )
    found = PastSlice([], [], [], rows[-1][:2] if len(rows) == limit else _next_pass(edge, after))
    for _, _, nid, is_local, needed in rows:
        if needed or (is_local and edge.keeps_local):
            found.kept.append(nid)
        else:
            (found.local if is_local else found.remote).append(nid)
    return found


@keeping_to_indexes
def read_unplaced(txn: Transaction, edge: PurgeBoundary, depth: int, after: Place, limit: int) -> PastSlice:
    """The next events up to a depth, of which those go that have no position: soft-failed ones, and what only joined branches."""
    # OFFSET 0: looked up for each. Otherwise the stream of all rooms may be read.
    rows = txn.rows(
        f"SELECT e.depth, e.event_nid, {_IS_LOCAL.format(sender='e.sender')} AS is_local,"
        " e.state_key IS NULL AND e.event_nid <> ALL(r.extremities)"
        "  AND NOT EXISTS (SELECT FROM stream s WHERE s.event_nid = e.event_nid OFFSET 0)"
        "  AND NOT EXISTS (SELECT FROM redactions d JOIN events t ON t.event_nid = d.target_nid"
        "   WHERE d.event_nid = e.event_nid AND d.applied) AS goes"
        " FROM events e JOIN rooms r USING (room_nid) WHERE e.room_nid = %(room_nid)s AND e.depth <= %(depth)s"
        " AND (e.depth, e.event_nid) > (%(first)s, %(second)s) ORDER BY e.depth, e.event_nid LIMIT %(limit)s",
        {**_arguments(edge, after, limit), "depth": depth},
    )
    found = PastSlice([], [], [], rows[-1][:2] if len(rows) == limit else None)
    for _, nid, is_local, goes in rows:
        if goes and not (is_local and edge.keeps_local):
            (found.local if is_local else found.remote).append(nid)
    return found


def _walk(edge: PurgeBoundary, after: Place, limit: int) -> tuple[_Walk, dict[str, object]]:
    """With the arguments of its statement."""
    arguments = _arguments(edge, after, limit)
    if edge.position is None:
        return _BY_DEPTH, {**arguments, "edge": edge.depth}
    turn = max(0, after[0])
    return _BY_POSITION, {**arguments, "edge": edge.position, "first": turn, "kind": PASSES[turn]}


def _arguments(edge: PurgeBoundary, after: Place, limit: int) -> dict[str, object]:
    return {
        "room_nid": edge.room_nid,
        "keeps": edge.keeps_local,
        "suffix": f":{edge.server_name}",
        "suffix_length": len(edge.server_name) + 1,
        "first": after[0],
        "second": after[1],
        "limit": limit,
    }


def _next_pass(edge: PurgeBoundary, after: Place) -> Place | None:
    turn = max(0, after[0]) + 1
    return (turn, 0) if edge.position is not None and turn < len(PASSES) else None
