"""The rooms of a server: everything that writes into them, on a real database."""

from collections.abc import Awaitable
from typing import Any

import orjson
import pytest

from synapse_lite.canonical_json import JsonObject
from synapse_lite.config.rate_limits import RateLimitOptions
from synapse_lite.config.rooms import RoomOptions
from synapse_lite.errors import MatrixError
from synapse_lite.handlers.aliases import Aliases
from synapse_lite.handlers.auth import Requester
from synapse_lite.handlers.current_state import CurrentState
from synapse_lite.handlers.membership import Memberships
from synapse_lite.handlers.membership_limits import MembershipLimits
from synapse_lite.handlers.room_creation import RoomCreation
from synapse_lite.handlers.room_plan import RoomRequest
from synapse_lite.handlers.room_profiles import RoomProfiles
from synapse_lite.handlers.room_state import RoomState
from synapse_lite.handlers.rooms import Rooms
from synapse_lite.handlers.sender import EventSender
from synapse_lite.handlers.sending import Sending, SendingLimits
from synapse_lite.http.ratelimit import RateLimiter
from synapse_lite.storage import accounts
from synapse_lite.storage.accounts import NewAccount
from synapse_lite.storage.database import Database, Transaction
from tests.builders import ALICE, BOB, MALLORY, SERVER, World

GENEROUS = {"per_second": 1000, "burst_count": 1000}
GENEROUS_LIMITS: dict[str, Any] = {
    "rc_message": GENEROUS,
    "rc_joins": {"local": GENEROUS},
    "rc_joins_per_room": GENEROUS,
    "rc_invites": dict.fromkeys(("per_room", "per_user", "per_issuer"), GENEROUS),
    "rc_room_creation": GENEROUS,
}


def requester(user_id: str, **more: Any) -> Requester:
    return Requester(user_id, "DEVICE", f"{user_id} device DEVICE", **more)


alice, bob, mallory = (requester(user_id) for user_id in (ALICE, BOB, MALLORY))
admin = requester(f"@admin:{SERVER}", is_admin=True)


class House:
    """`options` are those of homeserver.yaml; limits are generous unless given."""

    def __init__(self, database: Database, **options: Any) -> None:
        self.database = database
        self.world = World()
        clock = self.world.clock
        limits = RateLimitOptions.model_validate({**GENEROUS_LIMITS, **options})
        room_options = RoomOptions.model_validate(options)
        current = CurrentState(self.world.events, self.world.state)
        sender = EventSender(database, self.world.appender)
        self.membership_limits = MembershipLimits.build(limits, clock)
        self.rooms = Rooms(database)
        self.creation = RoomCreation(
            database,
            self.world.appender,
            RateLimiter(clock, limits.rc_room_creation),
            self.membership_limits,
            clock,
            room_options,
        )
        self.memberships = Memberships(
            database, self.rooms, current, sender, self.membership_limits, clock, SERVER
        )
        messages = RateLimiter(clock, limits.rc_message)
        redactions = limits.rc_admin_redaction
        self.sending = Sending(
            database,
            self.rooms,
            current,
            sender,
            self.memberships,
            SendingLimits(messages, messages if redactions is None else RateLimiter(clock, redactions)),
            clock,
            SERVER,
        )
        self.state = RoomState(database, self.rooms, current, clock)
        self.aliases = Aliases(
            database,
            self.rooms,
            current,
            self.world.appender,
            clock,
            SERVER,
            require_membership=room_options.require_membership_for_aliases,
        )
        self.profiles = RoomProfiles(database, self.world.events, sender, clock)

    async def room(self, who: Requester = alice, **wishes: Any) -> str:
        """The id of a new room; public unless said otherwise."""
        return (await self.creation.create(who, RoomRequest(**{"preset": "public_chat", **wishes}))).room_id

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
