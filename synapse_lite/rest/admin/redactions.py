"""Redacting all events of a user."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, bad_json, missing_param
from synapse_lite.handlers.redactions import RedactionsHandler
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route
from synapse_lite.ids import check_user_id
from synapse_lite.rest.gate import Gate
from synapse_lite.tasks.actions.redact_all_events import RedactParams

MAX_ROOMS = 10_000


class RedactBody(BaseModel):
    """Synapse's fields, `event_types` and `dry_run`; unknown ones are ignored."""

    model_config = ConfigDict(strict=True)

    rooms: Annotated[list[str], Field(max_length=MAX_ROOMS)]
    reason: str | None = None
    limit: int | None = None
    use_admin: bool | None = None
    before_ts: int | None = None
    after_ts: int | None = None
    event_types: list[str] | None = None
    dry_run: bool | None = None


class RedactionsApi:
    def __init__(self, gate: Gate, redactions: RedactionsHandler) -> None:
        self._gate = gate
        self._redactions = redactions

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/_synapse/admin/v1/user/{user_id}/redact", self.redact),
            Route("GET", "/_synapse/admin/v1/user/redact_status/{redact_id}", self.status),
        ]

    async def redact(self, request: Request, user_id: str) -> JsonObject:
        """`POST /_synapse/admin/v1/user/{user_id}/redact`"""
        requester = await self._gate.admin(request)
        check_user_id(user_id)
        body = _read(request.json_object())
        if body.limit is not None and body.limit < 0:
            raise MatrixError(400, Errcode.UNKNOWN, "limit must be a non-negative integer")
        params = RedactParams(
            user_id=user_id,
            rooms=tuple(body.rooms),
            reason=body.reason,
            limit=body.limit or None,
            use_admin=bool(body.use_admin),
            before_ts=body.before_ts or None,
            after_ts=body.after_ts or None,
            event_types=None if body.event_types is None else tuple(body.event_types),
            dry_run=bool(body.dry_run),
        )
        return {"redact_id": await self._redactions.start(requester.user_id, params)}

    async def status(self, request: Request, redact_id: str) -> JsonObject:
        """`GET /_synapse/admin/v1/user/redact_status/{redact_id}`"""
        await self._gate.admin(request)
        return await self._redactions.status(redact_id)


def _read(body: JsonObject) -> RedactBody:
    """400 `M_MISSING_PARAM` when `rooms` is all that is wrong, else `M_BAD_JSON`, as Synapse answers."""
    try:
        return RedactBody.model_validate(body)
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_context=False, include_input=False)
        if [mistake["type"] for mistake in mistakes] == ["missing"]:
            raise missing_param(str(mistakes[0]["loc"][0])) from None
        raise bad_json("; ".join(f"{'.'.join(map(str, m['loc']))}: {m['msg']}" for m in mistakes)) from None
