"""Who is there: what clients say of it, by asking for news and in so many words.

A device is there as long as a request for news of it waits, and for `sync_online_timeout` after the last one. Each process speaks for the
devices that it serves; nothing is written while nothing changes.
"""

import logging
from collections.abc import AsyncIterator, Collection, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred, DeferredLock

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock, DelayedCall
from synapse_lite.config.presence import Presence as PresenceOptions
from synapse_lite.errors import forbidden
from synapse_lite.handlers.gathered_writes import GatheredWrites
from synapse_lite.handlers.rate_limits import check_user
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.ratelimit import RateLimiter
from synapse_lite.ids import check_user_id, random_text
from synapse_lite.matrix.presence import OFFLINE, Presence, PresenceTimes
from synapse_lite.storage import presence as store
from synapse_lite.storage.cache import Cache
from synapse_lite.storage.database import Database, DatabaseError, Transaction
from synapse_lite.storage.mutual_rooms import share_room
from synapse_lite.storage.presence import Device, Said, presence_told
from synapse_lite.storage.stream import Change, Kind
from synapse_lite.storage.writer import Writer

logger = logging.getLogger(__name__)

BEAT_SECONDS = 5.0
LEASE_MS = 20_000
SETTLED_AT_ONCE = 100  # users
REMEMBERED = 10_000


@define
class _Served:
    """A device that this process serves; `until`: when it is not there any more, unless it asks again (monotonic)."""

    state: str
    polls: int = 0
    until: float = 0
    is_said: bool = False


class PresenceHandler:
    """One for a process. Off, nothing is ever kept or written."""

    def __init__(
        self,
        database: Database,
        writer: Writer,
        clock: Clock,
        options: PresenceOptions,
        excluded: Collection[str],
        said: RateLimiter,
        polled: RateLimiter,
    ) -> None:
        self._database = database
        self._writer = writer
        self._clock = clock
        self._options = options
        self._excluded = excluded
        self._said = said
        self._polled = polled
        self._times = PresenceTimes(options.idle_timeout, options.last_active_granularity)
        self._process = random_text(16)
        self._served: dict[Device, _Served] = {}
        self._active: Cache[Device, float] = Cache(REMEMBERED)
        self._words: GatheredWrites[Device, tuple[_Served, str | None]] = GatheredWrites(self._say_in_words)
        self._beats = DeferredLock()
        self._timer: DelayedCall | None = None

    @asynccontextmanager
    async def polling(self, requester: Requester, state: str) -> AsyncIterator[None]:
        """The client asks for news, and says by that what state its user is in: offline says nothing."""
        if not self._options.is_tracked or state == OFFLINE:
            yield
            return
        device = _device(requester)
        served = self._served.setdefault(device, _Served(state))
        served.polls += 1
        try:
            await self._poll(device, served, state)
            yield
        finally:
            served.polls -= 1
            self._keep(served)

    async def put(self, requester: Requester, user_id: str, state: str, status_msg: str | None) -> None:
        """What the user says of themselves. 403 for somebody else, 429 for who says it too often.

        The words of a shadow-banned user are shown to nobody.
        """
        requester.check_is(user_id, "Cannot set the presence of another user")
        await check_user(self._said, requester)
        if not self._options.is_tracked:
            return
        device = _device(requester)
        served = self._served.setdefault(device, _Served(state))
        served.state = state
        self._keep(served)
        await self._words.put(device, (served, None if requester.shadow_banned else status_msg))

    async def read(self, requester: Requester, user_id: str) -> JsonObject:
        """403 `M_FORBIDDEN` for a user with whom the requester shares no room."""
        check_user_id(user_id)
        if not self._options.is_shown:
            return Presence().content(0)
        found = await self._database.read(_read, requester.user_id, user_id, self._excluded)
        if found is None:
            raise forbidden("You are not allowed to see their presence")
        return found.content(self._clock.now_ms())

    def note_activity(self, requester: Requester) -> None:
        """The user did something: at most once in a while it is written, by and by."""
        if not self._options.is_tracked:
            return
        device, now = _device(requester), self._clock.monotonic()
        noted = self._active.get(device)
        if noted is None or now - noted >= self._options.last_active_granularity / 1000:
            self._active.put(device, now)
            self._in_background(self._writer.submit(self._note_activity, device))

    def on_changes(self, changes: Collection[Change]) -> None:
        """What this process said of a user is not what holds: its devices have their word again at the next request."""
        if not self._served:
            return
        states = {one.user_id: presence_told(one).state for one in changes if one.kind is Kind.PRESENCE}
        if states:
            for (user_id, _), served in self._served.items():
                if states.get(user_id, served.state) != served.state:
                    served.is_said = False

    async def start(self) -> None:
        if self._options.is_tracked:
            await self._database.transact(self._renew)
            self._timer = self._clock.call_later(BEAT_SECONDS, self._on_time)

    async def stop(self) -> None:
        """Those whom this process served are there no longer, unless another one serves them."""
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        self._served.clear()
        await self._database.transact(self._end)

    async def beat(self) -> None:
        """Stay alive, say who is gone, and find out whom time has changed: one after the other."""
        await self._beats.acquire()
        try:
            await self._beat()
        finally:
            self._beats.release()

    async def _beat(self) -> None:
        if not await self._database.transact(self._renew):
            await self._say_again()
        gone = self._lapsed()
        for start in range(0, len(gone), SETTLED_AT_ONCE):
            await self._database.transact(self._unsay, gone[start : start + SETTLED_AT_ONCE])
        while await self._database.transact(self._settle_due) == SETTLED_AT_ONCE:
            pass

    # What is said

    async def _poll(self, device: Device, served: _Served, state: str) -> None:
        if served.is_said and served.state == state:
            return
        if served.state != state and not await self._polled.allows(device[0]):
            return
        served.state = state
        try:
            await self._say({device: served})
        except DatabaseError:
            logger.warning("presence is not written; the next request does it", exc_info=True)

    async def _say_in_words(self, words: Mapping[Device, tuple[_Served, str | None]]) -> None:
        messages = {user_id: message for (user_id, _), (_, message) in words.items()}
        await self._say({device: served for device, (served, _) in words.items()}, messages)

    async def _say(
        self, devices: Mapping[Device, _Served], messages: Mapping[str, str | None] | None = None
    ) -> None:
        for served in devices.values():
            served.is_said = True
        said = [Said(*device, served.state) for device, served in devices.items()]
        try:
            while not await self._writer.submit(self._write, said, messages):
                await self._database.transact(self._renew)
                await self._say_again()
        except BaseException:
            for served in devices.values():
                served.is_said = False
            raise

    async def _say_again(self) -> None:
        """After others thought this process dead, and took back all that it had said."""
        said = [Said(*device, one.state) for device, one in self._served.items()]
        for start in range(0, len(said), SETTLED_AT_ONCE):
            await self._database.transact(self._write, said[start : start + SETTLED_AT_ONCE])

    def _keep(self, served: _Served) -> None:
        served.until = self._clock.monotonic() + self._options.sync_online_timeout / 1000

    # Time

    def _on_time(self) -> None:
        self._timer = self._clock.call_later(BEAT_SECONDS, self._on_time)
        if not self._beats.locked:
            self._in_background(self.beat())

    def _lapsed(self) -> list[Device]:
        now = self._clock.monotonic()
        gone = [device for device, one in self._served.items() if one.polls <= 0 and one.until <= now]
        for device in gone:
            del self._served[device]
        return gone

    def _in_background(self, work: Coroutine[Any, Any, object]) -> None:
        Deferred.fromCoroutine(work).addErrback(
            lambda failure: logger.warning("presence is not written: %s", failure.value)
        )

    # In a database thread

    def _renew(self, txn: Transaction) -> bool:
        return store.renew_process(txn, self._process, LEASE_MS)

    def _write(
        self, txn: Transaction, said: Sequence[Said], messages: Mapping[str, str | None] | None = None
    ) -> bool:
        """False when this process is thought dead: then nothing is written. `messages`: what is said is said in words."""
        if not store.is_alive(txn, self._process):
            return False
        now_ms = self._clock.now_ms()
        say = store.say if messages is None else store.say_in_words
        say(txn, self._process, said, now_ms)
        store.settle(txn, {one.user_id for one in said}, self._times, now_ms, messages)
        return True

    def _note_activity(self, txn: Transaction, device: Device) -> None:
        now_ms = self._clock.now_ms()
        if store.note_activity(txn, device, now_ms):
            store.settle(txn, [device[0]], self._times, now_ms)

    def _unsay(self, txn: Transaction, gone: Sequence[Device]) -> None:
        store.unsay(txn, self._process, gone)
        store.settle(txn, {user_id for user_id, _ in gone}, self._times, self._clock.now_ms())

    def _settle_due(self, txn: Transaction) -> int:
        now_ms = self._clock.now_ms()
        due = store.due_users(txn, now_ms, SETTLED_AT_ONCE)
        store.settle(txn, {*due, *store.bury_processes(txn)}, self._times, now_ms)
        return len(due)

    def _end(self, txn: Transaction) -> None:
        users = store.remove_process(txn, self._process)
        store.settle(txn, users, self._times, self._clock.now_ms())


def _device(requester: Requester) -> Device:
    return requester.user_id, requester.device_id or ""


def _read(txn: Transaction, reader: str, user_id: str, excluded: Collection[str]) -> Presence | None:
    if reader != user_id and not share_room(txn, reader, user_id, excluded):
        return None
    return store.read_presence(txn, user_id)
