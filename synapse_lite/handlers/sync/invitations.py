"""Rooms that a user is invited to, or wants to enter. Runs in database threads."""

from collections.abc import Mapping

from synapse_lite.handlers.invite_permission import hides_invites
from synapse_lite.handlers.prejoin_state import PrejoinState
from synapse_lite.handlers.sync.values import Invitation, Reading
from synapse_lite.matrix.event import stripped_state
from synapse_lite.matrix.types import MEMBER
from synapse_lite.storage.events import StoredEvent
from synapse_lite.storage.stripped_state import stripped_of


def read_invitations(
    reading: Reading, prejoin: PrejoinState, rooms: Mapping[int, str], members: Mapping[int, StoredEvent]
) -> list[Invitation]:
    """`members` are the user's member events by room nid; the state tells of the room and of who invites.

    Of a room that this server is not in, what came with the invite, or the answer to the knock.
    """
    ignored = reading.request.ignored
    members = {
        nid: stored for nid, stored in members.items() if nid in rooms and stored.event.sender not in ignored
    }
    is_invited = any(stored.event.membership == "invite" for stored in members.values())
    if is_invited and hides_invites(reading.txn, reading.request.user_id):
        return []
    inviting = [
        (nid, (MEMBER, stored.event.sender))
        for nid, stored in members.items()
        if stored.event.sender != reading.request.user_id
    ]
    shown = prejoin.read(reading.txn, members.keys(), inviting)
    given = stripped_of(reading.txn, members, reading.request.user_id)
    return [
        Invitation(rooms[nid], [*given.get(nid, found), stripped_state(members[nid].event)])
        for nid, found in shown.items()
    ]
