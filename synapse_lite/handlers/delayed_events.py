"""Events that are sent later, unless somebody calls them off (MSC4140): how a call learns that somebody is gone.

An event is written in the transaction that says that it is sent, so it is sent once, by whatever process comes first. Each process knows
the time of the next one, and looks every few seconds for what another one has left behind.
"""

import logging
import math

from twisted.internet.defer import Deferred

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock, DelayedCall
from synapse_lite.errors import Errcode, MatrixError, forbidden, invalid_param, not_found
from synapse_lite.handlers.rate_limits import check_user
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.send_event import SendEvent
from synapse_lite.http.ratelimit import RateLimiter, network_of
from synapse_lite.ids import random_text
from synapse_lite.matrix.content_checks import check_draft
from synapse_lite.matrix.types import MEMBER
from synapse_lite.rooms.append import EventAppender
from synapse_lite.rooms.values import Write
from synapse_lite.storage import accounts, rooms
from synapse_lite.storage import delayed_events as store
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.delayed_events import CANCELLED, FAILED, SENT, DelayedEvent
from synapse_lite.storage.room_closure import hold_room

logger = logging.getLogger(__name__)

SEND, CANCEL, RESTART = "send", "cancel", "restart"
ACTIONS = (SEND, CANCEL, RESTART)
MAX_WAITING = 100  # of a user
TOO_LARGE = "ORG.MATRIX.MSC4140_DELAY_TOO_LARGE"
DELAY_ID_LETTERS = 32
LOOK_SECONDS = 5.0
AT_ONCE = 20
WAITS_MS = (1_000, 5_000, 30_000, 120_000, 600_000)
"""After a failure that may pass."""
_ENDS = {SEND: SENT, CANCEL: CANCELLED}


class DelayedEvents:
    """`longest_ms` None: nobody may ask for any, but what was asked for before comes."""

    def __init__(
        self,
        database: Database,
        sending: SendEvent,
        appender: EventAppender,
        clock: Clock,
        limiter: RateLimiter,
        longest_ms: int | None,
    ) -> None:
        self._database = database
        self._sending = sending
        self._appender = appender
        self._clock = clock
        self._limiter = limiter
        self._longest_ms = longest_ms
        self._timer: DelayedCall | None = None
        self._wakes_at = 0.0
        self._is_looking = False
        self._stopped = False

    # What clients ask

    async def message(
        self, requester: Requester, room_id: str, event_type: str, txn_id: str, content: JsonObject, delay_ms: int
    ) -> str:  # fmt: skip
        """The id of the delayed event. 400 with the reason of MSC4140 for a delay that is too long, and for too many."""
        await self._check(requester, delay_ms)
        write = await self._sending.prepare_message(requester, room_id, event_type, txn_id, content)
        return await self._schedule(requester, write, delay_ms, txn_id)

    async def state(
        self, requester: Requester, room_id: str, event_type: str, state_key: str, content: JsonObject, delay_ms: int
    ) -> str:  # fmt: skip
        """As `message`; 403 for memberships, which are changed by endpoints of their own."""
        if event_type == MEMBER:
            raise forbidden("A membership cannot be changed later")
        await self._check(requester, delay_ms)
        write = await self._sending.prepare_state(requester, room_id, event_type, state_key, content)
        return await self._schedule(requester, write, delay_ms, None)

    async def to_come(self, requester: Requester) -> list[JsonObject]:
        """The user's own."""
        found = await self._database.read(store.to_come, requester.user_id, MAX_WAITING)
        return [_shown(event) for event in found]

    async def one(self, requester: Requester, delay_id: str) -> JsonObject:
        """404 `M_NOT_FOUND` for those of others, and for what has been sent."""
        for event in await self.to_come(requester):
            if event["delay_id"] == delay_id:
                return event
        raise not_found("Delayed event not found")

    async def update(self, delay_id: str, action: str, address: str) -> None:
        """Send it now, cancel it, or let its time run anew. Once more the same is no error, the contrary is 409; 404 for an unknown one.

        Who knows the id may do so: the server of a call does it for its clients.
        """
        if action not in ACTIONS:
            raise invalid_param(f"'action' must be one of: {', '.join(ACTIONS)}")
        await self._limiter.check(("event", delay_id))
        found = await self._database.transact(self._update, delay_id, action)
        if found is None:
            await self._limiter.check(("address", network_of(address)))
            raise not_found("Unknown delayed event")
        if isinstance(found, MatrixError):
            raise found
        if action == RESTART:
            self._wake_in(found / 1000)

    async def _check(self, requester: Requester, delay_ms: int) -> None:
        if self._longest_ms is None:
            raise _refused("Delayed events are not supported on this server", Errcode.MAX_DELAY_UNSUPPORTED)
        if delay_ms < 0:
            raise invalid_param("A delay must not be negative")
        if delay_ms > self._longest_ms:
            raise _refused(
                "The requested delay exceeds the allowed maximum",
                Errcode.MAX_DELAY_EXCEEDED,
                TOO_LARGE,
                max_delay=self._longest_ms,
            )
        await check_user(self._limiter, requester, scope="user")

    async def _schedule(
        self, requester: Requester, write: Write | str, delay_ms: int, txn_id: str | None
    ) -> str:
        if isinstance(write, str):
            raise invalid_param("A request with this transaction id was served without a delay")
        check_draft(write.draft)
        delay_id = await self._database.transact(self._add, write, delay_ms, requester.session, txn_id)
        self._wake_in(delay_ms / 1000)
        return delay_id

    # Time

    def start(self) -> None:
        """Whatever was due while no process ran comes now."""
        if self._longest_ms is not None:
            self._wake_in(0)

    def stop(self) -> None:
        """Others send what is left, or whoever starts next."""
        self._stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    async def send_due(self) -> None:
        """Send all that is due."""
        while delay_ids := await self._database.read(store.due, self._clock.now_ms(), AT_ONCE):
            sent = [await self._send_due(delay_id) for delay_id in delay_ids]
            if not any(sent):
                return  # other processes are at them

    async def _send_due(self, delay_id: str) -> bool:
        try:
            return await self._database.transact(self._send_if_due, delay_id)
        except Exception:
            logger.exception("a delayed event is not sent; it is tried again")
            await self._database.transact(store.postpone, delay_id, self._clock.now_ms(), WAITS_MS)
            return True

    def _wake_in(self, seconds: float) -> None:
        """Look then, unless it is looked before."""
        if self._stopped:
            return
        at = self._clock.monotonic() + seconds
        if self._is_looking:  # the look may not see it any more
            self._wakes_at = min(self._wakes_at, at)
            return
        if self._timer is not None and self._timer.active():
            if self._wakes_at <= at:
                return
            self._timer.cancel()
        self._wakes_at = at
        self._timer = self._clock.call_later(seconds, self._on_time)

    def _on_time(self) -> None:
        self._is_looking = True
        self._wakes_at = math.inf
        Deferred.fromCoroutine(self._look()).addErrback(
            lambda failure: logger.warning("delayed events come later: %s", failure.value)
        ).addBoth(lambda seconds: self._looked(seconds or LOOK_SECONDS))

    async def _look(self) -> float:
        """Seconds until the next look."""
        await self.send_due()
        due_ts = await self._database.read(store.next_due)
        if due_ts is None:
            return LOOK_SECONDS
        return min(max(0.01, (due_ts - self._clock.now_ms()) / 1000), LOOK_SECONDS)

    def _looked(self, seconds: float) -> None:
        self._is_looking = False
        asked = max(0.0, self._wakes_at - self._clock.monotonic())
        self._wake_in(min(seconds, asked))

    # In a database thread

    def _add(self, txn: Transaction, write: Write, delay_ms: int, session: str, txn_id: str | None) -> str:
        hold_room(txn, write.room_nid)
        if not rooms.joined_among(txn, write.room_nid, [write.draft.sender]):
            raise forbidden("You are not in the room")
        waiting = store.count_of(txn, write.draft.sender)
        if txn_id is not None:
            known = store.find_request(txn, session, write.room_nid, write.draft.type, txn_id)
            if known is not None:
                return known
        if waiting >= MAX_WAITING:
            raise _refused("You have too many delayed events", Errcode.MAX_DELAYED_EVENTS_EXCEEDED)
        delay_id = random_text(DELAY_ID_LETTERS)
        store.add(txn, delay_id, write.room_nid, write.draft, delay_ms, session, txn_id)
        return delay_id

    def _update(self, txn: Transaction, delay_id: str, action: str) -> int | MatrixError | None:
        """The delay in milliseconds; None for an unknown event."""
        event, now_ms = store.hold(txn, delay_id), self._clock.now_ms()
        if event is None:
            return None
        if event.outcome is not None:
            is_same = _ENDS.get(action) == event.outcome
            return event.delay_ms if is_same else MatrixError(
                409, Errcode.UNKNOWN, f"The delayed event is {event.outcome} already"
            )  # fmt: skip
        if action == RESTART:
            store.restart(txn, delay_id, now_ms)
        elif action == CANCEL:
            store.finish(txn, event, CANCELLED, now_ms)
        else:
            refusal = self._write(txn, event, now_ms)
            if refusal is not None:
                return refusal  # it stays as it was
            store.finish(txn, event, SENT, now_ms)
        return event.delay_ms

    def _send_if_due(self, txn: Transaction, delay_id: str) -> bool:
        """False when it is not due any more, or another process is at it."""
        now_ms = self._clock.now_ms()
        event = store.hold_due(txn, delay_id, now_ms)
        if event is None:
            return False
        refusal = self._write(txn, event, now_ms)
        if refusal is not None:
            store.finish(txn, event, FAILED, now_ms, refusal.message)
        else:
            store.finish(txn, event, SENT, now_ms)
        return True

    def _write(self, txn: Transaction, event: DelayedEvent, now_ms: int) -> MatrixError | None:
        """Send it, by what its sender may do now; why not, if not. Nobody gets what a shadow-banned user sends."""
        if not accounts.may_send(txn, event.user_id, now_ms):
            return forbidden("The account may not send anything any more")
        if accounts.is_shadow_banned(txn, event.user_id):
            return None
        (result,) = self._appender.append(txn, [Write(event.room_nid, event.draft(now_ms))])
        return result if isinstance(result, MatrixError) else None


def _refused(message: str, reason: str, errcode: str = Errcode.UNKNOWN, **more: int) -> MatrixError:
    """`reason` is where the proposal had the error code at first."""
    extra = {f"org.matrix.msc4140.{name}": value for name, value in more.items()}
    return MatrixError(400, errcode, message, {"org.matrix.msc4140.errcode": reason, **extra})


def _shown(event: DelayedEvent) -> JsonObject:
    return {
        "delay_id": event.delay_id,
        "room_id": event.room_id,
        "type": event.type,
        **({} if event.state_key is None else {"state_key": event.state_key}),
        "delay_ms": event.delay_ms,
        "delayed_since_ts": event.running_since,
        "delay": event.delay_ms,  # and as the proposal had them at first
        "running_since": event.running_since,
        "content": event.content,
    }
