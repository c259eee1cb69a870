"""Clients that encrypt, as far as a server sees them."""

from typing import Any

from attrs import define
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from synapse_lite.canonical_json import JsonObject
from tests.server import PASSWORD, TestServer
from tests.signing import Device


@define
class Client:
    """A device of a user that syncs."""

    server: TestServer
    user_id: str
    device: Device
    token: str
    since: str | None = None
    filter: str = ""

    async def sync(self, *, wait_ms: int = 0) -> JsonObject:
        """The next answer."""
        since = "" if self.since is None else f"&since={self.since}"
        answer: JsonObject = await self.server.ok(
            "GET", f"sync?timeout={wait_ms}{since}{self.filter}", token=self.token
        )
        self.since = answer["next_batch"]
        return answer

    async def poll(self) -> "Deferred[JsonObject]":
        """A long poll that waits already."""
        log = self.server.core.log
        before = len(log.waiters.of_users([self.user_id]))
        answer = Deferred.fromCoroutine(self.sync(wait_ms=30_000))
        while not answer.called and len(log.waiters.of_users([self.user_id])) <= before:
            await turn()
        return answer

    async def lists(self) -> tuple[list[str], list[str]]:
        """Who is `changed` and who `left` in the next answer."""
        found = (await self.sync()).get("device_lists", {})
        return found.get("changed", []), found.get("left", [])

    async def messages(self) -> list[Any]:
        """The contents of the messages to the device in the next answer."""
        return [event["content"] for event in (await self.sync()).get("to_device", {}).get("events", [])]

    async def do(self, method: str, path: str, body: Any = None) -> Any:
        return await self.server.ok(method, path, body, self.token)

    async def upload(self, **body: Any) -> None:
        await self.do("POST", "keys/upload", body)

    async def send(self, txn_id: str, messages: Any, kind: str = "m.test") -> None:
        await self.do("PUT", f"sendToDevice/{kind}/{txn_id}", {"messages": messages})


async def turn() -> None:
    turned: Deferred[None] = Deferred()
    reactor.callLater(0, turned.callback, None)
    await turned


async def client_of(server: TestServer, name: str, device_id: str, *, new: bool = True) -> Client:
    """A device of a user, whose keys are uploaded."""
    user_id = f"@{name}:hs.test"
    if new:
        token = await server.register(name, device_id=device_id)
    else:
        identifier = {"type": "m.id.user", "user": name}
        body = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
        token = (await server.ok("POST", "login", {**body, "device_id": device_id}))["access_token"]
    client = Client(server, user_id, Device.of(user_id, device_id), token)
    await client.upload(device_keys=client.device.keys)
    return client


async def room_of(*members: Client) -> str:
    """The path of a room of all of them."""
    room: str = await members[0].server.room(members[0].token)
    for member in members[1:]:
        await member.do("POST", f"{room}/join", {})
    return room


async def up_to_date(*clients: Client) -> None:
    for client in clients:
        await client.sync()
