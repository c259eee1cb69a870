"""Purging the history of rooms."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import bad_json
from synapse_lite.handlers.history_purge import HistoryPurge, HistoryPurgeRequest
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route
from synapse_lite.ids import MAX_ID_BYTES
from synapse_lite.rest.admin.times import past_ts
from synapse_lite.rest.body import optional_text, parameter

PATH = "/_synapse/admin/v1/purge_history/{room_id}"


class PurgeHistoryApi:
    def __init__(self, purges: HistoryPurge, clock: Clock) -> None:
        self._purges = purges
        self._clock = clock

    def routes(self) -> list[Route]:
        return [
            Route("POST", PATH, self.start, Access.ADMIN),
            Route("POST", f"{PATH}/{{event_id}}", self.start, Access.ADMIN),
            Route("GET", "/_synapse/admin/v1/purge_history_status/{purge_id}", self.status, Access.ADMIN),
        ]

    async def start(
        self, request: Request, requester: Requester, room_id: str, event_id: str | None = None
    ) -> JsonObject:
        """`POST /_synapse/admin/v1/purge_history/{room_id}` and `…/{event_id}`"""
        body = request.json_object(allow_empty=True)
        wanted = HistoryPurgeRequest(
            room_id,
            event_id or optional_text(body, "purge_up_to_event_id", MAX_ID_BYTES),
            self._timestamp(body),
            delete_local_events=bool(body.get("delete_local_events")),
            dry_run=parameter(body, "dry_run", bool, False),
        )
        return {"purge_id": await self._purges.start(requester.user_id, wanted)}

    async def status(self, _request: Request, _requester: Requester, purge_id: str) -> JsonObject:
        """`GET /_synapse/admin/v1/purge_history_status/{purge_id}`"""
        return await self._purges.status(purge_id)

    def _timestamp(self, body: JsonObject) -> int | None:
        value = body.get("purge_up_to_ts")
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise bad_json("purge_up_to_ts must be an int")
        return past_ts("purge_up_to_ts", value, self._clock)
