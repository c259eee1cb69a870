"""Transactions of other servers (server-server API, "Transactions").

What is good is kept, with the answer, in one transaction; then it is acknowledged. Events go into their rooms
afterwards, see `federation.staging`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import Deferred

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import MatrixError, bad_json, forbidden, invalid_param
from synapse_lite.federation.pdus import Checked, PduChecker, Refused, event_id_of
from synapse_lite.federation.staging import TOPIC
from synapse_lite.federation.turns import map_in_turns
from synapse_lite.handlers.current_state import CurrentState
from synapse_lite.handlers.federation.acl import shuts_out
from synapse_lite.handlers.federation.edus import Edus
from synapse_lite.handlers.federation.invites import ServedInvites
from synapse_lite.ids import is_room_id
from synapse_lite.matrix.event import Event
from synapse_lite.matrix.types import MEMBER
from synapse_lite.replication.bus import Bus
from synapse_lite.storage import received_transactions, staged_events
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.joins_under_way import whereabouts
from synapse_lite.storage.room_servers import has_waiting, is_in_room
from synapse_lite.storage.rooms import Room, room_by_id
from synapse_lite.storage.sent_knocks import has_sent
from synapse_lite.storage.staged_events import Arrival

MAX_PDUS = 50
MAX_EDUS = 100
KEPT_MS = 24 * 3600 * 1000
"""A server that repeats a transaction later than this is told the same, but its events are looked at again."""


@frozen
class _RoomOf:
    """A room of which events came. `is_shut`: its ACL shuts the origin out. `is_ours`: somebody of this server is in it;
    `is_awaited`: about to be.
    """

    room: Room
    is_shut: bool
    is_ours: bool
    is_awaited: bool = False

    @property
    def takes_all(self) -> bool:
        return self.is_ours or self.is_awaited


@frozen
class _Accepted:
    """`awaited`: rooms that were about to be entered when their events were looked at."""

    results: dict[str, JsonObject] = field(factory=dict)
    arrivals: list[Arrival] = field(factory=list)
    awaited: list[Room] = field(factory=list)


class Transactions:
    def __init__(
        self,
        database: Database,
        checker: PduChecker,
        current: CurrentState,
        edus: Edus,
        invites: ServedInvites,
        bus: Bus,
        clock: Clock,
        server_name: str,
    ) -> None:
        self._database = database
        self._checker = checker
        self._current = current
        self._edus = edus
        self._invites = invites
        self._bus = bus
        self._clock = clock
        self._server_name = server_name
        self._running: dict[tuple[str, str], list[Deferred[JsonObject]]] = {}

    async def receive(self, origin: str, txn_id: str, body: JsonObject) -> JsonObject:
        """The result of each event. A repetition gets the first one's answer, and waits for it if it has to.

        400 `M_BAD_JSON` for too much or another shape: then nothing of it is taken.
        """
        pdus, edus = _read(origin, body)
        key = (origin, txn_id)
        if key in self._running:
            waiting: Deferred[JsonObject] = Deferred()
            self._running[key].append(waiting)
            return await waiting
        self._running[key] = []
        work = Deferred.fromCoroutine(self._receive(origin, txn_id, pdus, edus))
        work.addBoth(self._tell, key)
        return await work

    def _tell(self, result: Any, key: tuple[str, str]) -> Any:
        for waiting in self._running.pop(key):
            if not waiting.called:
                waiting.callback(result)
        return result

    async def _receive(
        self, origin: str, txn_id: str, pdus: Sequence[Any], edus: Sequence[Any]
    ) -> JsonObject:
        answer = await self._database.read(received_transactions.find_answer, origin, txn_id)
        if answer is not None:
            return answer
        accepted = await self._check(origin, pdus)
        answer = await self._database.transact(self._store, origin, txn_id, accepted, edus)
        if accepted.arrivals:
            self._bus.publish(TOPIC)
        return answer

    async def _check(self, origin: str, pdus: Sequence[Any]) -> _Accepted:
        by_room: dict[str, list[Any]] = {}
        for pdu in pdus:
            room_id = pdu.get("room_id") if isinstance(pdu, dict) else None
            if isinstance(room_id, str) and is_room_id(room_id):
                by_room.setdefault(room_id, []).append(pdu)
        accepted = _Accepted()
        found = await self._database.read(self._rooms, origin, list(by_room))
        for room_id, of_room in by_room.items():
            if room_id in found:  # of unknown rooms nothing can be said, not even an event id
                await self._check_room(origin, found[room_id], of_room, accepted)
        return accepted

    async def _check_room(
        self, origin: str, found: _RoomOf, pdus: Sequence[Any], accepted: _Accepted
    ) -> None:
        room = found.room
        if found.is_shut:
            checked: Sequence[Checked] = await map_in_turns(partial(_shut_out, room), pdus)
        else:
            wanted = pdus if found.takes_all else [pdu for pdu in pdus if pdu.get("type") == MEMBER]
            checked = await self._checker.check_all(wanted, room.version, room.room_id)
        if not found.is_ours:
            for one in checked:
                if isinstance(one, Event) and one.type == MEMBER:
                    await self._invites.withdraw(room, one, origin)
        if not found.takes_all:
            return
        if found.is_awaited:
            accepted.awaited.append(room)
        for one in checked:
            if isinstance(one, Event):
                accepted.results[one.event_id] = {}
                accepted.arrivals.append(Arrival(room.room_id, one.event_id, one.pdu))
            elif one.event_id is not None:
                accepted.results[one.event_id] = {"error": one.error.message}

    # In a database thread

    def _rooms(self, txn: Transaction, origin: str, room_ids: Sequence[str]) -> dict[str, _RoomOf]:
        """Those that somebody of this server is in, or stands before."""
        found = {}
        for room_id in room_ids:
            room = room_by_id(txn, room_id)
            if room is None:
                continue
            ours = whereabouts(txn, room, self._server_name)
            if ours.is_in:
                found[room_id] = _RoomOf(room, shuts_out(txn, self._current, room.nid, origin), True)
            elif ours.is_coming or has_waiting(txn, room.nid, self._server_name) or has_sent(txn, room.nid):
                found[room_id] = _RoomOf(room, False, False, ours.is_coming)
        return found

    def _store(
        self, txn: Transaction, origin: str, txn_id: str, accepted: _Accepted, edus: Sequence[Any]
    ) -> JsonObject:
        now = self._clock.now_ms()
        answer: JsonObject = {"pdus": accepted.results}
        if not received_transactions.put_answer(txn, origin, txn_id, answer, now, kept_ms=KEPT_MS):
            return received_transactions.find_answer(txn, origin, txn_id) or answer
        shut = {room.room_id for room in accepted.awaited if self._has_shut(txn, room, origin)}
        arrivals = [one for one in accepted.arrivals if one.room_id not in shut]
        if arrivals:
            staged_events.stage(txn, origin, arrivals, now)
        for edu in edus:
            outcome = txn.attempt(_handling(self._edus, origin, edu))
            if isinstance(outcome, Exception) and not isinstance(outcome, MatrixError):
                raise outcome
        return answer

    def _has_shut(self, txn: Transaction, room: Room, origin: str) -> bool:
        """Whether it was entered meanwhile, and shuts the server out."""
        return is_in_room(txn, room.nid, self._server_name) and shuts_out(
            txn, self._current, room.nid, origin
        )


def _shut_out(room: Room, pdu: Any) -> Refused:
    return Refused(forbidden("Server is banned from room"), event_id_of(pdu, room.version))


def _handling(edus: Edus, origin: str, edu: Any) -> Callable[[Transaction], None]:
    def handle(txn: Transaction) -> None:
        edu_type = edu.get("edu_type") if isinstance(edu, dict) else None
        content = edu.get("content") if isinstance(edu, dict) else None
        if isinstance(edu_type, str) and isinstance(content, dict):
            edus.handle(txn, origin, edu_type, content)

    return handle


def _read(origin: str, body: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    if body.get("origin", origin) != origin:
        raise invalid_param("'origin' is not the server that signed the request")
    pdus, edus = body.get("pdus", []), body.get("edus", [])
    if not isinstance(pdus, list) or not isinstance(edus, list):
        raise bad_json("'pdus' and 'edus' must be lists")
    if len(pdus) > MAX_PDUS or len(edus) > MAX_EDUS:
        raise bad_json(f"A transaction has at most {MAX_PDUS} PDUs and {MAX_EDUS} EDUs")
    return pdus, edus
