"""The tree of rooms below a space ("GET /_matrix/client/v1/rooms/{roomId}/hierarchy")."""

import re
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256

from attrs import define, field, frozen

from synapse_lite.canonical_json import JsonObject, dump
from synapse_lite.errors import forbidden, invalid_param, not_found
from synapse_lite.handlers.current_state import CurrentState
from synapse_lite.handlers.remote_spaces import RemoteSpace, RemoteSpaces
from synapse_lite.handlers.remote_summaries import known_to
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.room_summary import RoomSummaries
from synapse_lite.handlers.rooms import Rooms
from synapse_lite.handlers.space_children import (
    CHILD,
    SPACE,
    is_child,
    is_suggested,
    place,
    servers_of,
    stripped,
)
from synapse_lite.ids import domain_of, is_server_name
from synapse_lite.storage import rooms as room_store
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.room_servers import keeps_room, kept_among
from synapse_lite.storage.stripped_state import teller_of

MAX_PAGE = 50
MAX_ROOMS = 5000
"""Rooms of a tree, at most; what is further away is not shown."""
MAX_DEPTH = 100
MAX_CHILDREN = 500  # of a space, in the answer to another server
MAX_ASKED = 50
"""Rooms that others are asked about, for one page."""
_TOKEN = re.compile(r"([0-9]{1,4})_([0-9a-f]{16})_(.+)")


@frozen
class HierarchyQuery:
    """`since` is the token of a page."""

    suggested_only: bool = False
    limit: int = MAX_PAGE
    max_depth: int | None = None
    since: str | None = None

    @property
    def deepest(self) -> int:
        return MAX_DEPTH if self.max_depth is None else min(self.max_depth, MAX_DEPTH)

    def takes(self, child: JsonObject) -> bool:
        return not self.suggested_only or is_suggested(child)


@frozen
class _Lead:
    """To a room that is not kept here: how deep it is in the tree, and servers that may know it."""

    depth: int
    servers: Sequence[str]


@frozen
class _Root:
    """The space that is asked about: `nid`, if it is known here, and a lead to it, if nobody here is in it."""

    nid: int | None
    lead: _Lead | None


@define
class _Tree:
    """By room id: what is shown of the rooms that the reader may know of, and their children in order.

    `elsewhere` are rooms that others are to be asked about.
    """

    user_id: str
    root: str
    query: HierarchyQuery
    summaries: dict[str, JsonObject] = field(factory=dict)
    children: dict[str, Sequence[JsonObject]] = field(factory=dict)
    elsewhere: dict[str, _Lead] = field(factory=dict)

    def is_space(self, room_id: str) -> bool:
        return room_id == self.root or self.summaries[room_id].get("room_type") == SPACE

    def wanted_below(self, spaces: Iterable[str]) -> dict[str, list[str]]:
        """The children of the spaces that are not in the tree yet, with the servers that may know them."""
        return {
            child["state_key"]: servers_of(child)
            for space in spaces
            for child in self.children[space]
            if child["state_key"] not in self.summaries
        }

    def take_leads(self, asked: Container[str]) -> dict[str, _Lead]:
        """Those that are new; there are none afterwards."""
        leads = {room_id: lead for room_id, lead in self.elsewhere.items() if room_id not in asked}
        self.elsewhere = {}
        return leads

    def entry(self, room_id: str) -> JsonObject:
        return {**self.summaries[room_id], "children_state": self.children.get(room_id, ())}


class Hierarchy:
    """Each page walks the tree anew, level by level, a few statements for each; its token names the last room shown.

    So any process answers any page, and each page shows what its reader may know of at that moment.
    """

    def __init__(
        self,
        database: Database,
        rooms: Rooms,
        current: CurrentState,
        summaries: RoomSummaries,
        others: RemoteSpaces | None = None,
    ) -> None:
        """`others` None: what is not known here is left out."""
        self._others = others
        self._database = database
        self._rooms = rooms
        self._current = current
        self._summaries = summaries

    async def page(self, requester: Requester, room_id: str, query: HierarchyQuery) -> JsonObject:
        """403 `M_FORBIDDEN` for a space that the requester may not know of, 400 `M_INVALID_PARAM` for the token of
        another user, space or question. Of a space that nobody here is in, other servers are asked.
        """
        root = await self._database.read(self._find_root, room_id, requester.user_id)
        if root.lead is None:
            await self._rooms.require(room_id, requester.user_id)
        binding = _binding(requester.user_id, room_id, query)
        after = None if query.since is None else _read_token(query.since, binding)
        tree = _Tree(requester.user_id, room_id, query)
        if root.lead is not None:
            tree.elsewhere = {room_id: root.lead}
            await self._ask_others(tree)
        if room_id not in tree.summaries and root.nid is not None:
            await self._database.snapshot(self._grow, tree, {room_id: root.nid}, 0)
        if room_id not in tree.summaries:
            raise forbidden(f"User {requester.user_id} not in room {room_id}, and room previews are disabled")
        if root.lead is None:
            await self._ask_others(tree)
        order = list(_depth_first(tree, room_id))
        start = 0 if after is None else _resume(order, *after)
        end = start + min(query.limit, MAX_PAGE)
        page: JsonObject = {"rooms": [tree.entry(one) for one in order[start:end]]}
        if end < len(order):
            page["next_batch"] = f"{end - 1}_{binding}_{order[end - 1]}"
        return page

    async def for_server(self, server_name: str, room_id: str, *, suggested_only: bool) -> JsonObject:
        """The space and the rooms right below it that users of the server may know of (server-server API, "Spaces").

        404 `M_NOT_FOUND` for a space that they may not know of.
        """
        return await self._database.snapshot(self._read_level, server_name, room_id, suggested_only)

    async def _ask_others(self, tree: _Tree) -> None:
        """Level by level, about rooms that are not kept here."""
        if self._others is None:
            return
        asked: dict[str, _Lead] = {}
        until = self._others.deadline()
        while tree.elsewhere and len(asked) < MAX_ASKED:
            leads = dict(list(tree.take_leads(asked).items())[: MAX_ASKED - len(asked)])
            asked |= leads
            told = await self._others.describe(
                {room_id: lead.servers for room_id, lead in leads.items()},
                until,
                tree.root,
                suggested_only=tree.query.suggested_only,
            )
            await self._database.snapshot(self._graft, tree, leads, told)

    # In a database thread

    def _find_root(self, txn: Transaction, room_id: str, user_id: str) -> _Root:
        room = room_store.room_by_id(txn, room_id)
        nid = None if room is None else room.nid
        if self._others is None or (nid is not None and keeps_room(txn, nid, self._others.server_name)):
            return _Root(nid, None)
        teller = None if nid is None else teller_of(txn, nid, user_id)
        servers = [one for one in (teller, domain_of(room_id)) if one is not None and is_server_name(one)]
        return _Root(nid, _Lead(0, servers) if servers else None)

    def _read_level(
        self, txn: Transaction, server_name: str, room_id: str, suggested_only: bool
    ) -> JsonObject:
        root = self._kept(txn, [room_id])
        shown = self._summaries.read_for_server(txn, root.values(), server_name)
        if not shown:
            raise not_found("Unknown room")
        children = self._children(txn, root, suggested_only=suggested_only)[room_id]
        named = [child["state_key"] for child in children][:MAX_CHILDREN]
        nids = self._kept(txn, named)
        below = self._summaries.read_for_server(txn, nids.values(), server_name)
        return {
            "room": {**shown[root[room_id]], "children_state": children},
            "children": [below[nids[one]] for one in named if nids.get(one) in below],
            "inaccessible_children": [one for one in named if one in nids and nids[one] not in below],
        }

    def _grow(self, txn: Transaction, tree: _Tree, level: Mapping[str, int], depth: int) -> None:
        """Add rooms (id to nid) that are kept here, and those below them."""
        while level:
            found = self._summaries.read(txn, level.values(), tree.user_id)
            shown = {room_id: found[nid] for room_id, nid in level.items() if nid in found}
            tree.summaries |= shown
            spaces = {room_id: level[room_id] for room_id in shown if tree.is_space(room_id)}
            below = self._children(txn, spaces, suggested_only=tree.query.suggested_only)
            tree.children |= below
            depth += 1
            level = self._next_level(txn, tree, spaces, depth)

    def _next_level(self, txn: Transaction, tree: _Tree, spaces: Iterable[str], depth: int) -> dict[str, int]:
        """Of the rooms right below the spaces, those that are kept here; the others become leads."""
        wanted = tree.wanted_below(spaces)
        room = MAX_ROOMS - len(tree.summaries)
        if depth > tree.query.deepest or not wanted or room <= 0:
            return {}
        kept = self._kept(txn, wanted)
        unknown = [room_id for room_id in wanted if room_id not in kept][:room]
        tree.elsewhere |= {room_id: _Lead(depth, wanted[room_id]) for room_id in unknown}
        return {room_id: kept[room_id] for room_id in sorted(kept)[:room]}

    def _kept(self, txn: Transaction, room_ids: Collection[str]) -> dict[str, int]:
        """Id to nid. Of a room that this server only heard of, or left, it does not know what others may know."""
        if self._others is None:
            return room_store.nids_of(txn, room_ids)
        return kept_among(txn, room_ids, self._others.server_name)

    def _graft(
        self,
        txn: Transaction,
        tree: _Tree,
        leads: Mapping[str, _Lead],
        told: Mapping[str, RemoteSpace],
    ) -> None:
        """Add rooms that other servers told of, rooms below them that need no question of their own, and leads."""
        known = known_to(txn, tree.user_id, {room_id: one.summary for room_id, one in told.items()})
        tree.summaries |= known
        by_depth: dict[int, list[str]] = {}
        for room_id in filter(tree.is_space, known):
            children = told[room_id].children
            tree.children[room_id] = sorted(filter(tree.query.takes, children), key=place)
            by_depth.setdefault(leads[room_id].depth + 1, []).append(room_id)
        for depth, spaces in sorted(by_depth.items()):
            self._grow(txn, tree, self._next_level(txn, tree, spaces, depth), depth)
        below = {one: summary for room_id in known for one, summary in told[room_id].below.items()}
        leaves = {
            room_id: below[room_id]
            for room_id in tree.elsewhere
            if room_id in below and below[room_id].get("room_type") != SPACE
        }
        tree.summaries |= known_to(txn, tree.user_id, leaves)
        for room_id in leaves:
            del tree.elsewhere[room_id]

    def _children(
        self, txn: Transaction, spaces: Mapping[str, int], *, suggested_only: bool
    ) -> dict[str, Sequence[JsonObject]]:
        """The children of each space, in order; malformed ones are none."""
        by_nid = {nid: room_id for room_id, nid in spaces.items()}
        found: dict[str, list[JsonObject]] = {room_id: [] for room_id in spaces}
        nids = self._current.state.current_of_type(txn, by_nid, CHILD)
        for view in self._current.events.views(txn, nids):
            child = stripped(view.stored.event)
            is_wanted = not suggested_only or is_suggested(child)
            if view.redaction is None and is_wanted and is_child(child):
                found[by_nid[view.stored.room_nid]].append(child)
        return {room_id: sorted(children, key=place) for room_id, children in found.items()}


def _depth_first(tree: _Tree, root: str) -> Iterator[str]:
    """Each room once, where it comes first, no deeper than is asked: so that circles end.

    Last are those to which the only way that is short enough leads through a room that came at the end of a longer one.
    """
    seen: set[str] = set()
    waiting = [(root, 0)]
    while waiting:
        room_id, depth = waiting.pop()
        if room_id in seen or room_id not in tree.summaries or depth > tree.query.deepest:
            continue
        seen.add(room_id)
        yield room_id
        children = reversed(tree.children.get(room_id, ()))
        waiting.extend((child["state_key"], depth + 1) for child in children)
    yield from (room_id for room_id in tree.summaries if room_id not in seen)


def _resume(order: Sequence[str], index: int, last: str) -> int:
    """Behind the room that was shown last; where that is gone, at its place."""
    return order.index(last) + 1 if last in order else min(index, len(order))


def _binding(user_id: str, room_id: str, query: HierarchyQuery) -> str:
    question = [user_id, room_id, query.suggested_only, query.max_depth]
    return sha256(dump(question)).hexdigest()[:16]


def _read_token(token: str, binding: str) -> tuple[int, str]:
    match = _TOKEN.fullmatch(token)
    if match is None or match[2] != binding:
        raise invalid_param("Unknown token of a page, or one of another question")
    return int(match[1]), match[3]
