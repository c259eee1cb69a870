"""A user with a pusher, somebody who writes to them, and a push gateway."""

from typing import Any

from attrs import define

from synapse_lite.handlers.push import PUSH, PushFollower
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import read_changes_of, read_position
from synapse_lite.tasks.followers import Shard
from tests.gateway import Body, Gateway
from tests.rest.conftest import BuildServer
from tests.server import OPEN, TestServer, path_part

REACHABLE = {**OPEN, "ip_range_whitelist": ["127.0.0.1"]}


def pusher(url: str, **more: Any) -> dict[str, Any]:
    return {
        "app_id": "org.example.app",
        "pushkey": "key",
        "kind": "http",
        "app_display_name": "App",
        "device_display_name": "Phone",
        "lang": "en",
        "data": {"url": url, "extra": 1},
        **more,
    }


@define
class Phone:
    """Alice's, with a pusher; bob writes to her. `follow` does what the engine does with the follower."""

    server: TestServer
    gateway: Gateway
    alice: str
    bob: str
    room: str
    position: int = 0
    number: int = 0

    async def follow(self) -> None:
        (registered,) = [one for one in self.server.core.extensions.followers if one.spec is PUSH]
        follower: PushFollower = registered.handler

        def step(txn: Transaction) -> int:
            upto = read_position(txn)
            changes = read_changes_of(txn, PUSH.kinds, self.position, upto, 10_000)
            follower.follow(txn, changes, Shard(0, 1))
            return upto

        self.position = await self.server.database.transact(step)
        follower.committed()

    async def say(self, body: str = "hello", kind: str = "m.room.message", **more: Any) -> str:
        self.number += 1
        content = {"msgtype": "m.text", "body": body, **more}
        path = f"{self.room}/send/{kind}/{self.number}"
        event_id: str = (await self.server.ok("PUT", path, content, self.bob))["event_id"]
        return event_id

    async def heard(self) -> Body:
        """What the gateway is told of what has happened."""
        await self.follow()
        return await self.gateway.next()

    async def settled(self) -> None:
        """Until what the gateway answered is written down."""
        while await self.server.database.read(
            lambda txn: txn.value("SELECT count(*) FROM pushers WHERE claimed_until > 0")
        ):
            pass

    async def read(self, event_id: str) -> None:
        await self.server.ok("POST", f"{self.room}/receipt/m.read/{path_part(event_id)}", {}, self.alice)

    async def later(self, seconds: float) -> None:
        self.server.clock.advance(seconds)
        await self.follow()

    async def set(self, **more: Any) -> None:
        await self.server.ok("POST", "pushers/set", pusher(self.gateway.url, **more), self.alice)

    async def pushers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.server.ok("GET", "pushers", None, self.alice))["pushers"]
        return found


async def build_phone(build_server: BuildServer, gateway: Gateway, **options: Any) -> Phone:
    server = await build_server(**REACHABLE, **options)
    alice, bob = [await server.user(name) for name in ("alice", "bob")]
    await server.ok("PUT", f"profile/{path_part('@bob:hs.test')}/displayname", {"displayname": "Bob"}, bob)
    room = await server.room(bob, name="The room")
    await server.ok("POST", f"{room}/join", {}, alice)
    phone = Phone(server, gateway, alice, bob, room)
    await phone.set()
    return phone
