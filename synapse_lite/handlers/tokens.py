"""Sync and pagination tokens: `s` and a position of the stream (docs/architecture.md).

A place within a position, where history was fetched later, is `s12345_-7`.
That of a /sync which carried messages to the device names them: `_d` and the position of the last one.
A position of sliding sync (`handlers.sliding_sync.values.Pos`) is good as a place, too.
"""

import re

from attrs import frozen

from synapse_lite.errors import invalid_param
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.imported.places import place_of
from synapse_lite.storage.stream import Place

_TOKEN = re.compile(r"s([0-9]{1,18})(?:_(-[0-9]{1,9}))?(?:_d([0-9]{1,18}))?")
_NUMBER = re.compile(r"[0-9]{1,18}")
# Of a Synapse whose data were taken over: a place in each of its streams, or several where several processes write.
_SYNAPSE = re.compile(r"[smt][0-9.~-]{1,400}(?:_m?[0-9.~-]{1,400}){6,30}")
_SYNAPSE_PLACE = re.compile(r"(?:s|m|t[0-9]{1,18}-)(-?[0-9]{1,18})((?:~[0-9]{1,18}\.[0-9]{1,18})*)_.*")
_SLIDING = re.compile(r"p[0-9]{1,18}_([0-9]{1,18})(?:_[0-9]{1,9})?")


@frozen
class PlaceBefore:
    """In the stream that the rooms had before they were taken over. `storage.imported.places` knows where that is."""

    ordering: int


PageToken = Place | PlaceBefore | None


def write_token(place: Place) -> str:
    return f"s{place.position}" if place.minor == 0 else f"s{place.position}_{place.minor}"


def write_sync_token(position: int, delivered: int | None) -> str:
    return f"s{position}" if delivered is None else f"s{position}_d{delivered}"


def read_token(text: str) -> Place:
    """400 `M_INVALID_PARAM` for what we never gave out."""
    sliding = _SLIDING.fullmatch(text)
    if sliding is not None:
        return Place(int(sliding[1]))
    match = _match(text)
    return Place(int(match[1]), int(match[2] or 0))


def read_optional_token(text: str | None) -> Place | None:
    """As `read_token`; an empty one is none."""
    return read_token(text) if text else None


def read_page_token(text: str | None) -> PageToken:
    """As `read_optional_token`, of a page of events: clients keep those of Synapse with what they remember of rooms."""
    before = _SYNAPSE_PLACE.fullmatch(text) if text and _SYNAPSE.fullmatch(text) else None
    if before is None:
        return read_optional_token(text)
    writers = [int(one.partition(".")[2]) for one in before[2].split("~")[1:]]
    return PlaceBefore(max([int(before[1]), *writers]))


async def in_room(database: Database, room_id: str, token: PageToken) -> Place | None:
    """The place in a room. Where that did not come from Synapse, its token says nothing."""
    return await database.read(find_in_room, room_id, token) if isinstance(token, PlaceBefore) else token


def find_in_room(txn: Transaction, room_id: str, token: PageToken) -> Place | None:
    """As `in_room`, in a transaction."""
    return place_of(txn, room_id, token.ordering) if isinstance(token, PlaceBefore) else token


def read_sync_token(text: str) -> tuple[int | None, int | None]:
    """The position, and up to where messages to the device were in the answer; errors as of `read_token`.

    No position for a token of Synapse: its client is told anew all that there is, as no client could begin again.
    """
    if _SYNAPSE.fullmatch(text):
        return None, None
    match = _match(text)
    position = Place(int(match[1]), int(match[2] or 0)).whole
    return position, None if match[3] is None else min(int(match[3]), position)


def read_to_device_token(text: str) -> int:
    """Up to where a client of sliding sync has the messages to its device; errors as of `read_token`.

    A number alone was Synapse's, where messages that were taken over had the same positions.
    """
    return int(text) if _NUMBER.fullmatch(text) else read_token(text).whole


def _match(text: str) -> re.Match[str]:
    match = _TOKEN.fullmatch(text)
    if match is None:
        raise invalid_param(f"Invalid token: {text[:80]!r}")
    return match
