"""Users follow threads (MSC4306), and their clients hear of it (MSC4308)."""

from collections.abc import Sequence

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, not_found
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.sync.sections import UNKNOWN, SyncSection, Unknown
from synapse_lite.handlers.sync.values import Reading, SyncRequest
from synapse_lite.handlers.tokens import write_token
from synapse_lite.handlers.visibility import Visibility
from synapse_lite.storage import thread_subscriptions as store
from synapse_lite.storage import timeline
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.relations import thread_of
from synapse_lite.storage.rooms import room_access
from synapse_lite.storage.stream import END, Change, Kind, Place
from synapse_lite.storage.thread_subscriptions import Subscription

MOST = 100  # in an answer
MAX_SUBSCRIPTIONS = 10_000  # of a user


class ThreadSubscriptions:
    """404 `M_NOT_FOUND` for a thread whose root the user may not see."""

    def __init__(self, database: Database, events: EventStore, visibility: Visibility) -> None:
        self._database = database
        self._events = events
        self._visibility = visibility

    async def find(self, requester: Requester, room_id: str, root_id: str) -> bool:
        """Whether it is an automatic one; 404 when there is none."""
        found = await self._database.snapshot(self._find, requester.user_id, room_id, root_id)
        if found is None or not found.subscribed:
            raise not_found("Thread subscription not found")
        return found.automatic

    async def subscribe(self, requester: Requester, room_id: str, root_id: str, cause_id: str | None) -> None:
        """By the user's choice, or by that of a client because of the event `cause_id` in the thread.

        The user's own choice counts more: 409 when they ended the subscription after that event. 400 when the
        event is not in the thread, or there are too many subscriptions.
        """
        await self._database.transact(self._subscribe, requester.user_id, room_id, root_id, cause_id)

    async def unsubscribe(self, requester: Requester, room_id: str, root_id: str) -> None:
        await self._database.transact(self._unsubscribe, requester.user_id, room_id, root_id)

    async def page(
        self, requester: Requester, start: Place | None, stop: Place | None, limit: int
    ) -> JsonObject:
        """What changed before `start`, after `stop`; the newest first."""
        upto = start.whole if start is not None else END
        after = stop.whole if stop is not None else 0
        found = await self._database.read(
            store.changed_subscriptions, requester.user_id, after, upto, min(limit, MOST) + 1
        )
        return _written(found, min(limit, MOST), "end")

    # In a database thread

    def _room(self, txn: Transaction, user_id: str, room_id: str, event_id: str) -> tuple[int, int]:
        """The nid of the room, and the position of an event there that the user may see."""
        try:
            access = room_access(txn, room_id, user_id)
            viewer = self._visibility.viewer(txn, access, user_id)
            event = self._events.in_room(txn, room_id, event_id)
        except MatrixError:
            raise not_found("Thread not found") from None
        place = timeline.places_of(txn, [event.nid]).get(event.nid)
        if place is None or not self._visibility.only_visible(txn, viewer, [(place, event.nid)]):
            raise not_found("Thread not found")
        return event.room_nid, place.position

    def _find(self, txn: Transaction, user_id: str, room_id: str, root_id: str) -> Subscription | None:
        room_nid, _ = self._room(txn, user_id, room_id, root_id)
        return store.find_subscription(txn, room_nid, user_id, root_id)

    def _subscribe(
        self, txn: Transaction, user_id: str, room_id: str, root_id: str, cause_id: str | None
    ) -> None:
        room_nid, _ = self._room(txn, user_id, room_id, root_id)
        known = store.find_subscription(txn, room_nid, user_id, root_id)
        if cause_id is not None:
            _, caused_at = self._room(txn, user_id, room_id, cause_id)
            if root_id not in {cause_id, thread_of(txn, room_nid, cause_id)}:
                raise MatrixError(400, Errcode.NOT_IN_THREAD, "The event is not in the thread")
            if known is not None and not known.subscribed and known.position > caused_at:
                raise MatrixError(409, Errcode.CONFLICTING_UNSUBSCRIPTION, "The user has unsubscribed since")
        if known is not None and known.subscribed and (cause_id is not None or not known.automatic):
            return
        if known is None and store.count_subscriptions(txn, user_id) >= MAX_SUBSCRIPTIONS:
            raise MatrixError(400, Errcode.LIMIT_EXCEEDED, "Too many thread subscriptions")
        store.put_subscription(
            txn, room_nid, user_id, root_id, subscribed=True, automatic=cause_id is not None
        )

    def _unsubscribe(self, txn: Transaction, user_id: str, room_id: str, root_id: str) -> None:
        room_nid, _ = self._room(txn, user_id, room_id, root_id)
        known = store.find_subscription(txn, room_nid, user_id, root_id)
        if known is not None and known.subscribed:
            store.put_subscription(txn, room_nid, user_id, root_id, subscribed=False, automatic=False)


class ThreadSubscriptionsSection(SyncSection):
    """The newest changes; what has no room can be had from a page of its own. Only sliding sync has it."""

    key = "thread_subscriptions"
    kinds = frozenset({Kind.THREAD_SUBSCRIPTION})

    def initial(self, reading: Reading) -> JsonObject | None:
        return _read(reading, 0)

    def since(self, reading: Reading, changes: Sequence[Change]) -> JsonObject | None:
        return _read(reading, reading.since) if changes else None

    def live(self, request: SyncRequest, changes: Sequence[Change]) -> Unknown | None:  # noqa: ARG002
        return UNKNOWN if changes else None


def _read(reading: Reading, after: int) -> JsonObject | None:
    limit = min(reading.request.most_subscriptions, MOST)
    found = store.changed_subscriptions(
        reading.txn, reading.request.user_id, after, reading.position, limit + 1
    )
    return _written(found, limit, "prev_batch") if found else None


def _written(found: Sequence[Subscription], limit: int, name_of_token: str) -> JsonObject:
    """By room and thread. With one more than the limit there is a token for the rest."""
    parts: dict[str, JsonObject] = {"subscribed": {}, "unsubscribed": {}}
    for one in found[:limit]:
        entry: JsonObject = {"bump_stamp": one.position}
        if one.subscribed:
            entry["automatic"] = one.automatic
        name = "subscribed" if one.subscribed else "unsubscribed"
        parts[name].setdefault(one.room_id, {})[one.root_id] = entry
    written: JsonObject = {name: part for name, part in parts.items() if part}
    if len(found) > limit:
        written[name_of_token] = write_token(Place(found[limit].position))
    return written
