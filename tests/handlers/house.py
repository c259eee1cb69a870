"""The rooms of a server: everything that writes into them, on a real database."""

from collections.abc import AsyncIterator, Awaitable
from typing import Any

import orjson
import pytest

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import MatrixError
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.room_plan import RoomRequest
from synapse_lite.storage import accounts
from synapse_lite.storage.accounts import NewAccount
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.workers.features.aliases import aliases
from synapse_lite.workers.features.profiles import room_profiles
from synapse_lite.workers.features.rooms import room_creation, room_state
from tests.builders import ALICE, BOB, MALLORY, SERVER, TickingClock, World
from tests.server import TestServer


def requester(user_id: str, **more: Any) -> Requester:
    return Requester(user_id, "DEVICE", f"{user_id} device DEVICE", **more)


alice, bob, mallory = (requester(user_id) for user_id in (ALICE, BOB, MALLORY))
admin = requester(f"@admin:{SERVER}", is_admin=True)


class House:
    """`options` are those of homeserver.yaml; limits are generous unless given."""

    def __init__(self, database: Database, **options: Any) -> None:
        self.database = database
        core = TestServer(database, clock=TickingClock(), **options).core
        self.world = World.of(core)
        self.membership_limits = core.rooms.membership_limits
        self.rooms = core.rooms.rooms
        self.memberships = core.rooms.memberships
        self.sending = core.rooms.sending
        self.creation = room_creation(core)
        self.state = room_state(core)
        self.aliases = aliases(core)
        self.profiles = room_profiles(core)
        self.remote_rooms = core.federated.remote_rooms

    async def room_named(self, alias: str) -> str:
        """As clients resolve an alias; no other server answers."""
        return (await self.remote_rooms.resolve_alias(alias)).room_id

    async def room(self, who: Requester = alice, **wishes: Any) -> str:
        """The id of a new room; public unless said otherwise."""
        return await self.creation.create(who, RoomRequest(**{"preset": "public_chat", **wishes}))

    async def join(self, room_id: str, *others: Requester) -> None:
        for other in others:
            await self.memberships.join(other, room_id)

    async def say(self, room_id: str, who: Requester = alice, text: str = "hi", txn_id: str = "1") -> str:
        content = {"msgtype": "m.text", "body": text}
        return await self.sending.message(who, room_id, "m.room.message", txn_id, content)

    async def events(self, room_id: str) -> list[JsonObject]:
        """All events of the room in their order."""
        rows = await self.database.read(
            lambda txn: txn.rows(
                "SELECT e.json FROM stream s JOIN events e USING (event_nid) JOIN rooms r ON r.room_nid = e.room_nid"
                " WHERE r.room_id = %s ORDER BY s.position",
                (room_id,),
            )
        )
        return [orjson.loads(text) for (text,) in rows]

    async def current(self, room_id: str) -> dict[tuple[str, str], JsonObject]:
        """The contents of the current state."""
        rows = await self.database.read(
            lambda txn: txn.rows(
                "SELECT c.type, c.state_key, e.json FROM current_state c JOIN events e USING (event_nid)"
                " JOIN rooms r ON r.room_nid = c.room_nid WHERE r.room_id = %s",
                (room_id,),
            )
        )
        return {(kind, key): orjson.loads(text)["content"] for kind, key, text in rows}

    async def membership(self, room_id: str, user_id: str) -> str | None:
        content = (await self.current(room_id)).get(("m.room.member", user_id), {})
        membership: str | None = content.get("membership")
        return membership

    async def account(
        self, user_id: str, displayname: str | None = None, avatar_url: str | None = None
    ) -> None:
        def create(txn: Transaction) -> None:
            accounts.create_account(txn, NewAccount(user_id, 1, displayname=displayname))
            txn.execute("UPDATE users SET avatar_url = %s WHERE user_id = %s", (avatar_url, user_id))

        await self.database.transact(create)


async def refusal(doing: Awaitable[object]) -> tuple[int, str]:
    """Status and errcode of what must be refused."""
    with pytest.raises(MatrixError) as caught:
        await doing
    return caught.value.status, str(caught.value.errcode)


def decoded(fragments: Any) -> Any:
    return orjson.loads(orjson.dumps(fragments))


async def shown(pages: AsyncIterator[Any]) -> list[Any]:
    """All that is on the pages: events, or pairs of an object."""
    found: list[Any] = []
    async for page in pages:
        found += page.items() if isinstance(page, dict) else decoded(page)
    return found
