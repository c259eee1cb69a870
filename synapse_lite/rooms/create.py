"""Creating a room: all events of its birth in one transaction, or none."""

from collections.abc import Sequence

from attrs import frozen

from synapse_lite import ids
from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.matrix.event import Draft
from synapse_lite.matrix.room_versions import RoomVersion
from synapse_lite.matrix.types import CREATE
from synapse_lite.rooms.append import EventAppender, append_all
from synapse_lite.rooms.members import invite_draft, join_draft
from synapse_lite.rooms.values import Write
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.rooms import Room

ROOM_ID_LETTERS = 18


@frozen
class NewRoom:
    """`state`, as (type, state key, content), follows the creator's join; the invites follow the state.

    `shows_invited`: by name and avatar. `created_ts` is the time of the create event (ms).
    """

    creator: str
    version: RoomVersion
    create: JsonObject
    created_ts: int
    state: Sequence[tuple[str, str, JsonObject]]
    invited: Sequence[str] = ()
    is_direct: bool = False
    shows_invited: bool = True


def create_room(txn: Transaction, appender: EventAppender, clock: Clock, new: NewRoom) -> Room:
    """Raises `AuthError` when the rules of the new room forbid its own state, `UniqueViolation` when there is
    the same room already: of rooms whose id is a hash, those of the same creator and millisecond are equal.
    """
    create = Draft(CREATE, new.creator, new.create, new.created_ts, "")
    room = appender.create_room(txn, create, new.version, _room_id(new.version, new.creator))
    drafts = [
        join_draft(txn, new.creator, clock.now_ms()),
        *(Draft(kind, new.creator, content, clock.now_ms(), key) for kind, key, content in new.state),
        *(
            invite_draft(
                txn,
                new.creator,
                user_id,
                clock.now_ms(),
                is_direct=new.is_direct,
                shows_profile=new.shows_invited,
            )
            for user_id in new.invited
        ),
    ]
    append_all(txn, appender, [Write(room.nid, draft) for draft in drafts])
    return room


def _room_id(version: RoomVersion, creator: str) -> str | None:
    """None where the id follows from the create event."""
    if version.room_id_is_hash:
        return None
    return f"!{ids.random_text(ROOM_ID_LETTERS)}:{ids.domain_of(creator)}"
