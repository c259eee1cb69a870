"""matrix-nio as the client of a server of several processes: it makes a request again that gets no answer."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import nio
import orjson
from attrs import define, field

from synapse_lite.cli.demo.connection import User
from tests.processes.gate import locked, wait_at
from tests.processes.site import SERVER, Site

_WRITERS = 3  # a process has connections for some more
PATIENCE = nio.AsyncClientConfig(backoff_factor=0.01)


@asynccontextmanager
async def clients(url: str, names: Sequence[str]) -> AsyncIterator[list[nio.AsyncClient]]:
    """Nobody of them is logged in."""
    async with AsyncExitStack() as stack:
        made = [nio.AsyncClient(url, f"@{name}:{SERVER}", config=PATIENCE) for name in names]
        for client in made:
            stack.push_async_callback(client.close)
        yield made


@asynccontextmanager
async def clients_of(url: str, *users: User) -> AsyncIterator[list[nio.AsyncClient]]:
    """With the sessions of the users."""
    async with clients(url, [""] * len(users)) as made:
        for client, user in zip(made, users, strict=True):
            client.restore_login(user.user_id, "DEVICE", user.access_token)
        yield made


@define(slots=False)
class _Body(nio.Response):
    """Whatever is answered."""

    json: dict[str, Any]
    transport_response: Any = field(default=None)

    @classmethod
    def from_dict(cls, parsed: dict[str, Any]) -> "_Body":
        return cls(parsed)


async def ask(client: nio.AsyncClient, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """The JSON of the answer to what matrix-nio has no word for; it is repeated as all that it has words for."""
    data = None if body is None else orjson.dumps(body).decode()
    return (await client._send(_Body, method, path, data)).json


async def through_a_kill(
    site: Site, name: str, tables: Sequence[str], *requests: Callable[[], Awaitable[Any]]
) -> list[Any]:
    """The answers to requests whose process is killed before it stores anything into the tables, and started again."""
    with locked(site, *tables):
        asked = [asyncio.ensure_future(request()) for request in requests]
        await asyncio.to_thread(wait_at, site, *tables, writers=min(len(asked), _WRITERS))
        assert not [task.result() for task in asked if task.done()]
        site.signal(name, signal.SIGKILL)
        await asyncio.to_thread(site.processes[name].running.wait)
    await asyncio.to_thread(site.start, name)
    return await asyncio.gather(*asked)
