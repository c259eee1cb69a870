"""Read receipts, the read marker, and typing."""

import logging

from twisted.internet.defer import ensureDeferred

from synapse_lite.clock import Clock
from synapse_lite.errors import forbidden, invalid_param
from synapse_lite.handlers.rate_limits import check_user
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.send_event import Activity
from synapse_lite.http.ratelimit import RateLimiter
from synapse_lite.ids import is_event_id
from synapse_lite.storage import account_data
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.ephemeral import (
    MAX_TYPING_MS,
    Receipt,
    expire_typing,
    is_news,
    put_receipt,
    set_typing,
)
from synapse_lite.storage.relations import MAIN_THREAD, thread_of
from synapse_lite.storage.room_closure import hold_joined_room
from synapse_lite.storage.writer import Writer

logger = logging.getLogger(__name__)

FULLY_READ = "m.fully_read"
RECEIPT_TYPES = frozenset({"m.read", "m.read.private", FULLY_READ})
TYPING_COST = 0.5
"""Of a message: clients say when typing begins and when it ends."""
RENEW_SECONDS = 20.0
"""Who goes on typing is told of again after so long: other servers take that for its end which they hear nothing of for half a minute."""
MAX_TOLD = 10_000


class EphemeralHandler:
    def __init__(
        self, database: Database, writer: Writer, activity: Activity, clock: Clock, limiter: RateLimiter
    ) -> None:
        self._database = database
        self._writer = writer
        self._activity = activity
        self._clock = clock
        self._limiter = limiter
        self._told: dict[tuple[str, str], float] = {}

    async def read(
        self, requester: Requester, room_id: str, receipts: dict[str, str], thread_id: str | None = None
    ) -> None:
        """Store receipts (type to event id) of a room that the requester is in; they never go back.

        400 `M_INVALID_PARAM` for an unknown type, no event id, no thread or one that the event is not in; 403 `M_FORBIDDEN` for a stranger.
        """
        for receipt_type, event_id in receipts.items():
            if receipt_type not in RECEIPT_TYPES:
                raise invalid_param(f"Receipt type must be one of: {', '.join(sorted(RECEIPT_TYPES))}")
            if not is_event_id(event_id):
                raise invalid_param("Not an event id")
        if thread_id is not None and not (thread_id == MAIN_THREAD or is_event_id(thread_id)):
            raise invalid_param("thread_id must be 'main' or the event id of the root of a thread")
        if thread_id is not None and FULLY_READ in receipts:
            raise invalid_param(f"thread_id is not compatible with {FULLY_READ} receipts")
        self._activity.note_activity(requester)
        await self._writer.submit(
            _read, requester.user_id, room_id, receipts, thread_id or "", self._clock.now_ms()
        )

    async def type(self, requester: Requester, room_id: str, timeout_ms: int) -> None:
        """The requester types for so long; 0 = no more."""
        await check_user(self._limiter, requester, TYPING_COST, scope="typing")
        if requester.shadow_banned:
            return
        self._activity.note_activity(requester)
        now_ms = self._clock.now_ms()
        timeout_ms = min(timeout_ms, MAX_TYPING_MS)
        is_renewed = self._is_renewed(room_id, requester.user_id, is_typing=timeout_ms > 0)
        await self._writer.submit(_type, requester.user_id, room_id, now_ms + timeout_ms, now_ms, is_renewed)
        if timeout_ms > 0:
            self._clock.call_later(timeout_ms / 1000 + 0.01, lambda: ensureDeferred(self.expire()))

    def _is_renewed(self, room_id: str, user_id: str, *, is_typing: bool) -> bool:
        """Whether it is to be told again that the user types, as far as this process knows."""
        now, place = self._clock.monotonic(), (room_id, user_id)
        if not is_typing:
            self._told.pop(place, None)
            return False
        if len(self._told) >= MAX_TOLD:
            self._told.clear()
        told = self._told.setdefault(place, now)
        if now - told < RENEW_SECONDS:
            return False
        self._told[place] = now
        return True

    async def start(self) -> None:
        """What ended while no process ran is told now."""
        await self.expire()

    def stop(self) -> None:
        """Nothing to do: whoever starts next expires what is left."""

    async def expire(self) -> None:
        """Tell the rooms that those whose time is over type no more."""
        try:
            await self._database.transact(expire_typing, self._clock.now_ms())
        except Exception:
            logger.exception("typing is not expired; the next time does it")


def _joined_room(txn: Transaction, room_id: str, user_id: str) -> int:
    room_nid = hold_joined_room(txn, room_id, user_id)
    if room_nid is None:
        raise forbidden(f"User {user_id} not in room {room_id}")
    return room_nid


def _read(
    txn: Transaction, user_id: str, room_id: str, receipts: dict[str, str], thread_id: str, now_ms: int
) -> None:
    room_nid = _joined_room(txn, room_id, user_id)
    if thread_id:
        for event_id in set(receipts.values()):
            _check_thread(txn, room_nid, event_id, thread_id)
    for receipt_type, event_id in receipts.items():
        if receipt_type == FULLY_READ:
            account_data.hold_account_data(txn, user_id)
            known = account_data.read_account_data(txn, user_id, room_nid, FULLY_READ)
            if known is None or is_news(txn, event_id, known["event_id"]):
                account_data.put_account_data(txn, user_id, room_nid, FULLY_READ, {"event_id": event_id})
        else:
            put_receipt(txn, Receipt(room_nid, user_id, receipt_type, thread_id, event_id, now_ms))


def _check_thread(txn: Transaction, room_nid: int, event_id: str, thread_id: str) -> None:
    """The root of a thread may be read in the thread, and outside of it. An event may still be on its way."""
    if thread_of(txn, room_nid, event_id) not in {None, thread_id} and event_id != thread_id:
        raise invalid_param(f"event_id {event_id} is not related to thread {thread_id}")


def _type(
    txn: Transaction, user_id: str, room_id: str, expires_ts: int, now_ms: int, is_renewed: bool
) -> None:
    room_nid = _joined_room(txn, room_id, user_id)
    set_typing(txn, room_nid, user_id, expires_ts, now_ms, is_renewed=is_renewed)
