"""Media that events name: in their content, wherever an unencrypted event may have an mxc URI."""

from collections.abc import Sequence
from typing import Any

import orjson
from attrs import frozen

from synapse_lite.matrix.media import parse_mxc
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.media.told import Mxc

MAX_VALUES = 10_000
"""So many values of one event are looked at."""


@frozen
class Mentions:
    """`last`: the event from which to go on; None when there are no more."""

    media: Sequence[Mxc]
    last: int | None


def of_room(txn: Transaction, room_id: str, after: int, limit: int) -> Mentions:
    """What the next `limit` events of a room that hold a URI name."""
    return _mentions(
        txn.rows(
            "SELECT event_nid, json FROM events WHERE room_nid = (SELECT room_nid FROM rooms WHERE room_id = %s)"
            " AND event_nid > %s AND strpos(json, 'mxc://') > 0 ORDER BY event_nid LIMIT %s",
            (room_id, after, limit),
        ),
        limit,
    )


def of_sender(txn: Transaction, sender: str, after: int, limit: int) -> Mentions:
    """As `of_room`, of the events of a user in all rooms."""
    return _mentions(
        txn.rows(
            "SELECT event_nid, json FROM events WHERE sender = %s"
            " AND event_nid > %s AND strpos(json, 'mxc://') > 0 ORDER BY event_nid LIMIT %s",
            (sender, after, limit),
        ),
        limit,
    )


def named_in(content: Any) -> list[Mxc]:
    """In order, each once."""
    found: dict[Mxc, None] = {}
    waiting = [content]
    for _ in range(MAX_VALUES):
        if not waiting:
            break
        match waiting.pop():
            case dict() as value:
                waiting.extend(reversed(value.values()))
            case list() as value:
                waiting.extend(reversed(value))
            case str() as value if (mxc := parse_mxc(value)) is not None:
                found[mxc.origin, mxc.media_id] = None
    return list(found)


def _mentions(rows: Sequence[Sequence[Any]], limit: int) -> Mentions:
    media = {mxc: None for _, json in rows for mxc in named_in(orjson.loads(json).get("content"))}
    return Mentions(list(media), rows[-1][0] if len(rows) == limit else None)
