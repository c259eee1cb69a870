"""Tokens with which one may register, for administrators."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import invalid_param
from synapse_lite.handlers.registration_tokens import ALPHABET, MAX_LENGTH, RegistrationTokens
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route

PATH = "/_synapse/admin/v1/registration_tokens"
LENGTH = 16
MAX_USES = 2**31 - 1


class RegistrationTokensApi:
    def __init__(self, tokens: RegistrationTokens) -> None:
        self._tokens = tokens

    def routes(self) -> list[Route]:
        return [
            Route("GET", PATH, self.all, Access.ADMIN),
            Route("POST", f"{PATH}/new", self.create, Access.ADMIN),
            Route("GET", f"{PATH}/{{token}}", self.get, Access.ADMIN),
            Route("PUT", f"{PATH}/{{token}}", self.change, Access.ADMIN),
            Route("DELETE", f"{PATH}/{{token}}", self.delete, Access.ADMIN),
        ]

    async def all(self, request: Request, _requester: Requester) -> JsonObject:
        """`GET /_synapse/admin/v1/registration_tokens`"""
        return {"registration_tokens": await self._tokens.all(valid=request.query_bool("valid", None))}

    async def create(self, request: Request, _requester: Requester) -> JsonObject:
        """`POST /_synapse/admin/v1/registration_tokens/new`"""
        body = request.json_object()
        length = LENGTH if body.get("length") is None else _number(body, "length", MAX_LENGTH)
        if length is None or length < 1:
            raise invalid_param(f"length must be 1 to {MAX_LENGTH}")
        return await self._tokens.create(
            _token(body), length, _number(body, "uses_allowed", MAX_USES), _number(body, "expiry_time")
        )

    async def get(self, _request: Request, _requester: Requester, token: str) -> JsonObject:
        """`GET /_synapse/admin/v1/registration_tokens/{token}`"""
        return await self._tokens.get(token)

    async def change(self, request: Request, _requester: Requester, token: str) -> JsonObject:
        """`PUT /_synapse/admin/v1/registration_tokens/{token}`: what is absent stays, null takes the bound away."""
        body = request.json_object()
        values: dict[str, int | None] = {}
        if "uses_allowed" in body:
            values["uses_allowed"] = _number(body, "uses_allowed", MAX_USES)
        if "expiry_time" in body:
            values["expiry_ts"] = _number(body, "expiry_time")
        return await self._tokens.change(token, values)

    async def delete(self, _request: Request, _requester: Requester, token: str) -> JsonObject:
        """`DELETE /_synapse/admin/v1/registration_tokens/{token}`"""
        await self._tokens.delete(token)
        return {}


def _token(body: JsonObject) -> str | None:
    token = body.get("token")
    if token is None:
        return None
    if not isinstance(token, str) or not 1 <= len(token) <= MAX_LENGTH or not set(token) <= set(ALPHABET):
        raise invalid_param(f"token must have 1 to {MAX_LENGTH} characters of A-Z, a-z, 0-9, '._~-'")
    return token


def _number(body: JsonObject, name: str, most: int | None = None) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0 or (most and value > most):
        bound = "at least 0" if most is None else f"0 to {most}"
        raise invalid_param(f"{name} must be an integer of {bound}, or null")
    return value
