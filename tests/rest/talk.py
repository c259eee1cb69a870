"""A room in which two talk, and what is found of it."""

from typing import Any

from attrs import define

from synapse_lite.storage.stream import END, Change, read_changes_of
from synapse_lite.tasks.actions.search import SEARCH, SearchIndex
from synapse_lite.tasks.followers import Shard
from tests.server import TestServer, path_part


@define
class Talk:
    """Alice's public room, in which Bob is. `index` does what the follower does."""

    server: TestServer
    alice: str
    bob: str
    room: str
    sent: int = 0
    indexed: int = 0

    @property
    def room_id(self) -> str:
        return self.room.removeprefix("rooms/")

    async def say(self, body: str, token: str | None = None, room: str | None = None) -> str:
        self.sent += 1
        content = {"msgtype": "m.text", "body": body}
        path = f"{room or self.room}/send/m.room.message/{self.sent}"
        event_id: str = (await self.server.ok("PUT", path, content, token or self.alice))["event_id"]
        return event_id

    async def redact(self, event_id: str) -> None:
        self.sent += 1
        path = f"{self.room}/redact/{path_part(event_id)}/{self.sent}"
        await self.server.ok("PUT", path, {}, self.alice)

    async def index(self) -> None:
        await self.follow(await self.changes())

    async def changes(self) -> list[Change]:
        """What the follower does not know yet."""
        return await self.server.database.read(read_changes_of, SEARCH.kinds, self.indexed, END, 1000)

    async def follow(self, changes: list[Change]) -> None:
        follower = SearchIndex(self.server.core.events)
        await self.server.database.transact(follower.follow, changes, Shard(0, 1))
        self.indexed = changes[-1].position if changes else self.indexed

    async def search(
        self, term: str, token: str | None = None, start: str | None = None, **criteria: Any
    ) -> Any:
        body = {"search_categories": {"room_events": {"search_term": term, "order_by": "recent", **criteria}}}
        path = "search" if start is None else f"search?next_batch={start}"
        answer = await self.server.ok("POST", path, body, token or self.alice)
        assert answer.keys() == {"search_categories"}
        return answer["search_categories"]["room_events"]

    async def ids(self, term: str, token: str | None = None, **criteria: Any) -> list[str]:
        return ids_in(await self.search(term, token, **criteria))


def ids_in(answer: Any) -> list[str]:
    return [one["result"]["event_id"] for one in answer["results"]]
