"""What a client of sliding sync knows of its rooms, in memory and as bytes: a few for each room."""

import zlib
from collections.abc import Iterable, Mapping

import orjson
from attrs import frozen

FAST = 1  # of zlib


@frozen
class SentRoom:
    """A room as the client knows it, asked for with a config.

    `upto`: it has everything up to this position of the stream; None: up to that of the answer it has, whichever
    that is. `member_nid`: the event that told of the user's own `membership`, where they are not joined.
    """

    upto: int | None
    config: str
    membership: str
    member_nid: int = 0


Sent = Mapping[int, SentRoom]  # by room nid
Changed = Mapping[int, SentRoom | None]  # None: the client knows it no longer
NOTHING: Sent = {}


def changed(before: Sent, after: Changed) -> dict[int, SentRoom | None]:
    """What of `after` is not so before."""
    return {nid: one for nid, one in after.items() if one != before.get(nid)}


def merged(before: Sent, changes: Changed) -> Sent:
    found = {**before, **changes}
    return {nid: one for nid, one in found.items() if one is not None}


def encode(rooms: Changed) -> bytes:
    """Columns of differences: rooms that are told alike, which nearly all are, take next to nothing."""
    if not rooms:
        return b""
    kinds: dict[SentRoom | None, int] = {}
    configs: dict[str, int] = {}
    nids = sorted(rooms)
    which = [kinds.setdefault(rooms[nid], len(kinds)) for nid in nids]
    steps = [nid - before for nid, before in zip(nids, [0, *nids], strict=False)]
    values = [
        one and (one.upto, configs.setdefault(one.config, len(configs)), one.membership, one.member_nid)
        for one in kinds
    ]
    return zlib.compress(orjson.dumps([steps, which, values, list(configs)]), FAST)


def decode(data: bytes) -> dict[int, SentRoom | None]:
    """Rooms that are told alike share their value."""
    if not data:
        return {}
    steps, which, values, configs = orjson.loads(zlib.decompress(data))
    kinds = [one and SentRoom(one[0], configs[one[1]], *one[2:]) for one in values]
    return {nid: kinds[index] for nid, index in zip(_sums(steps), which, strict=True)}


def decode_sent(data: bytes) -> Sent:
    """Of all that a client knows."""
    return merged(NOTHING, decode(data))


def _sums(steps: Iterable[int]) -> Iterable[int]:
    total = 0
    for step in steps:
        total += step
        yield total
