"""What application services are told (application service API, "Pushing events").

Each has a follower of the stream. What a step of it has for the service is written down before it is sent, and sent again as
it is until the service has it. While the service is away only the position waits, and what came meanwhile goes out in
transactions of up to `MAX_CHANGES` changes, in the order of the stream.
"""

from collections.abc import Iterable
from urllib.parse import quote

import orjson

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.handlers.app_services import beside, encryption
from synapse_lite.handlers.app_services.beside import Beside
from synapse_lite.handlers.app_services.calls import ServiceCalls
from synapse_lite.handlers.app_services.encryption import ServiceDevices
from synapse_lite.handlers.app_services.interest import Interest
from synapse_lite.handlers.prejoin_state import PrejoinState
from synapse_lite.handlers.rendering import render_old
from synapse_lite.http.client import RequestError
from synapse_lite.ids import random_text
from synapse_lite.matrix.app_service import AppService
from synapse_lite.matrix.types import MEMBER
from synapse_lite.storage import app_services as store
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore, StoredEvent, View
from synapse_lite.storage.stream import Kind
from synapse_lite.storage.stripped_state import stripped_of
from synapse_lite.tasks.followers import FollowerSpec, NobodyListensError, Told

MAX_CHANGES = 100
TIMEOUT_SECONDS = 60.0
TXN_ID_LETTERS = 24
EVENT_KINDS = frozenset({Kind.EVENT, Kind.STATE})
"""`STATE`: of memberships of rooms that nobody of ours is in, such as an invite."""


def follower_of(service: AppService) -> FollowerSpec:
    """A service that is new hears of what happens from now on."""
    kinds = EVENT_KINDS | beside.kinds_for(service) | encryption.kinds_for(service)
    return FollowerSpec(f"application_service {service.id}", kinds, batch=MAX_CHANGES, from_now=True)


class ServiceDeliveries:
    """The follower of one service."""

    def __init__(
        self,
        service: AppService,
        database: Database,
        events: EventStore,
        prejoin: PrejoinState,
        calls: ServiceCalls,
        clock: Clock,
        server_name: str,
    ) -> None:
        self._service = service
        self._database = database
        self._events = events
        self._prejoin = prejoin
        self._calls = calls
        self._clock = clock
        self._interest = Interest(service, server_name)
        self._beside = Beside(service, self._interest)
        self._devices = ServiceDevices(service, self._interest)

    def prepare(self, txn: Transaction, told: Told) -> bool:
        """Writes down what is to be sent, unless that was done before; False where nothing concerns the service."""
        if store.find_transaction(txn, self._service.id, told.key) is not None:
            return True
        body = self._body(txn, told)
        if not any(body.values()):
            return False
        text = orjson.dumps(body).decode()
        store.put_transaction(txn, self._service.id, told.key, random_text(TXN_ID_LETTERS), text)
        return True

    async def deliver(self, told: Told) -> None:
        found = await self._database.read(store.find_transaction, self._service.id, told.key)
        if found is None:
            raise RuntimeError(f"{told.key} was not written down")
        txn_id, body = found
        if body is not None:
            await self._send(txn_id, body)
            await self._database.transact(self._arrived, txn_id)

    async def _send(self, txn_id: str, body: str) -> None:
        service, path = self._service, f"/_matrix/app/v1/transactions/{quote(txn_id, safe='')}"
        try:
            answer = await self._calls.ask(
                service, "PUT", path, orjson.Fragment(body), timeout=TIMEOUT_SECONDS, is_repeatable=True
            )
        except RequestError as error:
            raise NobodyListensError(f"{service.id} takes no transaction: {error}") from None
        if not answer.is_ok:
            raise NobodyListensError(f"{service.id} answers a transaction with {answer.status}")

    # In a database thread

    def _arrived(self, txn: Transaction, txn_id: str) -> None:
        txn.relax()  # whoever is told once more by the same id takes no notice
        store.note_arrived(txn, self._service.id, txn_id)

    def _body(self, txn: Transaction, told: Told) -> JsonObject:
        now_ms, after = self._clock.now_ms(), told.after
        self._interest.begin(told.claim, told.changes)
        places: dict[int, int] = {}
        for one in told.changes:
            if one.event_nid is not None and (one.kind is Kind.EVENT or self._is_own(one.user_id)):
                places.setdefault(one.event_nid, one.position)
        stored = self._events.load(txn, places)
        events = [(place, stored[nid]) for nid, place in places.items() if nid in stored]
        concerned = self._interest.events(txn, events, after)
        views = self._events.views(txn, [one.nid for one in concerned])
        body: JsonObject = {"events": [self._rendered(txn, view, now_ms) for view in views]}
        if self._service.ephemeral_keys:
            heard = self._beside.read(txn, told.changes, after, now_ms)
            body |= dict.fromkeys(self._service.ephemeral_keys, heard)
        body |= self._devices.read(txn, told.changes, after, self._users_of(concerned))
        return body

    def _users_of(self, events: Iterable[StoredEvent]) -> set[str]:
        """Those of the service, whom the events concern."""
        named = {
            name for one in events for name in (one.event.sender, one.event.state_key) if name is not None
        }
        return {self._service.sender, *filter(self._service.has_user, named)} if named else set()

    def _is_own(self, user_id: str | None) -> bool:
        return user_id is not None and self._service.has_user(user_id)

    def _rendered(self, txn: Transaction, view: View, now_ms: int) -> orjson.Fragment:
        """As the first client API had it, which services still read. An invite says what its user may see of the room."""
        stored, event = view.stored, view.stored.event
        shown = render_old(view, now_ms=now_ms)
        if event.type != MEMBER or event.membership != "invite" or not self._is_own(event.state_key):
            return shown
        nid, user_id = stored.room_nid, event.state_key or ""
        told = stripped_of(txn, [nid], user_id) or self._prejoin.read(
            txn, [nid], [(nid, (MEMBER, event.sender))]
        )
        state, read = told.get(nid, []), orjson.loads(orjson.dumps(shown))
        read["invite_room_state"] = read["unsigned"]["invite_room_state"] = state
        return orjson.Fragment(orjson.dumps(read))
