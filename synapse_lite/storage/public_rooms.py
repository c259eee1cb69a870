"""The directory of public rooms: pages of it, found by text and type."""

from collections.abc import Sequence

from attrs import frozen

from synapse_lite.storage.database import Transaction
from synapse_lite.storage.patterns import containing, spellings
from synapse_lite.storage.room_directory import PUBLISHED
from synapse_lite.storage.room_summary import RoomSummary, read_summaries


@frozen
class DirectorySearch:
    """`term`: part of name, topic or canonical alias, in whatever case. `room_types`: None among them are rooms
    without a type; None instead of them, any. `federated`: only those that users of other servers may join.
    `lists`: where (`room_directory`); no room is in two of them.
    """

    term: str | None = None
    room_types: Sequence[str | None] | None = None
    federated: bool = False
    lists: Sequence[str] = (PUBLISHED,)


@frozen
class DirectoryPlace:
    """Between two rooms: after the one with so many joined members and this nid, or before it."""

    joined: int
    room_nid: int
    backwards: bool = False


def list_public(
    txn: Transaction, search: DirectorySearch, place: DirectoryPlace | None, limit: int
) -> list[RoomSummary]:
    """The next rooms, those with the most members first; before a place: the last ones before it, in that order."""
    conditions, arguments = _conditions(search)
    backwards = place is not None and place.backwards
    if place is not None:
        conditions.append(f"(joined, room_nid) {'>' if backwards else '<'} (%(joined)s, %(room_nid)s)")
        arguments |= {"joined": place.joined, "room_nid": place.room_nid}
    direction = "ASC" if backwards else "DESC"
    order = f"ORDER BY joined {direction}, room_nid {direction} LIMIT %(limit)s"
    # List by list: in that order the index has the rooms of one list only.
    arguments |= {f"list{number}": name for number, name in enumerate(search.lists)}
    pages = [
        f"SELECT room_nid, joined FROM room_directory WHERE list = %(list{number})s AND {' AND '.join(conditions)} {order}"
        for number in range(len(search.lists))
    ]
    text = pages[0] if len(pages) == 1 else f"({') UNION ALL ('.join(pages)}) {order}"
    rows = txn.rows(text, {**arguments, "limit": limit})
    nids = [nid for nid, _ in (reversed(rows) if backwards else rows)]
    found = read_summaries(txn, nids)
    return [found[nid] for nid in nids]


def count_public(txn: Transaction, lists: Sequence[str]) -> int:
    """How many rooms the lists have in all; reads them whole, from the index."""
    return int(
        txn.value("SELECT count(*) FROM room_directory WHERE listed AND list = ANY(%s)", (list(lists),))
    )


def _conditions(search: DirectorySearch) -> tuple[list[str], dict[str, object]]:
    conditions = ["listed"]
    arguments: dict[str, object] = {}
    if search.term:
        terms = {f"term{number}": containing(one) for number, one in enumerate(spellings(search.term))}
        conditions.append(f"({' OR '.join(f'body LIKE lower(%({name})s)' for name in terms)})")
        arguments |= terms
    if search.room_types is not None:
        conditions.append("(room_type = ANY(%(types)s) OR (room_type IS NULL AND %(untyped)s))")
        arguments["types"] = [name for name in search.room_types if name is not None]
        arguments["untyped"] = None in search.room_types
    if search.federated:
        conditions.append("federates")
    return conditions, arguments
