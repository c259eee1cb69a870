"""Sending to other servers: to many at once, to each one transaction after the other.

Any process may do it. Each server is owned by one process at a time; what was handed out is in the database, so whoever
takes a server over sends the same transaction with the same id again.
"""

import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from attrs import evolve
from prometheus_client import CollectorRegistry, Counter
from twisted.internet.defer import Deferred

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.federation.peers import PeerError, Peers
from synapse_lite.handlers.federation.sending.bodies import BodyWriter
from synapse_lite.ids import random_text
from synapse_lite.replication.bus import Bus
from synapse_lite.storage import sending as store
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.sending import Answer, Backoff, Outcome, Outgoing, Sender
from synapse_lite.tasks.signals import Signal

logger = logging.getLogger(__name__)

TOPIC = "federation"
CONCURRENCY = 100
PROBES = 20
"""Servers that failed the last time, at once: they take long to fail, and hold up nobody else."""
POLL_SECONDS = 1.0
LEASE_SECONDS = 15.0
RENEW_SECONDS = LEASE_SECONDS / 3
RETRY_SECONDS = 5.0  # after a fault of ours
_NOT_AS_IT_IS = frozenset({400, 413})


class FederationSender:
    """`wake` it when there is something to send; `timeout` (seconds) is for each transaction."""

    def __init__(
        self,
        database: Database,
        peers: Peers,
        bodies: BodyWriter,
        bus: Bus,
        clock: Clock,
        metrics: CollectorRegistry,
        *,
        backoff: Backoff,
        timeout: float,
    ) -> None:
        self._database = database
        self._peers = peers
        self._bodies = bodies
        self._bus = bus
        self._clock = clock
        self._timeout = timeout
        self._sender = Sender(random_text(12), LEASE_SECONDS, backoff)
        self._signal = Signal(clock)
        self._sending: dict[str, bool] = {}  # by server: whether it is a probe
        self._outcomes: list[Outcome] = []
        self._renewed = 0.0
        self._stopped = False
        self._running: Deferred[None] | None = None
        self._unsubscribe: Callable[[], None] | None = None
        self._counter = Counter(
            "synapse_lite_federation_transactions", "Transactions to other servers, by what became of them",
            ["answer"], registry=metrics,
        )  # fmt: skip

    def start(self) -> None:
        self._unsubscribe = self._bus.subscribe(TOPIC, lambda _: self.wake())
        self._running = Deferred.fromCoroutine(self._run())

    def stop(self) -> Awaitable[None] | None:
        """What is on its way is sent again by whoever has the server next."""
        self._stopped = True
        if self._unsubscribe is not None:
            self._unsubscribe()
        self._signal.set()
        return self._running

    def wake(self) -> None:
        self._signal.set()

    @property
    def is_idle(self) -> bool:
        return not self._sending and not self._outcomes

    async def _run(self) -> None:
        while not self._stopped:
            try:
                started = await self._turn()
            except Exception:
                logger.exception("nothing is sent to other servers; tried again in a moment")
                await self._clock.sleep(RETRY_SECONDS)
                continue
            if not started and not self._outcomes:
                await self._signal.wait(POLL_SECONDS)
        await self._database.transact(store.give_back, self._sender)

    async def _turn(self) -> int:
        """Settle what was answered, and send what is next; how many transactions."""
        probes = sum(self._sending.values())
        free, free_probes = CONCURRENCY - (len(self._sending) - probes), PROBES - probes
        await self._renew()
        now = self._clock.now_ms()
        outcomes, self._outcomes = self._outcomes, []
        try:
            if not outcomes and not await self._database.read(store.next_due, now):
                return 0
            started = await self._database.transact(self._next, outcomes, free, free_probes, now)
        except BaseException:
            self._outcomes = [*outcomes, *self._outcomes]
            raise
        for outgoing, body in started:
            self._sending[outgoing.server_name] = outgoing.is_probe
            Deferred.fromCoroutine(self._send(outgoing, body))
        return len(started)

    def _next(
        self, txn: Transaction, outcomes: Sequence[Outcome], free: int, probes: int, now_ms: int
    ) -> list[tuple[Outgoing, JsonObject]]:
        sender = evolve(self._sender, jitter=random.uniform(0, 0.2))  # noqa: S311 (nothing secret)
        outgoing = store.turn(txn, sender, outcomes, free, probes, now_ms)
        return [*zip(outgoing, self._bodies.write(txn, outgoing), strict=True)]

    async def _renew(self) -> None:
        if self._sending and self._clock.monotonic() >= self._renewed + RENEW_SECONDS:
            self._renewed = self._clock.monotonic()
            await self._database.transact(store.renew, self._sender, list(self._sending))

    async def _send(self, outgoing: Outgoing, body: JsonObject) -> None:
        answer = await self._answer(outgoing, body)
        self._counter.labels(answer.value).inc()
        self._sending.pop(outgoing.server_name, None)  # after its lease it may have been handed out once more
        self._outcomes.append(Outcome(outgoing, answer))
        self._signal.set()

    async def _answer(self, outgoing: Outgoing, body: JsonObject) -> Answer:
        name, target = outgoing.server_name, f"/_matrix/federation/v1/send/{outgoing.txn_id}"
        try:
            answer = await self._peers.ask(name, "PUT", target, body, timeout=self._timeout)
        except PeerError as error:
            if error.status in _NOT_AS_IT_IS:
                logger.warning("%s refuses a transaction of %s: %s", name, outgoing.size, error)
                return Answer.REFUSED
            logger.info("nothing is sent to %s for a while: %s", name, error)
            return Answer.FAILED
        except Exception:
            logger.exception("a transaction to %s", name)
            return Answer.FAILED
        with suppress(AttributeError):  # it is of no consequence: events are not sent again
            refused = {event_id: one for event_id, one in answer.get("pdus", {}).items() if one}
            if refused:
                logger.info("%s does not take %s", name, str(refused)[:1000])
        return Answer.TAKEN
