"""Shadow-banned users are told that what they sent was sent, and nobody gets it."""

import base64
import hashlib
import secrets

from synapse_lite.ids import domain_of, random_text
from synapse_lite.rooms.values import Write

ROOM_ID_LETTERS = 18


def unmade_room_id(user_id: str) -> str:
    """An id as those of the rooms that the user makes, which none has."""
    return f"!{random_text(ROOM_ID_LETTERS)}:{domain_of(user_id)}"


def unsent_event_id(write: Write) -> str:
    """An id as those of events, which none has; the same one for the same request of a client."""
    request = secrets.token_hex() if write.request is None else repr((write.room_nid, write.request))
    digest = hashlib.sha256(f"unsent {request}".encode()).digest()
    return f"${base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"
