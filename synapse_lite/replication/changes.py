"""The newest part of the stream in memory, and who waits for more of it.

Every process that serves clients follows the stream: its own commits arrive through `committed`, those of
others are read from the database after a wake-up. A wake-up that is lost costs only time: a slow poll reads
as well. A process that only runs tasks keeps nothing that a change could make wrong, and tells others only.
"""

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from itertools import chain, takewhile
from math import inf

from twisted.internet.defer import ensureDeferred

from synapse_lite.clock import Clock, DelayedCall
from synapse_lite.replication.bus import Bus
from synapse_lite.replication.waiters import Waiter, Waiters
from synapse_lite.storage.database import Database, DatabaseError, Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.stream import KINDS, Change, Scope, read_changes, read_position, with_devices

logger = logging.getLogger(__name__)

TOPIC = "stream"
URGENT_TOPIC = "urgent_stream"
KEPT = 20_000  # changes in memory
PAGE = 1_000
POLL_SECONDS = 1.0
IDLE_SECONDS = 0.25  # how late a process may be for whom nobody waits
CURRENT_SECONDS = 5.0  # since the last reading; a few polls may fail
PULSE_SECONDS = 0.1  # how long what is told at leisure gathers at least
AT_LEISURE_A_SECOND = 500  # waiters whom it wakes at most
WOKEN_PER_TURN = 20  # so that waking a large room does not hold the reactor

Listener = Callable[[Sequence[Change]], None]
RoomsOf = Callable[[str], Awaitable[Collection[int]]]


class ChangeLog:
    """Follows the stream from `start` on: one reader at a time; listeners run before waiters wake."""

    def __init__(self, database: Database, events: EventStore, bus: Bus, clock: Clock) -> None:
        self._database = database
        self._events = events
        self._bus = bus
        self._clock = clock
        self._changes: deque[Change] = deque()
        self._forgotten = 0  # of what is up to here not everything is in memory
        self._position = 0
        self._known_position = 0
        self._known_urgent = 0
        self._read_at = -inf
        self._following = False
        self._reading = False
        self._stopped = False
        self._listeners: list[Listener] = []
        self._rooms_of: RoomsOf = _nowhere
        self.waiters = Waiters()
        self._poll: DelayedCall | None = None
        self._idle_read: DelayedCall | None = None
        self._leisurely: set[str] = set()  # users of whom there is something to tell at leisure
        self._pulse: DelayedCall | None = None
        self._told_at_leisure = 0

    @property
    def told_at_leisure(self) -> int:
        """What `Scope.AT_LEISURE` brought up to here has ended waits."""
        return self._told_at_leisure

    @property
    def is_behind(self) -> bool:
        """Whether another process is known to have written what is not in memory yet."""
        return self._known_position > self._position

    @property
    def is_current(self) -> bool:
        """Whether all is here that is known to be urgent, and the stream was read lately, whether the bus speaks or not."""
        lately = self._clock.monotonic() - self._read_at <= CURRENT_SECONDS
        return lately and self._known_urgent <= self._position

    @property
    def position(self) -> int:
        """Everything up to here has been seen by this process."""
        return self._position

    def listen(self, listener: Listener) -> None:
        """Be told of every change, in order. Call before `start`."""
        self._listeners.append(listener)

    def share_rooms(self, rooms_of: RoomsOf) -> None:
        """Who knows which rooms a user is in: those there hear what concerns all who share one with them."""
        self._rooms_of = rooms_of

    async def start(self) -> None:
        self._read_at = self._clock.monotonic()
        self._forgotten = self._position = self._known_position = await self._database.read(read_position)
        self._following = True
        self._bus.subscribe(TOPIC, self._wake_up)
        self._bus.subscribe(URGENT_TOPIC, self._read_now)
        self._schedule_poll()

    def stop(self) -> None:
        """Nobody waits any longer."""
        self._stopped = True
        for call in (self._poll, self._idle_read, self._pulse):
            if call is not None and call.active():
                call.cancel()
        for waiter in [*self.waiters]:
            self._wake(waiter, False)

    def since(self, position: int) -> list[Change] | None:
        """The changes after a position; None when they are no longer in memory."""
        if position < self._forgotten:
            return None
        newest_first = takewhile(lambda change: change.position > position, reversed(self._changes))
        return list(newest_first)[::-1]

    async def wait(self, waiter: Waiter, seconds: float) -> bool:
        """Whether something changes in time that concerns them. Waits for what comes after the call."""
        if seconds <= 0 or self._stopped:
            return False
        self.waiters.add(waiter)
        timeout = self._clock.call_later(seconds, self._wake, waiter, False)
        if self.is_behind:
            self._read_on()
        try:
            return await waiter.woken
        finally:
            self.waiters.remove(waiter, self._clock.monotonic())
            if timeout.active():
                timeout.cancel()

    def committed(self, changes: Sequence[Change]) -> None:
        """What this process has just committed: the hook of every `Database`."""
        last = changes[-1].position
        is_urgent = any(KINDS[change.kind].is_urgent for change in changes)
        if self._following:
            self._known_position = max(self._known_position, last)
            if is_urgent:
                self._known_urgent = max(self._known_urgent, last)
            if changes[0].position == self._position + 1:
                if waiters := self._append(changes):
                    # Next turn: clients count on the answer to what they sent before they find it in /sync.
                    self._clock.call_later(0, self._wake_in_turns, waiters)
            elif last > self._position:
                self._read_on()
        self._bus.publish(TOPIC, str(last))
        if is_urgent:
            self._bus.publish(URGENT_TOPIC, str(last))

    def _read_now(self, payload: str) -> None:
        if payload:
            self._known_urgent = max(self._known_urgent, int(payload))
            self._known_position = max(self._known_position, self._known_urgent)
        self._read_on()

    def _wake_up(self, payload: str) -> None:
        """A position that some process has reached, or "" for "you may have missed some"."""
        if payload:
            self._known_position = max(self._known_position, int(payload))
        if not payload or (self.is_behind and self.waiters):
            self._read_on()
        elif self.is_behind and (self._idle_read is None or not self._idle_read.active()):
            # Nobody is in a hurry: one read for many messages, instead of one for each.
            self._idle_read = self._clock.call_later(IDLE_SECONDS, self._read_on)

    def _schedule_poll(self) -> None:
        self._poll = self._clock.call_later(POLL_SECONDS, self._poll_once)

    def _poll_once(self) -> None:
        self._read_on()
        self.waiters.drop_idle(self._clock.monotonic())
        self._schedule_poll()

    def _read_on(self) -> None:
        if not self._reading:
            self._reading = True
            ensureDeferred(self._read())

    async def _read(self) -> None:
        try:
            while True:
                known, began = self._known_position, self._clock.monotonic()
                events = self._events if self.waiters else None
                changes = await self._database.read(_read_changes, events, self._position)
                fresh = [change for change in changes if change.position > self._position]
                if fresh:
                    self._wake_in_turns(self._append(fresh))
                if len(changes) < PAGE:
                    # Of what was known before the read nothing is missing, though rows may have been deleted.
                    self._position = max(self._position, known)
                    self._read_at = began
                    if not self.is_behind:
                        return
        except Exception:
            logger.exception("cannot follow the stream; the next poll tries again")
        finally:
            self._reading = False

    def _append(self, committed: Sequence[Change]) -> list[Waiter]:
        """Take them in, and tell the listeners; whom they concern is to be woken."""
        changes = [with_devices(change) for change in committed]
        for change in changes:
            if len(self._changes) == KEPT:
                self._forgotten = self._changes.popleft().position
            self._changes.append(change)
        self._position = changes[-1].position
        self._known_position = max(self._known_position, self._position)
        for listener in self._listeners:
            listener(changes)
        waiters: dict[Waiter, None] = {}
        for change in changes:
            users = (change.user_id or "",) if change.devices is None else change.devices
            found = chain(self.waiters.in_room(change.room_nid or 0), self.waiters.of_users(users))
            waiters |= {waiter: None for waiter in found if _concerns(change, waiter)}
            if KINDS[change.kind].scope is Scope.SHARED and change.user_id is not None and self.waiters:
                ensureDeferred(self._wake_those_with(change.user_id))
            if KINDS[change.kind].scope is Scope.AT_LEISURE and change.user_id is not None:
                self._leisurely.add(change.user_id)
        if self._leisurely and self._pulse is None and not self._stopped:
            seconds = max(PULSE_SECONDS, self.waiters.users / AT_LEISURE_A_SECOND)
            self._pulse = self._clock.call_later(seconds, lambda: ensureDeferred(self._tell_at_leisure()))
        return list(waiters)

    async def _tell_at_leisure(self) -> None:
        """End the waits of those who share a room with any of the users."""
        users, self._leisurely = self._leisurely, set()
        self._told_at_leisure = self._position
        waiters: dict[Waiter, None] = {}
        for user_id in users if self.waiters else ():
            waiters |= await self._those_with(user_id)
        self._pulse = None
        self._wake_in_turns([waiter for waiter in waiters if waiter.at_leisure], False)

    async def _wake_those_with(self, user_id: str) -> None:
        """Wake who shares a room with the user."""
        self._wake_in_turns(list(await self._those_with(user_id)))

    async def _those_with(self, user_id: str) -> dict[Waiter, None]:
        """Who waits, and shares a room with the user."""
        try:
            rooms = await self._rooms_of(user_id)
        except Exception:
            logger.exception("who shares a room with %s hears of their change later", user_id)
            return {}
        return dict.fromkeys(waiter for nid in rooms for waiter in self.waiters.in_room(nid))

    def _wake_in_turns(self, waiters: list[Waiter], changed: bool = True) -> None:
        for waiter in waiters[:WOKEN_PER_TURN]:
            self._wake(waiter, changed)
        if len(waiters) > WOKEN_PER_TURN:
            self._clock.call_later(0, self._wake_in_turns, waiters[WOKEN_PER_TURN:], changed)

    def _wake(self, waiter: Waiter, changed: bool) -> None:
        self.waiters.remove(waiter, self._clock.monotonic())
        if not waiter.woken.called:
            waiter.woken.callback(changed)


async def _nowhere(_user_id: str) -> Collection[int]:
    return ()


def _concerns(change: Change, waiter: Waiter) -> bool:
    return change.concerns(waiter.user_id, waiter.rooms) and change.is_for(waiter.user_id, waiter.device_id)


def _read_changes(txn: Transaction, events: EventStore | None, after: int) -> list[Change]:
    """A page of changes. With `events`, theirs are in memory from now on: many readers will want them at once."""
    changes = read_changes(txn, after, PAGE)
    if events is not None:
        try:
            events.load(txn, [nid for change in changes if (nid := change.about_nid) is not None])
        except DatabaseError:
            raise
        except Exception:  # of one that cannot be read its readers learn; the stream goes on
            logger.exception("events that are new cannot all be read at once")
    return changes
