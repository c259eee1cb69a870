"""Spaces that this server is not in, as others tell of them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import CancelledError, DeferredList, DeferredSemaphore

from synapse_lite.canonical_json import JsonObject, encode
from synapse_lite.clock import Clock
from synapse_lite.federation.peers import PeerError
from synapse_lite.federation.queries import MAX_CHILDREN, Queries
from synapse_lite.handlers.remote_summaries import summary_of
from synapse_lite.handlers.space_children import read_child
from synapse_lite.ids import is_room_id
from synapse_lite.storage.cache import Cache

MAX_SERVERS = 3  # that are asked for the same room
AT_ONCE = 10
WAIT_SECONDS = 10.0
"""So long a reader waits for all answers to a question together. What comes later is not shown."""
KEPT_SECONDS = 300.0
REFUSED_SECONDS = 30.0
"""So long who tells nothing of a room below a space is not asked about it again: else each page would, for each such room."""
CACHED = 16 * 1024 * 1024  # bytes
REFUSAL_BYTES = 500


@frozen
class RemoteSpace:
    """A room as another server tells of it: its summary, its children in no order, and summaries of those, by room id."""

    summary: JsonObject
    children: Sequence[JsonObject]
    below: Mapping[str, JsonObject]


@frozen
class RemoteSpaces:
    """What a server told is believed for `KEPT_SECONDS`. `server_name` is ours."""

    _queries: Queries
    _clock: Clock
    _server_name: str
    _told: Cache[tuple[str, str, bool], tuple[float, RemoteSpace | None]] = field(
        factory=lambda: Cache(CACHED)
    )

    @property
    def server_name(self) -> str:
        return self._server_name

    def deadline(self) -> float:
        """By the monotonic clock, for who begins to wait now."""
        return self._clock.monotonic() + WAIT_SECONDS

    async def describe(
        self, rooms: Mapping[str, Sequence[str]], until: float, root: str, *, suggested_only: bool
    ) -> dict[str, RemoteSpace]:
        """Those of the rooms that a server describes in time. `rooms`: by id, the servers that may know them.

        About the `root` they are asked although they refused: somebody may have been invited since.
        """
        places = DeferredSemaphore(AT_ONCE)
        asking = DeferredList(
            [
                places.run(self._describe, room_id, servers, suggested_only, room_id == root)
                for room_id, servers in rooms.items()
            ],
            consumeErrors=True,
        )
        deadline = self._clock.call_later(max(0.0, until - self._clock.monotonic()), asking.cancel)
        results: Sequence[tuple[bool, Any]] = await asking
        if deadline.active():
            deadline.cancel()
        found = {}
        for room_id, (is_done, result) in zip(rooms, results, strict=True):
            if not is_done and not result.check(CancelledError):
                result.raiseException()
            if is_done and result is not None:
                found[room_id] = result
        return found

    async def _describe(
        self, room_id: str, servers: Sequence[str], suggested_only: bool, is_root: bool
    ) -> RemoteSpace | None:
        for server in self._others(servers):
            until, space = self._told.get((server, room_id, suggested_only)) or (0.0, None)
            if until <= self._clock.monotonic() or (space is None and is_root):
                space = await self._ask(server, room_id, suggested_only)
            if space is not None:
                return space
        return None

    async def _ask(self, server: str, room_id: str, suggested_only: bool) -> RemoteSpace | None:
        space, weight, kept = None, REFUSAL_BYTES, REFUSED_SECONDS
        try:
            answer = await self._queries.hierarchy(server, room_id, suggested_only=suggested_only)
        except PeerError:
            pass
        else:
            space, kept = _read(room_id, answer), KEPT_SECONDS
            parts = (space.summary, *space.children, *space.below.values())
            weight = sum(len(encode(one)) for one in parts)
        self._told.put((server, room_id, suggested_only), (self._clock.monotonic() + kept, space), weight)
        return space

    def _others(self, servers: Sequence[str]) -> Sequence[str]:
        return [one for one in dict.fromkeys(servers) if one != self._server_name][:MAX_SERVERS]


def _read(room_id: str, answer: JsonObject) -> RemoteSpace:
    children = answer["room"].get("children_state")
    listed = children[:MAX_CHILDREN] if isinstance(children, list) else []
    return RemoteSpace(
        summary_of(room_id, answer["room"]),
        [child for child in map(read_child, listed) if child is not None],
        dict(_below(answer["children"])),
    )


def _below(told: Sequence[JsonObject]) -> Iterator[tuple[str, JsonObject]]:
    for one in told:
        room_id = one.get("room_id")
        if isinstance(room_id, str) and is_room_id(room_id):
            yield room_id, summary_of(room_id, one)
