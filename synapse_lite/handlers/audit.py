"""The audit trail of administrators: written around each change, and read by them."""

from collections.abc import Mapping
from typing import Any

import orjson

from synapse_lite.canonical_json import JsonObject, check_depth
from synapse_lite.clock import Clock
from synapse_lite.errors import MatrixError, invalid_param
from synapse_lite.storage import audit
from synapse_lite.storage.audit import AuditEntry, AuditFilter, Change
from synapse_lite.storage.database import Database

__all__ = ["AuditFilter", "AuditLog", "without_secrets"]

MAX_JSON = 4096
"""Bytes of a request or an answer that are kept."""

MAX_NID_DIGITS = 18
SECRETS = frozenset(
    {
        *("password", "new_password", "access_token", "refresh_token", "login_token", "auth"),
        *("mac", "nonce", "client_secret", "secret", "private_key"),
    }
)
HIDDEN = "(hidden)"


class AuditLog:
    """The rows of the admin API's `audit_log`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def begin(
        self, user_id: str, *, ip: str, user_agent: str, method: str, path: str, body: bytes
    ) -> int:
        """Write down what is about to be done; its number. Whatever cannot be written down is not done."""
        change = Change(self._clock.now_ms(), user_id, ip, user_agent, method, path, _shown_body(body))
        return await self._database.transact(audit.record_change, change)

    async def end(self, nid: int, status: int, answer: JsonObject | None) -> None:
        """Write down what came of it."""
        response = None if answer is None else _fit(without_secrets(answer))
        await self._database.transact(audit.finish_change, nid, self._clock.now_ms(), status, response)

    async def find(
        self, wanted: AuditFilter, *, from_token: str | None, limit: int, newest_first: bool
    ) -> JsonObject:
        """A page; 400 `M_INVALID_PARAM` for a token that is not one of ours."""
        if from_token is not None and not (from_token.isdecimal() and len(from_token) <= MAX_NID_DIGITS):
            raise invalid_param("Query parameter from is not a token of this list")
        entries = await self._database.read(
            audit.read_audit_log,
            wanted,
            after_nid=None if from_token is None else int(from_token),
            limit=limit + 1,
            newest_first=newest_first,
        )
        answer: JsonObject = {"entries": [_shown(entry) for entry in entries[:limit]]}
        if len(entries) > limit:
            answer["next_token"] = str(entries[limit - 1].nid)
        return answer


def without_secrets(value: Any) -> Any:
    """The same JSON without what nobody should read, however deep."""
    if isinstance(value, Mapping):
        return {key: HIDDEN if key in SECRETS else without_secrets(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(inner) for inner in value]
    return value


def _shown_body(body: bytes) -> str:
    if len(body) > MAX_JSON:
        return _fit({"bytes": len(body)})
    if not body.strip():
        return "{}"
    try:
        value = orjson.loads(body)
        check_depth(value)
        return _fit(without_secrets(value))
    except (orjson.JSONDecodeError, MatrixError):
        return _fit({"malformed": len(body)})


def _fit(value: Any) -> str:
    text = orjson.dumps(value, default=_of_fragment, option=orjson.OPT_NON_STR_KEYS)
    return text.decode() if len(text) <= MAX_JSON else orjson.dumps({"bytes": len(text)}).decode()


def _of_fragment(value: object) -> str:
    return type(value).__name__


def _shown(entry: AuditEntry) -> JsonObject:
    change = entry.change
    return {
        "id": entry.nid,
        "ts": change.ts,
        "user_id": change.user_id,
        "ip": change.ip,
        "user_agent": change.user_agent,
        "method": change.method,
        "path": change.path,
        "request": orjson.Fragment(change.request),
        "finished_ts": entry.finished_ts,
        "status": entry.status,
        "response": None if entry.response is None else orjson.Fragment(entry.response),
    }
