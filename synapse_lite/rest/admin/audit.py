"""The audit trail of administrators."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.audit import AuditFilter, AuditLog
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route
from synapse_lite.rest.paging import admin_limit, goes_backwards


class AuditApi:
    def __init__(self, log: AuditLog) -> None:
        self._log = log

    def routes(self) -> list[Route]:
        return [Route("GET", "/_synapse/admin/v1/audit_log", self.find, Access.ADMIN)]

    async def find(self, request: Request, _requester: Requester) -> JsonObject:
        """`GET /_synapse/admin/v1/audit_log`: newest first, or with `dir=f` oldest first.

        `user_id`, `since_ts` and `until_ts` (inclusive) narrow it; the next page is `from` the `next_token`.
        """
        return await self._log.find(
            AuditFilter(
                request.query("user_id") or None,
                request.query_int("since_ts", None),
                request.query_int("until_ts", None),
            ),
            from_token=request.query("from") or None,
            limit=max(1, admin_limit(request)),
            newest_first=goes_backwards(request, "b"),
        )
