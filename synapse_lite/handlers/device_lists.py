"""Whose devices changed, for somebody who encrypts for them (client-server API, "Tracking the device list")."""

from collections.abc import Collection

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.storage import device_lists
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.device_keys import signed_users
from synapse_lite.storage.stream import read_position


@frozen
class ListChanges:
    """`changed`: whose keys must be asked for again; `left`: with whom no room is shared any more."""

    changed: Collection[str] = ()
    left: Collection[str] = ()

    def __bool__(self) -> bool:
        return bool(self.changed or self.left)

    def answer(self) -> JsonObject:
        return {"changed": sorted(self.changed), "left": sorted(self.left)}


@frozen
class Span:
    """A stretch of the stream as one user lived through it: their rooms at its beginning and at its end.

    `touched`: the rooms in which something happened; None: that is not known.
    """

    user_id: str
    after: int
    upto: int
    rooms_then: Collection[int]
    rooms_now: Collection[int]
    touched: Collection[int] | None = None


class DeviceLists:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def between(self, user_id: str, after: int, upto: int) -> JsonObject:
        """`changed` and `left` between two positions of the stream."""
        return (await self._database.snapshot(list_changes_between, user_id, after, upto)).answer()


def read_list_changes(txn: Transaction, span: Span) -> ListChanges:
    """From the memberships of both sides: what a client loads lazily or filters out makes no difference."""
    rooms_then, rooms_now = set(span.rooms_then), set(span.rooms_now)
    if span.after >= span.upto and rooms_then == rooms_now:
        return ListChanges(set(), set())  # say, a client that scrolls
    touched = rooms_then | rooms_now
    if span.touched is not None:
        touched &= set(span.touched)
    moved = device_lists.membership_changes(txn, touched, span.after, span.upto) if touched else []
    candidates = {change.user_id for change in moved if change.was_joined != change.is_joined}
    candidates |= device_lists.members(txn, rooms_then ^ rooms_now)
    updated = device_lists.changed_users(txn, span.after, span.upto)
    together = device_lists.memberships(txn, rooms_then | rooms_now, candidates | updated)
    sharing_now = {user for room, user in together if room in rooms_now}
    joined_then = together - {(change.room_nid, change.user_id) for change in moved}
    joined_then |= {(change.room_nid, change.user_id) for change in moved if change.was_joined}
    sharing_then = {user for room, user in joined_then if room in rooms_then}
    changed = (updated | (candidates - sharing_then)) & sharing_now
    left = (candidates & sharing_then) - sharing_now
    own = {span.user_id}
    changed = (changed - own) | (updated & own) | signed_users(txn, span.user_id, span.after, span.upto)
    return ListChanges(changed, left - own)


def list_changes_between(txn: Transaction, user_id: str, after: int, upto: int) -> ListChanges:
    upto = min(upto, read_position(txn))
    now = device_lists.joined_rooms(txn, user_id)
    own = device_lists.own_changes(txn, user_id, after, upto)
    then = (now - {change.room_nid for change in own}) | {
        change.room_nid for change in own if change.was_joined
    }
    return read_list_changes(txn, Span(user_id, after, upto, then, now))
