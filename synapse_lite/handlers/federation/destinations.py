"""How it goes with other servers, for administrators."""

from collections.abc import Callable
from functools import partial
from typing import Any

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import Errcode, MatrixError, not_found
from synapse_lite.handlers.long_lists import LongLists
from synapse_lite.storage import destinations as store
from synapse_lite.storage.database import Database
from synapse_lite.storage.destinations import Destination


@frozen
class Page:
    offset: int
    limit: int
    backwards: bool

    def answer(self, name: str, found: list[Any], total: int) -> JsonObject:
        answer: JsonObject = {name: found, "total": total}
        if self.offset + len(found) < total:
            answer["next_token"] = str(self.offset + self.limit)
        return answer


class Destinations:
    """`wake` is called when there may be something to send."""

    def __init__(self, database: Database, clock: Clock, wake: Callable[[], None]) -> None:
        self._database = database
        self._wake = wake
        self._lists = LongLists(database, clock)
        self._room_lists = LongLists(database, clock)

    async def find(self, part: str, order: str, page: Page) -> JsonObject:
        """Servers whose name holds the part."""
        wanted = store.long_list(part, order, backwards=page.backwards)
        read = partial(store.list_destinations, offset=page.offset, limit=page.limit)
        found, total = await self._lists.page(wanted, page.offset, read)
        return page.answer("destinations", [_shown(one) for one in found], total)

    async def show(self, server_name: str) -> JsonObject:
        """404 `M_NOT_FOUND` for a server to which there was never anything to send."""
        found = await self._database.read(store.find_destination, server_name)
        if found is None:
            raise not_found("Unknown destination")
        return _shown(found)

    async def rooms(self, server_name: str, page: Page) -> JsonObject:
        """Rooms of which the server is told, by id."""
        await self.show(server_name)
        wanted = store.long_list_of_rooms(server_name, backwards=page.backwards)
        read = partial(store.list_rooms, offset=page.offset, limit=page.limit)
        found, total = await self._room_lists.page(wanted, page.offset, read)
        rooms = [{"room_id": room_id, "stream_ordering": position} for room_id, position in found]
        return page.answer("rooms", rooms, total)

    async def reset(self, server_name: str) -> None:
        """Send to the server now; 400 `M_UNKNOWN` when it is not left alone."""
        await self.show(server_name)
        if not await self._database.transact(store.reset_backoff, server_name):
            raise MatrixError(
                400, Errcode.UNKNOWN, "The retry timing does not need to be reset for this destination."
            )
        self._wake()


def _shown(one: Destination) -> JsonObject:
    return {
        "destination": one.server_name,
        "retry_last_ts": one.retry_last_ts,
        "retry_interval": one.retry_interval,
        "failure_ts": one.failing_since,
        "last_successful_stream_ordering": one.sent_position,
    }
