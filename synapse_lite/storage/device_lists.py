"""Whose devices a user has to hear of: those with whom they share a room."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import orjson

from synapse_lite.matrix.types import MEMBER
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import END, Change, Kind

JOIN = "join"
DEVICES = "devices"


class MembershipChange(NamedTuple):
    """Whether somebody was joined to a room at one position of the stream, and is at a later one."""

    room_nid: int
    user_id: str
    was_joined: bool
    is_joined: bool


def publish_devices(txn: Transaction, user_id: str, device_ids: Sequence[str]) -> None:
    """These devices of the user, or their keys, are others than before, or are gone."""
    txn.publish(Kind.DEVICE_LIST, user_id=user_id, key=DEVICES, content=orjson.dumps(device_ids).decode())


def changed_devices(change: Change) -> list[str] | None:
    """The devices that a change tells of; None: the cross-signing keys of the user."""
    if change.key != DEVICES:
        return None
    device_ids: list[str] = orjson.loads(change.content or "[]")
    return device_ids


def changed_users(txn: Transaction, after: int, upto: int) -> set[str]:
    """Whose devices or keys changed at after < position <= upto."""
    rows = txn.rows(
        f"SELECT DISTINCT user_id FROM stream WHERE kind = {Kind.DEVICE_LIST:d}"
        " AND position > %s AND position <= %s",
        (after, upto),
    )
    return {user_id for (user_id,) in rows}


def changed_after(txn: Transaction, position: int) -> set[str]:
    """Whose devices or keys changed since, or who signed keys of others."""
    rows = txn.rows(
        f"SELECT DISTINCT user_id FROM stream WHERE kind IN ({Kind.DEVICE_LIST:d}, {Kind.USER_SIGNATURES:d})"
        " AND position > %s",
        (position,),
    )
    return {user_id for (user_id,) in rows}


def last_change(txn: Transaction, user_id: str, before: int = END) -> int:
    """The position at which a device of the user last changed, or its keys; 0: none ever did."""
    position = txn.value(
        f"SELECT position FROM stream WHERE user_id = %s AND kind = {Kind.DEVICE_LIST:d} AND key IS NOT NULL"
        " AND position < %s ORDER BY position DESC LIMIT 1",
        (user_id, before),
    )
    return int(position or 0)


def membership_changes(
    txn: Transaction, room_nids: Collection[int], after: int, upto: int
) -> list[MembershipChange]:
    """Of all whose membership in the rooms changed at after < position <= upto: before and after."""
    rows = txn.rows(f"{_FIRST_AND_LAST.format(source=_OF_ROOMS)}", (list(room_nids), after, upto))
    return [MembershipChange(*row) for row in rows]


def own_changes(txn: Transaction, user_id: str, after: int, upto: int) -> list[MembershipChange]:
    """Of the user, in whatever room."""
    rows = txn.rows(f"{_FIRST_AND_LAST.format(source=_OF_USER)}", (user_id, after, upto))
    return [MembershipChange(*row) for row in rows]


def joined_rooms(txn: Transaction, user_id: str) -> frozenset[int]:
    rows = txn.rows("SELECT room_nid FROM memberships WHERE user_id = %s AND membership = 'join'", (user_id,))
    return frozenset(room_nid for (room_nid,) in rows)


def members(txn: Transaction, room_nids: Collection[int]) -> set[str]:
    """Who is joined to one of the rooms."""
    rows = txn.rows(
        "SELECT DISTINCT user_id FROM memberships WHERE room_nid = ANY (%s) AND membership = 'join'",
        (list(room_nids),),
    )
    return {user_id for (user_id,) in rows}


def memberships(
    txn: Transaction, room_nids: Collection[int], user_ids: Collection[str]
) -> set[tuple[int, str]]:
    """(room, user): which of the users are joined to which of the rooms."""
    if not room_nids or not user_ids:
        return set()
    rows = txn.rows(
        "SELECT room_nid, user_id FROM memberships"
        " WHERE user_id = ANY (%s) AND room_nid = ANY (%s) AND membership = 'join'",
        (list(user_ids), list(room_nids)),
    )
    return {(room_nid, user_id) for room_nid, user_id in rows}


_OF_ROOMS = f"""
    unnest(%s::bigint[]) AS room (nid), LATERAL (
        SELECT room_nid, state_key, position, event_nid, previous_nid FROM state_deltas
        WHERE room_nid = room.nid AND position > %s AND position <= %s AND type = '{MEMBER}' OFFSET 0) AS delta
"""
_OF_USER = f"""
    (SELECT room_nid, state_key, position, event_nid, previous_nid FROM state_deltas
     WHERE type = '{MEMBER}' AND state_key = %s AND position > %s AND position <= %s) AS delta
"""
_FIRST_AND_LAST = """
SELECT change.room_nid, change.state_key, coalesce(before.membership = 'join', FALSE), coalesce(later.membership = 'join', FALSE)
FROM (
    SELECT room_nid, state_key, (array_agg(previous_nid ORDER BY position))[1] AS previous_nid,
        (array_agg(event_nid ORDER BY position DESC))[1] AS event_nid
    FROM {source} GROUP BY room_nid, state_key) AS change
LEFT JOIN events AS before ON before.event_nid = change.previous_nid
LEFT JOIN events AS later ON later.event_nid = change.event_nid
"""
