"""The directory of rooms: ours, and those of other servers."""

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import Errcode, MatrixError, invalid_param
from synapse_lite.federation.peers import PeerError, Peers
from synapse_lite.handlers.room_summary import directory_entry
from synapse_lite.ids import is_same_server, is_server_name
from synapse_lite.storage.cache import Cache
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.public_rooms import DirectoryPlace, DirectorySearch, count_public, list_public
from synapse_lite.storage.room_directory import PUBLISHED, UNPUBLISHED
from synapse_lite.storage.room_summary import RoomSummary

DEFAULT_LIMIT = 100
MAX_LIMIT = 500
COUNTED = 1000
"""Rooms of a directory that are counted for every page."""
COUNT_SECONDS = 60.0  # for which the count of a larger one is taken for true
MAX_COUNTS = 1000
_TOKEN = re.compile(r"([np])([0-9]{1,9})_([0-9]{1,18})")
_FIELDS = ("chunk", "next_batch", "prev_batch", "total_room_count_estimate")


@frozen
class DirectoryQuery:
    """`since` is the token of a page; `network`: "service id|network id", whose rooms alone are wanted; `all_networks`: these
    rooms beside those that are published.

    `term`, `room_types` and `federated` as in `DirectorySearch`.
    """

    limit: int = DEFAULT_LIMIT
    since: str | None = None
    term: str | None = None
    room_types: Sequence[str | None] | None = None
    network: str | None = None
    all_networks: bool = False
    federated: bool = False

    @property
    def lists(self) -> tuple[str, ...]:
        """Of `DirectorySearch`."""
        if self.network is not None:
            return (self.network,)
        return (PUBLISHED, UNPUBLISHED) if self.all_networks else (PUBLISHED,)


class PublicRooms:
    """`server_name` is ours. `searchable`: off, and there is no directory at all."""

    def __init__(
        self, database: Database, peers: Peers, clock: Clock, server_name: str, *, searchable: bool
    ) -> None:
        self._database = database
        self._peers = peers
        self._clock = clock
        self._server_name = server_name
        self._searchable = searchable
        self._counts: Cache[tuple[str, ...], tuple[int, float]] = Cache(MAX_COUNTS)

    async def page(self, query: DirectoryQuery, server: str | None = None) -> JsonObject:
        """The rooms with the most members first. Tokens name a place between rooms, so that no page repeats or
        leaves out a room because another one came or went.

        400 `M_INVALID_PARAM` for a token that is none of ours, 502 for another server that gives no answer.
        """
        if not self._searchable:
            return {"chunk": [], "total_room_count_estimate": 0}
        if server is not None and not is_same_server(server, self._server_name):
            return await self._ask(server, query)
        place = None if query.since is None else _read_place(query.since)
        known = self._known_count(query.lists)
        page, count = await self._database.snapshot(_read_page, query, place, known)
        if known is None:
            self._counts.remove(query.lists)
            if count > COUNTED:
                self._counts.put(query.lists, (count, self._clock.monotonic()))
        return {**page, "total_room_count_estimate": count}

    def _known_count(self, lists: tuple[str, ...]) -> int | None:
        """How many rooms there are, unless they have to be counted now."""
        known, now = self._counts.get(lists), self._clock.monotonic()
        if known is None:
            return None
        count, counted_at = known
        if now < counted_at + COUNT_SECONDS:
            return count
        self._counts.put(lists, (count, now))  # nobody else counts meanwhile
        return None

    async def _ask(self, server: str, query: DirectoryQuery) -> JsonObject:
        if not is_server_name(server):
            raise invalid_param(f"Invalid server name: {server[:80]!r}")
        target = "/_matrix/federation/v1/publicRooms"
        try:
            answer = await self._peers.ask(server, "POST", target, _question(query))
        except PeerError as error:
            raise MatrixError(502, Errcode.UNKNOWN, f"No directory from {quote(server)}: {error}") from None
        if not isinstance(answer.get("chunk"), list):
            raise MatrixError(502, Errcode.UNKNOWN, f"No directory from {quote(server)}")
        return {name: answer[name] for name in _FIELDS if name in answer}


def _read_page(
    txn: Transaction, query: DirectoryQuery, place: DirectoryPlace | None, known: int | None
) -> tuple[JsonObject, int]:
    """The page, and how many rooms there are, found by the query or not: `known`, or counted."""
    limit = min(query.limit, MAX_LIMIT)
    search = DirectorySearch(query.term, query.room_types, query.federated, query.lists)
    rooms = list_public(txn, search, place, limit + 1)
    backwards = place is not None and place.backwards
    has_more = len(rooms) > limit
    if has_more:
        rooms = rooms[1:] if backwards else rooms[:limit]
    page: JsonObject = {"chunk": [directory_entry(room) for room in rooms]}
    if rooms and (has_more or backwards):
        page["next_batch"] = _token("n", rooms[-1])
    if rooms and (has_more if backwards else place is not None):
        page["prev_batch"] = _token("p", rooms[0])
    return page, count_public(txn, query.lists) if known is None else known


def _token(direction: str, room: RoomSummary) -> str:
    return f"{direction}{room.joined}_{room.room_nid}"


def _read_place(token: str) -> DirectoryPlace:
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise invalid_param("Invalid token of a page")
    return DirectoryPlace(int(match[2]), int(match[3]), backwards=match[1] == "p")


def _question(query: DirectoryQuery) -> JsonObject:
    """The body of the server-server API, "POST /_matrix/federation/v1/publicRooms"."""
    search: dict[str, str | Sequence[Any]] = {}
    if query.term:
        search["generic_search_term"] = query.term
    if query.room_types is not None:
        search["room_types"] = list(query.room_types)
    body: JsonObject = {"limit": min(query.limit, MAX_LIMIT), "include_all_networks": query.all_networks}
    if query.network is not None:
        body["third_party_instance_id"] = query.network
    if search:
        body["filter"] = search
    return body if query.since is None else body | {"since": query.since}
