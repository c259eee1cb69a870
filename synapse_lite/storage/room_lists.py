"""The rooms of a user, as lists of rooms need them: their order, and what filters look at."""

from collections.abc import Collection, Mapping
from sys import intern
from typing import Any

import orjson
from attrs import frozen

from synapse_lite.storage.database import Transaction


@frozen
class ListedRoom:
    """A room that a user is in, invited to, asks to enter, or was put out of.

    `position` is that of the newest event that concerns the user: in the room, while they are in it, else of
    their own membership. What the room is like is None, and `is_known` False, where the user may not look; of one that
    they were put out of it is known what it was then, but for its name.
    """

    room_nid: int
    room_id: str
    membership: str
    sender: str
    member_nid: int
    forgotten: bool
    position: int
    is_known: bool
    encryption: str | None
    room_type: str | None
    name: str | None


_POSITION = "(SELECT position FROM stream WHERE event_nid = {})"
_MEMBER = _POSITION.format("m.event_nid")
_ENCRYPTION = _POSITION.format(
    "(SELECT c.event_nid FROM current_state c"
    " WHERE c.room_nid = m.room_nid AND c.type = 'm.room.encryption' AND c.state_key = '')"
)
# `here`: the user may look. `once`: they were put out of what was shown to them before.
_SELECT = (
    "SELECT m.room_nid, r.room_id, m.membership, m.sender, m.event_nid, m.forgotten,"
    " coalesce((SELECT position FROM stream WHERE event_nid ="
    "  CASE m.membership WHEN 'join' THEN r.last_event_nid ELSE m.event_nid END), 0),"
    " k.here OR k.once,"
    f" CASE WHEN k.here OR (k.once AND ({_ENCRYPTION} > {_MEMBER}) IS NOT TRUE) THEN s.encryption END,"
    " CASE WHEN k.here OR k.once THEN s.room_type END, CASE WHEN k.here THEN s.name END"
    " FROM memberships m JOIN rooms r USING (room_nid) LEFT JOIN room_summary s USING (room_nid)"
    " CROSS JOIN LATERAL (SELECT coalesce(s.state_events, 0) > 0 AND m.membership IN ('join', 'invite', 'knock') AS here,"
    "  coalesce(s.state_events, 0) > 0 AND m.membership IN ('leave', 'ban') AND m.sender <> m.user_id"
    "  AND EXISTS (SELECT FROM events e WHERE e.event_nid = m.event_nid AND e.replaces_nid IS NOT NULL) AS once) AS k"
)


def listed_rooms(
    txn: Transaction, user_id: str, room_nids: Collection[int] | None = None
) -> dict[int, ListedRoom]:
    """By room nid: the rooms of which the user has a membership, those that they left or forgot, too.

    `room_nids`: of these only.
    """
    if room_nids is None:
        rows = txn.rows(f"{_SELECT} WHERE m.user_id = %s", (user_id,))
    else:
        rows = txn.rows(
            f"{_SELECT} WHERE m.user_id = %s AND m.room_nid = ANY(%s)", (user_id, list(room_nids))
        )
    return {row[0]: _listed(*row) for row in rows}


def _listed(room_nid: int, room_id: str, membership: str, sender: str, *others: Any) -> ListedRoom:
    """Equal texts are one in memory: the same stand in the rooms of many users."""
    return ListedRoom(room_nid, intern(room_id), intern(membership), intern(sender), *others)


def children_of(txn: Transaction, room_ids: Collection[str]) -> Mapping[str, set[str]]:
    """Of each space the ids of its rooms, as its current state says: `room_ids` that are unknown are absent."""
    rows = txn.rows(
        "SELECT r.room_id, c.state_key, e.json FROM rooms r JOIN current_state c USING (room_nid)"
        " JOIN events e USING (event_nid)"
        " WHERE r.room_id = ANY(%s) AND c.type = 'm.space.child'"
        " AND NOT EXISTS (SELECT FROM redactions WHERE target_nid = e.event_nid AND applied)",
        (list(room_ids),),
    )
    found: dict[str, set[str]] = {}
    for room_id, child, json in rows:
        if _is_link(json):
            found.setdefault(room_id, set()).add(child)
    return found


def _is_link(json: str) -> bool:
    """One that cannot be read is none: it must not hide the other rooms of its space."""
    try:
        return isinstance(orjson.loads(json)["content"]["via"], list)
    except (ValueError, LookupError, TypeError):
        return False
