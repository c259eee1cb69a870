"""Asking services for users and aliases of theirs that are not there yet (application service API, "Querying")."""

import logging
from urllib.parse import quote

from synapse_lite.handlers.app_services.calls import ServiceCalls
from synapse_lite.handlers.app_services.services import AppServices
from synapse_lite.http.client import RequestError
from synapse_lite.http.flights import Flights
from synapse_lite.ids import is_local
from synapse_lite.matrix.app_service import AppService
from synapse_lite.storage.accounts import find_account
from synapse_lite.storage.database import Database

ASKED_AT_ONCE = 100
logger = logging.getLogger(__name__)


class ServiceQueries:
    """One question for all who want to know the same at the same time. `server_name` is ours."""

    def __init__(
        self, database: Database, services: AppServices, calls: ServiceCalls, server_name: str
    ) -> None:
        self._database = database
        self._services = services
        self._calls = calls
        self._server_name = server_name
        self._flights: Flights[str, bool] = Flights()

    async def find_alias(self, alias: str) -> bool:
        """Of an alias that names no room: whether a service says that it does now."""
        asked = [one for one in self._services.all if one.url is not None and one.has_alias(alias)]
        return await self._ask_each(asked, f"/_matrix/app/v1/rooms/{quote(alias, safe='')}")

    async def find_user(self, user_id: str) -> bool:
        """Whether there was no such user, and a service says that there is one now."""
        if not is_local(user_id, self._server_name):
            return False
        asked = [one for one in self._services.all if one.url is not None and one.has_user(user_id)]
        if not asked or await self._database.read(find_account, user_id) is not None:
            return False
        return await self._ask_each(asked, f"/_matrix/app/v1/users/{quote(user_id, safe='')}")

    async def _ask_each(self, services: list[AppService], path: str) -> bool:
        if not services or (len(self._flights) >= ASKED_AT_ONCE and path not in self._flights):
            return False
        return await self._flights.join(path, lambda: self._ask(services, path))

    async def _ask(self, services: list[AppService], path: str) -> bool:
        for service in services:
            try:
                if (await self._calls.ask(service, "GET", path)).is_ok:
                    return True
            except RequestError as error:
                logger.info("%s is not asked for %s: %s", service.id, path, error)
        return False
