"""Redacting all events of a user."""

from typing import Annotated

from pydantic import Field

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import Errcode, MatrixError
from synapse_lite.handlers.redactions import RedactionsHandler
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route
from synapse_lite.ids import check_user_id
from synapse_lite.rest.admin.times import past_ts
from synapse_lite.rest.admin.user_selection import ChoiceBody
from synapse_lite.rest.body import Body, read_body
from synapse_lite.tasks.actions.redact_all_events import RedactParams

MAX_ROOMS = 10_000


class RedactBody(Body):
    """Synapse's fields, `event_types`, `dry_run`, `delete_media` and `withdraw_invites`; unknown ones are ignored."""

    rooms: Annotated[list[str], Field(max_length=MAX_ROOMS)]
    reason: str | None = None
    limit: int | None = None
    use_admin: bool | None = None
    before_ts: int | None = None
    after_ts: int | None = None
    event_types: list[str] | None = None
    dry_run: bool | None = None
    delete_media: bool | None = None
    withdraw_invites: bool | None = None


class RedactManyBody(RedactBody, ChoiceBody):
    """The same for many users."""

    rooms: list[str] = Field(default_factory=list, max_length=MAX_ROOMS)


class RedactionsApi:
    def __init__(self, redactions: RedactionsHandler, clock: Clock) -> None:
        self._redactions = redactions
        self._clock = clock

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/_synapse/admin/v1/user/{user_id}/redact", self.redact, Access.ADMIN),
            Route("POST", "/_synapse/admin/v1/redact", self.redact_many, Access.ADMIN),
            Route("GET", "/_synapse/admin/v1/user/redact_status/{redact_id}", self.status, Access.ADMIN),
        ]

    async def redact(self, request: Request, requester: Requester, user_id: str) -> JsonObject:
        """`POST /_synapse/admin/v1/user/{user_id}/redact`"""
        check_user_id(user_id)
        params = self._params(user_id, read_body(RedactBody, request.json_object()))
        return {"redact_id": await self._redactions.start(requester.user_id, params)}

    async def redact_many(self, request: Request, requester: Requester) -> JsonObject:
        """`POST /_synapse/admin/v1/redact`: as `redact`, for all `users`, or for those that fit `select`.

        The task shows how far all of them are; `users` is their number.
        """
        body = read_body(RedactManyBody, request.json_object())
        task_id, users = await self._redactions.start_many(
            requester.user_id, body.chosen(), self._params("", body)
        )
        return {"task_id": task_id, "users": users}

    async def status(self, _request: Request, _requester: Requester, redact_id: str) -> JsonObject:
        """`GET /_synapse/admin/v1/user/redact_status/{redact_id}`"""
        return await self._redactions.status(redact_id)

    def _params(self, user_id: str, body: RedactBody) -> RedactParams:
        if body.limit is not None and body.limit < 0:
            raise MatrixError(400, Errcode.UNKNOWN, "limit must be a non-negative integer")
        return RedactParams(
            user_id=user_id,
            rooms=tuple(body.rooms),
            reason=body.reason,
            limit=body.limit or None,
            use_admin=bool(body.use_admin),
            before_ts=self._time("before_ts", body.before_ts),
            after_ts=self._time("after_ts", body.after_ts),
            event_types=None if body.event_types is None else tuple(body.event_types),
            dry_run=bool(body.dry_run),
            delete_media=bool(body.delete_media),
            withdraw_invites=bool(body.withdraw_invites),
        )

    def _time(self, name: str, value: int | None) -> int | None:
        """0 is none, as at Synapse."""
        return past_ts(name, value, self._clock) if value else None
