"""What users reported. Rooms are listed as events and users are."""

from collections.abc import Mapping
from functools import partial

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.reports import (
    EVENT_REPORTS,
    ROOM_REPORTS,
    USER_REPORTS,
    ReportAdmin,
    ReportKind,
)
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route
from synapse_lite.rest.paging import admin_limit, goes_backwards

V1 = "/_synapse/admin/v1"


class ReportsAdminApi:
    def __init__(self, reports: ReportAdmin) -> None:
        self._reports = reports

    def routes(self) -> list[Route]:
        return [
            route
            for kind in (EVENT_REPORTS, ROOM_REPORTS, USER_REPORTS)
            for route in (
                Route("GET", f"{V1}/{kind.table}", partial(self.find, kind), Access.ADMIN),
                Route("GET", f"{V1}/{kind.table}/{{report_id}}", partial(self.show, kind), Access.ADMIN),
                Route("DELETE", f"{V1}/{kind.table}/{{report_id}}", partial(self.delete, kind), Access.ADMIN),
            )
        ]

    async def find(self, kind: ReportKind, request: Request, _requester: Requester) -> JsonObject:
        """`GET /_synapse/admin/v1/event_reports`, `room_reports`, `user_reports`"""
        return await self._reports.find(
            kind,
            _wanted(kind, request),
            offset=request.query_int("from", 0),
            limit=admin_limit(request),
            newest_first=goes_backwards(request, "b"),
        )

    async def show(
        self, kind: ReportKind, _request: Request, _requester: Requester, report_id: str
    ) -> JsonObject:
        """`GET /_synapse/admin/v1/event_reports/{report_id}`, `room_reports/…`, `user_reports/…`"""
        return await self._reports.show(kind, report_id)

    async def delete(
        self, kind: ReportKind, _request: Request, _requester: Requester, report_id: str
    ) -> JsonObject:
        """`DELETE /_synapse/admin/v1/event_reports/{report_id}`, `room_reports/…`, `user_reports/…`"""
        await self._reports.delete(kind, report_id)
        return {}


def _wanted(kind: ReportKind, request: Request) -> Mapping[str, str]:
    given = {name: request.query(name) for name in (*kind.parts, *kind.exact)}
    return {name: text for name, text in given.items() if text}
