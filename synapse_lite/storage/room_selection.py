"""Rooms that have something in common, such as those that nobody of this server is in any more."""

from attrs import asdict, frozen

from synapse_lite.storage.database import Transaction


@frozen
class RoomSelection:
    """What holds for every one of the rooms; None for whatever does not matter.

    `abandoned`: nobody of this server is joined, invited or knocking; who left need not have forgotten the room.
    `quiet_since`: no event since then, in milliseconds since 1970, by the time that it says. Members are those joined.
    """

    abandoned: bool | None = None
    quiet_since: int | None = None
    min_members: int | None = None
    max_members: int | None = None

    @property
    def is_empty(self) -> bool:
        return all(value is None for value in asdict(self).values())


@frozen
class SelectedRoom:
    """One of them."""

    room_id: str
    name: str | None
    joined_members: int
    joined_local_members: int
    last_event_ts: int | None


_CONDITIONS = {
    "abandoned": (
        "(s.joined_local = 0 AND NOT EXISTS (SELECT FROM memberships m WHERE m.room_nid = r.room_nid"
        " AND m.server_name = %(server_name)s AND m.membership IN ('invite', 'knock'))) = %(abandoned)s"
    ),
    "quiet_since": (
        "NOT EXISTS (SELECT FROM events e WHERE e.room_nid = r.room_nid AND e.origin_server_ts >= %(quiet_since)s)"
    ),
    "min_members": "s.joined >= %(min_members)s",
    "max_members": "s.joined <= %(max_members)s",
}
_LAST_EVENT = "(SELECT max(e.origin_server_ts) FROM events e WHERE e.room_nid = r.room_nid)"
_SOURCE = "rooms r JOIN room_summary s USING (room_nid)"


def count_selected(txn: Transaction, selection: RoomSelection, server_name: str) -> int:
    condition, arguments = _condition(selection, server_name)
    return int(txn.value(f"SELECT count(*) FROM {_SOURCE} WHERE {condition}", arguments))


def read_selected(
    txn: Transaction, selection: RoomSelection, server_name: str, *, after: str, limit: int
) -> list[SelectedRoom]:
    """The next `limit` rooms, in the order of their ids."""
    condition, arguments = _condition(selection, server_name)
    rows = txn.rows(
        f"SELECT r.room_id, s.name, s.joined, s.joined_local, {_LAST_EVENT} FROM {_SOURCE}"
        f" WHERE {condition} AND r.room_id > %(after)s ORDER BY r.room_id LIMIT %(limit)s",
        {**arguments, "after": after, "limit": limit},
    )
    return [SelectedRoom(*row) for row in rows]


def _condition(selection: RoomSelection, server_name: str) -> tuple[str, dict[str, object]]:
    wanted = {name: value for name, value in asdict(selection).items() if value is not None}
    conditions = ["NOT r.purging", *(_CONDITIONS[name] for name in wanted)]
    return " AND ".join(conditions), {**wanted, "server_name": server_name}
