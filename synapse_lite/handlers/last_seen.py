"""When and from where devices were used."""

import logging

from twisted.internet.defer import Deferred

from synapse_lite.clock import Clock, DelayedCall
from synapse_lite.handlers.requester import Requester
from synapse_lite.storage import devices
from synapse_lite.storage.database import Database
from synapse_lite.storage.devices import DeviceUse

logger = logging.getLogger(__name__)

FIRST_USES_SECONDS = 5.0
USES_INTERVAL_SECONDS = 120.0
MAX_NOTED_USES = 10_000
MAX_KNOWN = 100_000

_Key = tuple[str, str]
"""A user and a device."""


class LastSeen:
    """Collects when and from where devices are used, and writes it every two minutes, in one statement.

    The first use of a device that this process hears of is written within seconds: who has just logged in is seen.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._uses: dict[_Key, DeviceUse] = {}
        self._new: set[_Key] = set()
        self._known: set[_Key] = set()
        self._written_ms = 0
        self._timer: DelayedCall | None = None

    def start(self) -> None:
        self._written_ms = self._clock.now_ms()
        self._wait()

    async def stop(self) -> None:
        """Write what is noted and end."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self.write()

    def note(self, requester: Requester, ip: str, user_agent: str) -> None:
        if requester.device_id is None or len(self._uses) >= MAX_NOTED_USES:
            return
        key = (requester.user_id, requester.device_id)
        self._uses[key] = DeviceUse(*key, self._clock.now_ms(), ip, user_agent)
        if key not in self._known:
            self._new.add(key)

    async def write(self) -> None:
        """All that is noted."""
        self._written_ms = self._clock.now_ms()
        await self._write(list(self._uses))

    async def _write(self, keys: list[_Key]) -> None:
        uses = [self._uses.pop(key) for key in keys]
        if len(self._known) > MAX_KNOWN:
            self._known.clear()
        self._known |= self._new
        self._new.clear()
        if uses:
            await self._database.transact(devices.write_uses, uses)

    def _wait(self) -> None:
        self._timer = self._clock.call_later(FIRST_USES_SECONDS, self._on_time)

    def _on_time(self) -> None:
        self._wait()
        is_time = self._clock.now_ms() - self._written_ms >= USES_INTERVAL_SECONDS * 1000
        Deferred.fromCoroutine(self.write() if is_time else self._write(list(self._new))).addErrback(
            lambda failure: logger.warning("last use of devices is not written: %s", failure.value)
        )
