"""Whoever has pushed nothing yet is claimed and pushed, several at once; any process may do it."""

import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence

from twisted.internet.defer import Deferred, ensureDeferred

from synapse_lite.clock import Clock
from synapse_lite.handlers.push.gateway import Gateways, Outcome
from synapse_lite.handlers.push.pushes import PushReader, Work
from synapse_lite.handlers.push.recorder import Recorder
from synapse_lite.replication.bus import Bus
from synapse_lite.storage import pushers as store
from synapse_lite.storage.database import Database
from synapse_lite.storage.pushers import ClaimedPusher, Progress, PusherKey
from synapse_lite.tasks.signals import Signal

logger = logging.getLogger(__name__)

TOPIC = "push"
AT_ONCE = 64
"""Requests on their way. New ones are claimed when half of them are done: a claim is a commit."""
POLL_SECONDS = 1.0  # what another process that pushes queued, and pushers whose pause is over
RETRY_SECONDS = 60.0  # after a fault of ours


class PushSender:
    """`wake` it when there is something to push; other processes say so on the bus."""

    def __init__(
        self, database: Database, reader: PushReader, gateways: Gateways, bus: Bus, clock: Clock
    ) -> None:
        self._database = database
        self._reader = reader
        self._gateways = gateways
        self._recorder = Recorder(database)
        self._bus = bus
        self._clock = clock
        self._signal = Signal(clock)
        self._busy = 0
        self._stopped = False
        self._running: Deferred[None] | None = None
        self._unsubscribe: Callable[[], None] | None = None

    def start(self) -> None:
        self._unsubscribe = self._bus.subscribe(TOPIC, lambda _: self.wake())
        self._running = ensureDeferred(self._run())

    def stop(self) -> Awaitable[None] | None:
        """What is being pushed is finished by whoever claims it next."""
        self._stopped = True
        if self._unsubscribe is not None:
            self._unsubscribe()
        self._signal.set()
        return self._running

    def wake(self) -> None:
        self._signal.set()

    async def _run(self) -> None:
        while not self._stopped:
            try:
                claimed = await self._claim()
            except Exception:
                logger.exception("pushers are not looked at; tried again in a moment")
                claimed = []
            self._busy += len(claimed)
            if claimed:
                ensureDeferred(self._push_all(claimed))
            if not claimed or self._busy > AT_ONCE // 2:
                await self._signal.wait(POLL_SECONDS)

    async def _claim(self) -> list[ClaimedPusher]:
        free = AT_ONCE - self._busy
        if free < AT_ONCE // 2:
            return []
        return await self._database.transact(store.claim_pushers, self._clock.now_ms(), free)

    async def _push_all(self, claimed: Sequence[ClaimedPusher]) -> None:
        works = await self._works([one for one in claimed if self._pause(one) == 0])
        for one in claimed:
            ensureDeferred(self._push_one(one, works.get(one.key)))

    async def _works(self, claimed: Sequence[ClaimedPusher]) -> Mapping[PusherKey, Work]:
        """What is known; of all together first, so that what cannot be read of one user keeps nobody else from theirs."""
        users = sorted({one.pusher.user_id for one in claimed})
        if not users:
            return {}
        try:
            return await self._database.snapshot(self._reader.work_for, claimed, self._clock.now_ms())
        except Exception:
            logger.exception("what there is to push to %s is not known", ", ".join(users))
        if len(users) == 1:
            return {}
        works: dict[PusherKey, Work] = {}
        for user_id in users:
            works |= await self._works([one for one in claimed if one.pusher.user_id == user_id])
        return works

    async def _push_one(self, claimed: ClaimedPusher, work: Work | None) -> None:
        try:
            retry_after = self._pause(claimed) or (
                RETRY_SECONDS if work is None else await self._push(claimed, work)
            )
        except Exception:
            logger.exception("a pusher of %s is left for later", claimed.pusher.user_id)
            retry_after = RETRY_SECONDS
        try:
            if retry_after is not None:
                run_at = self._clock.now_ms() + int(retry_after * 1000)
                await self._database.transact(store.retry_later, claimed, run_at)
        except Exception:
            logger.exception("a pusher of %s waits until its claim is over", claimed.pusher.user_id)
        finally:
            self._busy -= 1
            self._signal.set()

    async def _push(self, claimed: ClaimedPusher, work: Work) -> float | None:
        """After how many seconds to try again; None: it is done."""
        jitter = self._reader.options.jitter_delay
        if jitter and work.pushes:
            await self._clock.sleep(random.uniform(0, jitter / 1000))  # noqa: S311 (nothing secret)
        for push in work.pushes:
            match await self._gateways.notify(_url(claimed), claimed.pusher.pushkey, push.body):
                case Outcome.FAILED:
                    return self._pause(claimed)
                case Outcome.REJECTED:
                    await self._delete(claimed)
                    return None
            if push is not work.pushes[-1] and not await self._record(claimed, push.upto, work.unread):
                return None
        await self._record(claimed, work.upto, work.unread, is_done=True)
        return None

    async def _record(self, claimed: ClaimedPusher, upto: int, badge: int, *, is_done: bool = False) -> bool:
        """False when the client set it anew meanwhile: then its work begins again."""
        is_same = await self._recorder.record(Progress(claimed, upto, badge, is_done))
        if not is_same:
            await self._release(claimed)
        return is_same

    def _pause(self, claimed: ClaimedPusher) -> float:
        return self._gateways.pause(_url(claimed))

    async def _delete(self, claimed: ClaimedPusher) -> None:
        if await self._database.transact(store.delete_rejected, claimed):
            logger.info("the gateway rejected a pusher of %s: it is deleted", claimed.pusher.user_id)
        else:
            await self._release(claimed)

    async def _release(self, claimed: ClaimedPusher) -> None:
        await self._database.transact(store.release, claimed)


def _url(claimed: ClaimedPusher) -> str:
    return str(claimed.pusher.data.get("url"))
