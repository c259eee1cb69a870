"""What the task engine and the sender do for a server of the test, step by step."""

from typing import Any

from attrs import define, field
from twisted.internet import reactor

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import ReactorClock
from synapse_lite.handlers.federation.sending import FEDERATION, FederationFollower, FederationSender
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.stream import read_changes_of, read_position
from synapse_lite.tasks.followers import Shard
from tests.federation.network import Scripted
from tests.server import TestServer

SEND = "/_matrix/federation/v1/send/"


@define
class Sending:
    """`follow` does what the engine does with the follower; `deliver` also waits until nothing is on its way."""

    server: TestServer
    position: int = 0

    @property
    def sender(self) -> FederationSender:
        lives = [life for feature in self.server.features for life in feature.lives]
        (sender,) = [life for life in lives if isinstance(life, FederationSender)]
        return sender

    async def follow(self) -> None:
        (registered,) = [
            one for one in self.server.core.extensions.followers if one.spec.name == "federation"
        ]
        follower: FederationFollower = registered.handler

        def step(txn: Transaction) -> int:
            upto = read_position(txn)
            changes = read_changes_of(txn, FEDERATION.kinds, self.position, upto, 10_000)
            follower.follow(txn, changes, Shard(0, 1))
            return upto

        self.position = await self.server.database.transact(step)
        follower.committed()

    async def deliver(self) -> None:
        await self.follow()
        await self.settled()

    async def settled(self) -> None:
        """Until what can be sent now is sent."""
        real = ReactorClock(reactor)
        while not self.sender.is_idle or await self.server.database.read(self._is_due):
            self.sender.wake()
            await real.sleep(0.005)

    def _is_due(self, txn: Transaction) -> bool:
        return bool(
            txn.value(
                "SELECT EXISTS (SELECT FROM destinations WHERE owner IS NOT NULL OR (pending AND retry_at <= %s))",
                (self.server.clock.now_ms(),),
            )
        )


@define
class Inbox:
    """A scripted server that takes transactions. `answers` are what it does next, instead: to raise, or to answer."""

    other: Scripted
    bodies: list[JsonObject] = field(factory=list)
    txn_ids: list[str] = field(factory=list)
    answers: list[Any] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.other.scripts[SEND] = self._take

    def _take(self, _method: str, target: str, body: JsonObject | None) -> Any:
        self.txn_ids.append(target.removeprefix(SEND))
        answer = self.answers.pop(0) if self.answers else {"pdus": {}}
        if isinstance(answer, Exception):
            raise answer
        assert body is not None
        self.bodies.append(body)
        return answer

    @property
    def pdus(self) -> list[JsonObject]:
        return [pdu for body in self.bodies for pdu in body["pdus"]]

    @property
    def edus(self) -> list[JsonObject]:
        return [edu for body in self.bodies for edu in body["edus"]]

    @property
    def texts(self) -> list[str]:
        """What was said, in the order of its arrival."""
        return [pdu["content"].get("body", "?") for pdu in self.pdus if pdu["type"] == "m.room.message"]

    def clear(self) -> None:
        self.bodies.clear()
        self.txn_ids.clear()
