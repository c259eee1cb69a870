"""A room in which users of two servers meet."""

from typing import Any

from synapse_lite.storage.database import Database
from synapse_lite.storage.events import StoredEvent
from synapse_lite.storage.rooms import Room
from tests.builders import ALICE, World
from tests.rooms.remote import CAROL, DAVE, Remote

TOPIC = ("m.room.topic", "")
LEVELS = ("m.room.power_levels", "")
TEXT = {"msgtype": "m.text", "body": "hello"}


class Meeting:
    """A room of ours in which Carol of another server is."""

    def __init__(self, database: Database, version: str) -> None:
        self.database = database
        self.world = World()
        self.remote = Remote(database, self.world)
        self.version = version
        self.room: Room
        self.joined: StoredEvent

    async def open(self, *joined: str) -> "Meeting":
        self.room = await self.do(self.world.room, ALICE, *joined, version=self.version)
        (head,) = await self.remote.head(self.room)
        self.joined = await self.remote.member(self.room, head, CAROL, CAROL, "join")
        return self

    async def do(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        return await self.database.transact(function, *args, **kwargs)

    async def ours(self, kind: str, sender: str, content: dict[str, Any], **more: Any) -> StoredEvent:
        stored: StoredEvent = await self.do(self.world.send, self.room, kind, sender, content, **more)
        return stored

    async def say(self, sender: str = ALICE) -> StoredEvent:
        return await self.ours("m.room.message", sender, TEXT)

    async def topic(self, text: str) -> StoredEvent:
        return await self.ours("m.room.topic", ALICE, {"topic": text}, state_key="")

    async def ban(self, user_id: str) -> StoredEvent:
        return await self.ours("m.room.member", ALICE, {"membership": "ban"}, state_key=user_id)

    async def levels(self, **users: int) -> StoredEvent:
        named = {f"@{name}:hs.test": level for name, level in users.items()} | {CAROL: 50, DAVE: 50}
        if not self.room.version.privileged_creators:
            named[ALICE] = 100
        return await self.ours("m.room.power_levels", ALICE, {"users": named}, state_key="")
