"""A server with everything about rooms, asked over HTTP without a socket."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from synapse_lite.handlers.auth import LastSeen, Sessions
from synapse_lite.http.router import Route
from synapse_lite.rest.client.aliases import AliasApi
from synapse_lite.rest.client.membership import MembershipApi
from synapse_lite.rest.client.room_state import RoomStateApi
from synapse_lite.rest.client.rooms import RoomApi
from synapse_lite.rest.client.send import SendApi
from synapse_lite.rest.gate import Gate
from synapse_lite.storage.accounts import NewAccount, create_account
from synapse_lite.storage.database import Database
from tests.builders import SERVER
from tests.handlers.house import House
from tests.http.memory import Answer, ManualClock, site
from tests.rest.home import exchange


class RoomsHome:
    """Users are made by `user`, without passwords."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._clock = ManualClock()
        self._sessions = Sessions(database, self._clock)
        self._site = site(self._routes(), clock=self._clock, max_body_size=1_000_000)

    def _routes(self) -> Iterable[Route]:
        house = House(self._database)
        gate = Gate(self._sessions, LastSeen(self._database, self._clock))
        for api in (
            RoomApi(gate, house.creation, house.rooms),
            MembershipApi(gate, house.memberships),
            RoomStateApi(gate, house.state, house.sending),
            SendApi(gate, house.sending),
            AliasApi(gate, house.aliases, SERVER),
        ):
            yield from api.routes()

    async def call(self, method: str, path: str, body: Any = None, token: str | None = None) -> Answer:
        """A path without a leading slash is one of the client API, v3."""
        return await exchange(self._site, method, path, body, token)

    async def ok(self, method: str, path: str, body: Any = None, token: str | None = None) -> Any:
        """The body of an answer that must be 200."""
        answer = await self.call(method, path, body, token)
        assert answer.status == 200, answer.body
        return answer.json()

    async def refusal(
        self, method: str, path: str, body: Any = None, token: str | None = None
    ) -> tuple[int, str]:
        """Status and `errcode`."""
        answer = await self.call(method, path, body, token)
        return answer.status, answer.json().get("errcode")

    async def user(self, name: str, **more: Any) -> str:
        """The token of a new user."""
        account = NewAccount(f"@{name}:{SERVER}", 1, **more)
        await self._database.transact(create_account, account)
        return (await self._sessions.open(account.user_id)).token

    async def room(self, token: str, **body: Any) -> str:
        """The path of a new public room."""
        made = await self.ok("POST", "createRoom", {"preset": "public_chat", **body}, token)
        return f"rooms/{made['room_id']}"


def path_part(text: str) -> str:
    return quote(text, safe="")
