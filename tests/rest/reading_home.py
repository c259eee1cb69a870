"""A server with rooms, /sync, history, receipts and typing."""

from collections.abc import Iterable

from synapse_lite.handlers.account_data import AccountData
from synapse_lite.handlers.auth import LastSeen
from synapse_lite.http.router import Route
from synapse_lite.rest.client.account_data import AccountDataApi
from synapse_lite.rest.client.ephemeral import EphemeralApi
from synapse_lite.rest.client.history import HistoryApi
from synapse_lite.rest.client.sync import SyncApi
from synapse_lite.rest.gate import Gate
from synapse_lite.storage.database import Database
from tests.handlers.sync_server import SyncServer
from tests.rest.rooms_home import RoomsHome

TIMELINE_LIMIT = 20


class ReadingHome(RoomsHome):
    def __init__(self, database: Database) -> None:
        self.server = SyncServer(database)
        super().__init__(database)

    async def start(self) -> None:
        await self.server.start()

    def _routes(self) -> Iterable[Route]:
        yield from super()._routes()
        gate = Gate(self._sessions, LastSeen(self._database, self._clock))
        account_data = AccountData(self._database)
        for api in (
            SyncApi(gate, self.server.handler, account_data, TIMELINE_LIMIT),
            HistoryApi(gate, self.server.history),
            EphemeralApi(gate, self.server.ephemeral),
            AccountDataApi(gate, account_data),
        ):
            yield from api.routes()
