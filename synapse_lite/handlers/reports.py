"""Users tell the operators of events, rooms and users; the operators look at what they were told."""

from collections.abc import Mapping
from functools import partial

import orjson
from attrs import frozen

from synapse_lite import ids
from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import invalid_param, not_found
from synapse_lite.handlers.long_lists import LongLists
from synapse_lite.handlers.rate_limits import check_user
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.ratelimit import RateLimiter
from synapse_lite.storage import accounts, rooms
from synapse_lite.storage import reports as store
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.events import EventStore
from synapse_lite.storage.reports import EVENT_REPORTS, ROOM_REPORTS, USER_REPORTS, ReportKind
from synapse_lite.storage.room_summary import read_summaries
from synapse_lite.storage.rooms import Room

__all__ = [
    "EVENT_REPORTS",
    "ROOM_REPORTS",
    "USER_REPORTS",
    "ReportAdmin",
    "ReportKind",
    "Reports",
]

MAX_NID_DIGITS = 18


@frozen
class _EventReport:
    user_id: str
    room_id: str
    event_id: str
    reason: str | None
    score: int | None


class Reports:
    """What users report (client-server API, "Reporting Content"). `server_name` is ours."""

    def __init__(
        self, database: Database, events: EventStore, limit: RateLimiter, clock: Clock, server_name: str
    ) -> None:
        self._database = database
        self._events = events
        self._limit = limit
        self._clock = clock
        self._server_name = server_name

    async def event(
        self, requester: Requester, room_id: str, event_id: str, reason: str | None, score: int | None
    ) -> None:
        """404 `M_NOT_FOUND` when there is no such event, or the requester is not in the room."""
        await check_user(self._limit, requester)
        report = _EventReport(requester.user_id, ids.check_room_id(room_id), event_id, reason, score)
        await self._database.transact(self._add_event, report)

    async def room(self, requester: Requester, room_id: str, reason: str) -> None:
        """404 `M_NOT_FOUND` for a room that this server does not know; one need not be in it."""
        await check_user(self._limit, requester)
        await self._database.transact(self._add_room, requester.user_id, ids.check_room_id(room_id), reason)

    async def user(self, requester: Requester, target: str, reason: str) -> None:
        """404 `M_NOT_FOUND` for a user of this server that there is not."""
        await check_user(self._limit, requester)
        await self._database.transact(self._add_user, requester.user_id, ids.check_user_id(target), reason)

    # In a database thread

    def _add_event(self, txn: Transaction, report: _EventReport) -> None:
        room = rooms.room_by_id(txn, report.room_id)
        member = None if room is None else rooms.membership_in(txn, room.nid, report.user_id)
        if room is None or member is None or member.membership != "join":
            raise not_found("Event not found.")
        event = self._events.in_room(txn, report.room_id, report.event_id).event
        values = {
            **_about_room(txn, room),
            "event_id": event.event_id,
            "sender": event.sender,
            "event": orjson.dumps({**event.pdu, "event_id": event.event_id}).decode(),
            "score": report.score,
        }
        store.add_report(txn, EVENT_REPORTS, self._values(report.user_id, report.reason, **values))

    def _add_room(self, txn: Transaction, user_id: str, room_id: str, reason: str) -> None:
        room = rooms.room_by_id(txn, room_id)
        if room is None:
            raise not_found("Room not found")
        store.add_report(txn, ROOM_REPORTS, self._values(user_id, reason, **_about_room(txn, room)))

    def _add_user(self, txn: Transaction, user_id: str, target: str, reason: str) -> None:
        if ids.is_local(target, self._server_name) and accounts.find_account(txn, target) is None:
            raise not_found("User not found")
        store.add_report(txn, USER_REPORTS, self._values(user_id, reason, target_user_id=target))

    def _values(self, user_id: str, reason: str | None, **more: object) -> dict[str, object]:
        return {"received_ts": self._clock.now_ms(), "user_id": user_id, "reason": reason, **more}


class ReportAdmin:
    """The reports, for administrators. An unknown one is 404 `M_NOT_FOUND`, what is no number 400 `M_INVALID_PARAM`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._lists = {
            kind: LongLists(database, clock) for kind in (EVENT_REPORTS, ROOM_REPORTS, USER_REPORTS)
        }

    async def find(
        self, kind: ReportKind, wanted: Mapping[str, str], *, offset: int, limit: int, newest_first: bool
    ) -> JsonObject:
        """A page under the name of the table, with the `total`, and the `next_token` when there are more."""
        read = partial(store.list_reports, kind=kind, offset=offset, limit=limit)
        found, total = await self._lists[kind].page(
            store.long_list(kind, wanted, newest_first=newest_first), offset, read
        )
        answer: JsonObject = {kind.table: found, "total": total}
        if offset + len(found) < total and found:
            answer["next_token"] = offset + len(found)
        return answer

    async def show(self, kind: ReportKind, report_id: str) -> JsonObject:
        """Of a reported event with the event as servers exchange it, as it was when it was reported."""
        return await self._database.snapshot(self._show, kind, _nid(report_id))

    async def delete(self, kind: ReportKind, report_id: str) -> None:
        if not await self._database.transact(store.delete_report, kind, _nid(report_id)):
            raise _unknown()

    def _show(self, txn: Transaction, kind: ReportKind, nid: int) -> JsonObject:
        report = store.read_report(txn, kind, nid)
        if report is None:
            raise _unknown()
        if kind is not EVENT_REPORTS:
            return report
        return {**report, "event_json": store.reported_event(txn, nid)}


def _about_room(txn: Transaction, room: Room) -> dict[str, object]:
    summary = read_summaries(txn, [room.nid]).get(room.nid)
    names = (summary.name, summary.canonical_alias) if summary else (None, None)
    return {"room_id": room.room_id, "room_name": names[0], "room_alias": names[1]}


def _nid(report_id: str) -> int:
    if not (report_id.isascii() and report_id.isdecimal()):
        raise invalid_param("The report_id parameter must be a string representing a positive integer.")
    if len(report_id) > MAX_NID_DIGITS:
        raise _unknown()
    return int(report_id)


def _unknown() -> Exception:
    return not_found("Report not found")
