"""Application services beside a server in the process of the test."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from attrs import define

from synapse_lite.handlers.app_services.deliveries import ServiceDeliveries
from synapse_lite.storage.accounts import NewAccount, create_account
from synapse_lite.storage.stream import read_changes_of, read_position
from synapse_lite.tasks.followers import Shard, Told
from tests.app_service import AppServiceProcess
from tests.rest.conftest import BuildServer
from tests.server import OPEN, TestServer, path_part


@define
class Bridge:
    """A service that has nothing but what `deliver` brings. `position`: it has been told up to there, by who has that `claim`."""

    service: AppServiceProcess
    server: TestServer
    position: int = 0
    claim: int = 1

    @property
    def token(self) -> str:
        return self.service.token

    async def ghost(self, name: str) -> str:
        """The id of a new user of the service."""
        user_id = f"@_{self.service.id}_{name}:{self.server.name}"
        account = NewAccount(user_id, self.server.clock.now_ms(), appservice_id=self.service.id)
        await self.server.database.transact(create_account, account)
        return user_id

    async def act(self, user_id: str, method: str, path: str, body: Any = None) -> Any:
        """As one of its users."""
        separator = "&" if "?" in path else "?"
        return await self.server.ok(
            method, f"{path}{separator}user_id={path_part(user_id)}", body, self.token
        )

    async def skip(self) -> None:
        """Another process has told what has happened so far."""
        self.claim += 2
        self.position = await self.server.database.read(read_position)

    async def told(self) -> Told | None:
        """What is to be told next; None: nothing."""
        (follower,) = [
            one
            for one in self.server.core.extensions.followers
            if one.spec.name.endswith(f" {self.service.id}")
        ]
        changes = await self.server.database.read(
            lambda txn: read_changes_of(
                txn, follower.spec.kinds, self.position, read_position(txn), follower.spec.batch
            )
        )
        if not changes:
            return None
        return Told(changes, self.position, Shard(0, 1), f"key {changes[-1].position}", self.claim)

    async def hand(self, told: Told) -> None:
        """As the follower does; the position stays."""
        (follower,) = [
            one
            for one in self.server.core.extensions.followers
            if one.spec.name.endswith(f" {self.service.id}")
        ]
        handler = follower.handler
        assert isinstance(handler, ServiceDeliveries)
        if await self.server.database.transact(handler.prepare, told):
            await handler.deliver(told)

    async def deliver(self) -> None:
        """All that there is."""
        while (told := await self.told()) is not None:
            await self.hand(told)
            self.position = told.changes[-1].position


async def open_bridges(
    build_server: BuildServer,
    directory: Path,
    services: Collection[AppServiceProcess],
    *,
    options: Mapping[str, Any] | None = None,
    **registration: Any,
) -> list[Bridge]:
    """`options` are those of the server, `registration` what stands in the files of all services."""
    files = [str(service.write(directory, **registration)) for service in services]
    server = await build_server(**OPEN, app_service_config_files=files, **(options or {}))
    return [Bridge(service, server) for service in services]
