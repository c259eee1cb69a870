"""What is no longer true of media is told through the stream, as processes remember the rows that they often serve.

Every function that changes or deletes what `files.read_many` or `thumbnails.read_thumbnail` may have found calls `tell`
in the same transaction (`tests/storage/media/test_told.py`). What comes anew need not be told: nobody remembers that
something is absent.
"""

from collections.abc import Collection

import orjson
from attrs import frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import Change, Kind

MOST_TOLD = 20
"""Names and hashes of one change; of more than these nothing is said but that it may be any. Changes stay in memory."""

Mxc = tuple[str, str]
"""Origin and media id."""


@frozen
class Told:
    """Media by their names, and all that have bytes with one of the hashes."""

    names: Collection[Mxc]
    hashes: Collection[bytes]


def tell(txn: Transaction, names: Collection[Mxc] = (), hashes: Collection[bytes] = ()) -> None:
    if not names and not hashes:
        return
    content = None
    if len(names) + len(hashes) <= MOST_TOLD:
        content = orjson.dumps([[list(name) for name in names], [sha256.hex() for sha256 in hashes]]).decode()
    txn.publish(Kind.MEDIA, content=content)


def told_by(change: Change) -> Told | None:
    """By a change of the kind `MEDIA`; None: any media may be meant."""
    if change.content is None:
        return None
    names, hashes = orjson.loads(change.content)
    return Told([(origin, media_id) for origin, media_id in names], list(map(bytes.fromhex, hashes)))
