"""What lists of rooms show of a room, without its events."""

from collections.abc import Collection, Mapping

from attrs import frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.room_directory import changed_listing


@frozen
class RoomSummary:
    """As the current state says it; None: it does not, or what said it is redacted.

    `joined` and `invited` count members, `joined_local` those of this server; `state_events` the whole
    current state. `last_event_nid` is the newest event that pages show.
    """

    room_nid: int
    room_id: str
    version: str
    creator: str | None
    is_public: bool
    name: str | None
    topic: str | None
    avatar_url: str | None
    canonical_alias: str | None
    join_rule: str | None
    history_visibility: str | None
    guest_access: str | None
    encryption: str | None
    room_type: str | None
    federates: bool
    joined: int
    joined_local: int
    invited: int
    state_events: int
    last_event_nid: int | None


_SIZES = frozenset({"joined", "joined_local", "state_events"})
_SELECT = (
    "SELECT r.room_nid, r.room_id, r.version, r.creator, r.is_public, s.name, s.topic, s.avatar_url,"
    " s.canonical_alias, s.join_rule, s.history_visibility, s.guest_access, s.encryption, s.room_type,"
    " coalesce(s.federates, TRUE), coalesce(s.joined, 0), coalesce(s.joined_local, 0), coalesce(s.invited, 0),"
    " coalesce(s.state_events, 0), r.last_event_nid"
    " FROM rooms r LEFT JOIN room_summary s USING (room_nid)"
)


def read_summaries(txn: Transaction, room_nids: Collection[int]) -> dict[int, RoomSummary]:
    """By room nid; unknown rooms are absent."""
    # Row by row: for a hundred of ten thousand rooms the planner likes to read all.
    rows = txn.rows(
        "SELECT summary.* FROM unnest(%s::bigint[]) AS wanted (nid)"
        f" CROSS JOIN LATERAL ({_SELECT} WHERE r.room_nid = wanted.nid OFFSET 0) AS summary",
        (list(room_nids),),
    )
    return {row[0]: RoomSummary(*row) for row in rows}


def looks_redacted(txn: Transaction, since: Mapping[int, int]) -> set[int]:
    """The rooms whose name or avatar was redacted after the position of each, as it is now."""
    rows = txn.rows(
        "SELECT r.room_nid FROM unnest(%s::bigint[], %s::bigint[]) AS r (room_nid, position) WHERE EXISTS ("
        " SELECT FROM current_state c JOIN redactions d ON d.target_nid = c.event_nid AND d.applied"
        " JOIN stream s ON s.event_nid = d.event_nid WHERE c.room_nid = r.room_nid AND c.state_key = ''"
        " AND c.type IN ('m.room.name', 'm.room.avatar') AND s.position > r.position OFFSET 0)",
        (list(since), list(since.values())),
    )
    return {nid for (nid,) in rows}


def take_names(txn: Transaction, room_nid: int) -> bool:
    """Note that the room has the names of the one that it replaces; False: it was noted before."""
    return bool(
        txn.execute(
            "UPDATE room_summary SET took_names = TRUE WHERE room_nid = %s AND NOT took_names", (room_nid,)
        )
    )


def add_to_summary(
    txn: Transaction, room_nid: int, counts: Mapping[str, int], values: Mapping[str, object]
) -> None:
    """Add to the counts and set the values, both by column. The room's lock is held."""
    columns = ["room_nid", *counts, *values]
    updates = [
        *(f"{name} = room_summary.{name} + excluded.{name}" for name in counts),
        *(f"{name} = excluded.{name}" for name in values),
    ]
    if updates:
        upsert = (
            f"INSERT INTO room_summary ({', '.join(columns)}) VALUES %s"
            f" ON CONFLICT (room_nid) DO UPDATE SET {', '.join(updates)}"
        )
        txn.insert(_with_copies(upsert, columns), [(room_nid, *counts.values(), *values.values())])


def _with_copies(upsert: str, changed: Collection[str]) -> str:
    """The statement, and with it what other tables hold of the `changed` columns."""
    copies = [copy for copy in (changed_listing(changed), _changed_sizes(changed)) if copy]
    if not copies:
        return upsert
    *others, last = copies
    also = "".join(f", copy_{number} AS ({copy})" for number, copy in enumerate(others))
    return f"WITH s AS ({upsert} RETURNING room_summary.*){also} {last}"


def _changed_sizes(changed: Collection[str]) -> str | None:
    """As `changed_listing`, of the counts by which rooms are listed."""
    if _SIZES.isdisjoint(changed):
        return None
    return (
        "INSERT INTO room_sizes SELECT room_nid, joined, joined_local, state_events FROM s ON CONFLICT (room_nid)"
        " DO UPDATE SET (joined, joined_local, state_events) = ROW(excluded.joined, excluded.joined_local, excluded.state_events)"
    )
