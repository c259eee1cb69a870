"""Member events: what they show of a user, and bringing users in or out."""

from collections.abc import Collection

from synapse_lite.canonical_json import JsonObject
from synapse_lite.matrix.event import Draft
from synapse_lite.matrix.types import MEMBER
from synapse_lite.rooms.values import Write
from synapse_lite.storage import accounts
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.rooms import Membership

SHOWN_FIELDS = ("displayname", "avatar_url")


def shown_profile(txn: Transaction, user_id: str) -> JsonObject:
    """What a member event shows of a user; nothing of those whom this server does not know."""
    profile = accounts.read_profile(txn, user_id) or {}
    return {name: profile[name] for name in SHOWN_FIELDS if name in profile}


def profile_writes(
    txn: Transaction, events: EventStore, user_id: str, members: Collection[Membership], now_ms: int
) -> list[Write]:
    """Member events that show the profile as it is now, with all else that the present ones (`members`) hold.

    None for rooms that show it already.
    """
    known = events.load(txn, [member.event_nid for member in members])
    profile = shown_profile(txn, user_id)
    writes = []
    for member in members:
        old = known[member.event_nid].event.content
        new = {**{key: value for key, value in old.items() if key not in SHOWN_FIELDS}, **profile}
        if new != old:
            writes.append(Write(member.room_nid, Draft(MEMBER, user_id, new, now_ms, user_id)))
    return writes


def join_draft(txn: Transaction, user_id: str, now_ms: int) -> Draft:
    return Draft(MEMBER, user_id, {**shown_profile(txn, user_id), "membership": "join"}, now_ms, user_id)


def invite_draft(
    txn: Transaction, sender: str, user_id: str, now_ms: int, *, is_direct: bool, shows_profile: bool = True
) -> Draft:
    content: JsonObject = {**(shown_profile(txn, user_id) if shows_profile else {}), "membership": "invite"}
    if is_direct:
        content["is_direct"] = True
    return Draft(MEMBER, sender, content, now_ms, user_id)


def leave_draft(user_id: str, now_ms: int) -> Draft:
    """In the user's own name."""
    return Draft(MEMBER, user_id, {"membership": "leave"}, now_ms, user_id)
