"""Working off what other servers sent: room by room, each by one process at a time."""

import logging
from collections.abc import Coroutine, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from synapse_lite.clock import Clock, DelayedCall
from synapse_lite.errors import MatrixError, UnavailableError
from synapse_lite.federation.inbound import InboundEvents
from synapse_lite.federation.peers import PeerError
from synapse_lite.ids import random_text
from synapse_lite.matrix.event import Event
from synapse_lite.replication.bus import Bus
from synapse_lite.rooms.judge import MissingEventsError
from synapse_lite.rooms.runs import RunReceiver
from synapse_lite.storage import staged_events
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.joins_under_way import whereabouts
from synapse_lite.storage.room_servers import rooms_of
from synapse_lite.storage.rooms import Room, room_by_id
from synapse_lite.storage.staged_events import StagedEvent

logger = logging.getLogger(__name__)

TOPIC = "staged_events"
LEASE_SECONDS = 15.0
"""For so long the rooms of a process that was killed wait for another one."""
LOOK_SECONDS = LEASE_SECONDS / 3
"""How often a process renews its leases, and looks for rooms whose owner is gone; of new events it is told."""
ROOMS_AT_ONCE = 20
EVENTS_AT_ONCE = 100  # of all these rooms: so long their locks are held
BRANCH = 50  # events that come into a room at once where they do not follow its head
MAX_SLOW_ROOMS = 8
"""Whose events a process brings in one by one, waiting for other servers: a slow one holds up no other."""
EVENT_SECONDS = 300.0
PAUSE_SECONDS = 1.0
"""A slow room for which there is no place is looked at again so much later."""


class StagedRooms:
    """Puts staged events into their rooms, whatever process took them, also after a crash.

    What goes on at the heads of rooms is put there by one process for many rooms in one transaction. The room of an event that
    needs more gets a place of its own, until its events go on by themselves again. `name` is that of the process, `server_name` ours.
    """

    def __init__(
        self,
        database: Database,
        inbound: InboundEvents,
        runs: RunReceiver,
        bus: Bus,
        clock: Clock,
        name: str,
        server_name: str,
    ) -> None:
        self._database = database
        self._inbound = inbound
        self._runs = runs
        self._bus = bus
        self._clock = clock
        self._name = name
        self._server_name = server_name
        self._owner = f"{name}#{random_text(12)}"
        self._working: set[Deferred[None]] = set()
        self._slow: set[str] = set()
        self._is_running = False
        self._is_wanted = False
        self._idle: list[Deferred[None]] = []
        self._stopping = False
        self._timer: DelayedCall | None = None
        self._unsubscribe: Any = None

    async def start(self) -> None:
        """What was at work when the last process of this name ended goes on at once."""
        await self._database.transact(staged_events.release_all, f"{self._name}#")
        self._unsubscribe = self._bus.subscribe(TOPIC, lambda _: self.look())
        self._tick()

    async def stop(self) -> None:
        """What is at work is given up, and goes on in another process, or after the next start."""
        self._stopping = True
        if self._unsubscribe is not None:
            self._unsubscribe()
        if self._timer is not None:
            self._timer.cancel()
        for work in tuple(self._working):
            work.cancel()

    def look(self) -> None:
        """Take on rooms, unless that is being done: then once more."""
        self._is_wanted = True
        if not self._is_running and not self._stopping:
            self._is_running = True
            self._begin(self._work())

    async def settled(self) -> None:
        """Until nothing that was known here is at work."""
        if self._working:
            idle: Deferred[None] = Deferred()
            self._idle.append(idle)
            await idle

    def _tick(self) -> None:
        if self._slow:
            self._begin(self._renew())
        self.look()
        self._timer = self._clock.call_later(LOOK_SECONDS, self._tick)

    def _begin(self, coroutine: Coroutine[Any, Any, None]) -> None:
        work = Deferred.fromCoroutine(coroutine)
        self._working.add(work)
        work.addBoth(self._ended, work)

    def _ended(self, result: Any, work: "Deferred[None]") -> None:
        self._working.discard(work)
        if not self._working:
            waiting, self._idle = self._idle, []
            for idle in waiting:
                idle.callback(None)
        if result is not None and not self._stopping:
            logger.error("staged events wait: %s", result.value)

    async def _renew(self) -> None:
        await self._database.transact(staged_events.renew, list(self._slow), self._owner, LEASE_SECONDS)

    async def _work(self) -> None:
        try:
            while self._is_wanted and not self._stopping:
                self._is_wanted = False
                while rooms := await self._database.transact(
                    staged_events.claim_rooms, self._owner, self._server_name, LEASE_SECONDS, ROOMS_AT_ONCE
                ):
                    await self._share_out(rooms)
        finally:
            self._is_running = False

    async def _share_out(self, room_ids: Sequence[str]) -> None:
        left = await self._run(room_ids, max(1, EVENTS_AT_ONCE // len(room_ids)))
        free = MAX_SLOW_ROOMS - len(self._slow)
        for room_id in left[:free]:
            self._slow.add(room_id)
            self._begin(self._work_off(room_id))
        if left[free:]:
            await self._database.transact(
                staged_events.release, left[free:], self._owner, pause_seconds=PAUSE_SECONDS
            )

    async def _run(self, room_ids: Sequence[str], each: int) -> list[str]:
        """Put into the rooms what goes on at their heads, so many events of each. The rooms whose next events do not: they stay claimed."""
        try:
            return await self._database.transact(self._put, room_ids, each)
        except (UnavailableError, CancelledError):
            raise
        except Exception:  # one by one it shows with which event something is wrong
            logger.exception("events of %d rooms are received one by one", len(room_ids))
            return list(room_ids)

    def _put(self, txn: Transaction, room_ids: Sequence[str], each: int) -> list[str]:
        staged = staged_events.oldest(txn, room_ids, self._owner, each)
        rooms = rooms_of(txn, staged, self._server_name)
        runs = {
            room.nid: [Event.from_pdu(one.pdu, room.version, one.event_id) for one in staged[room_id]]
            for room_id, room in rooms.items()
        }
        done = self._runs.receive(txn, runs)
        counts = {room_id: done[rooms[room_id].nid] if room_id in rooms else 0 for room_id in staged}
        handled = [one.nid for room_id, count in counts.items() for one in staged[room_id][:count]]
        left = [room_id for room_id, count in counts.items() if count < len(staged[room_id])]
        if handled:
            staged_events.unstage(txn, handled)
        staged_events.release(txn, staged.keys() - set(left), self._owner)
        return left

    async def _work_off(self, room_id: str) -> None:
        """Bring in event after event, as long as they do not go on by themselves.

        Where one after the other leads nowhere, few are looked at together: else each would cost the reading of all that wait.
        """
        reach, left = BRANCH, True
        try:
            while left and (done := await self._receive_next(room_id, reach)) is not None:
                reach = min(BRANCH, reach * 4) if done else max(1, reach // 4)
                left = room_id in await self._run([room_id], reach)
        finally:
            self._slow.discard(room_id)
            await self._database.transact(staged_events.release, [room_id], self._owner)
            self.look()

    async def _receive_next(self, room_id: str, reach: int) -> int | None:
        """How many events came in, or were let go together; 0: one was let go after its turn. None: there is nothing to do any
        more, or somebody else has the room now.
        """
        room, staged = await self._database.read(self._read_next, room_id, reach)
        if not staged:
            return None
        done, over = (len(staged), staged) if room is None else await self._receive_some(room, staged)
        await self._database.transact(staged_events.unstage, [one.nid for one in over])
        return done

    def _read_next(
        self, txn: Transaction, room_id: str, reach: int
    ) -> tuple[Room | None, Sequence[StagedEvent]]:
        """The room unless nobody of ours is in it: then what waits is nothing to us, and nobody is asked about it.

        Nothing where a join has begun since the room was claimed: what waits is judged when it has ended.
        """
        staged = staged_events.oldest(txn, [room_id], self._owner, reach).get(room_id, ())
        room = room_by_id(txn, room_id) if staged else None
        if room is None:
            return None, staged
        ours = whereabouts(txn, room, self._server_name)
        if ours.is_coming and not ours.is_in:
            return None, ()
        return (room if ours.is_in else None), staged

    async def _receive_some(
        self, room: Room, staged: Sequence[StagedEvent]
    ) -> tuple[int, Sequence[StagedEvent]]:
        """What `_receive_next` says of them, and those that are done with: what leads nowhere, or what follows each other on a branch,
        or else the first one.
        """
        events = [Event.from_pdu(one.pdu, room.version, one.event_id) for one in staged]
        groundless = await self._inbound.groundless(events, [one.origin for one in staged])
        if groundless:
            logger.info("%d events of %s lead nowhere", len(groundless), room.room_id)
            return len(groundless), [one for one in staged if one.event_id in groundless]
        done = await self._inbound.receive_together(room, events) if len(events) > 1 else 0
        if done:
            return done, staged[:done]
        return int(await self._receive(room, staged[0])), staged[:1]

    async def _receive(self, room: Room, staged: StagedEvent) -> bool:
        """An event that cannot be received now is let go: what refers to it brings it back."""
        event = Event.from_pdu(staged.pdu, room.version, staged.event_id)
        work = Deferred.fromCoroutine(self._inbound.receive(room, event, staged.origin))
        deadline = self._clock.call_later(EVENT_SECONDS, work.cancel)
        try:
            stored = await work
        except UnavailableError:
            raise
        except CancelledError:
            if self._stopping:
                raise
            logger.warning("%s of %s takes too long", staged.event_id, staged.origin)
        except (PeerError, MatrixError, MissingEventsError) as error:
            logger.warning("%s of %s is not received: %s", staged.event_id, staged.origin, error)
        except Exception:  # whatever is wrong with one event, those behind it come into the room
            logger.exception("%s of %s is not received", staged.event_id, staged.origin)
        else:
            logger.debug("%s of %s is %s", staged.event_id, staged.origin, stored.standing.name)
            return True
        finally:
            if deadline.active():
                deadline.cancel()
        return False
