"""Registration by shared secret."""

from typing import Any

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, bad_json
from synapse_lite.handlers.access_tokens import AccessTokens
from synapse_lite.handlers.audit import AuditLog
from synapse_lite.handlers.registration import SharedSecretRegistration, SignedRegistration
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import CREDENTIALS_BODY, Route
from synapse_lite.ids import domain_of
from synapse_lite.matrix.content_checks import MAX_DISPLAYNAME
from synapse_lite.rest.admin.audited import write_down
from synapse_lite.rest.body import (
    MAX_PASSWORD,
    MAX_USERNAME,
    optional_text,
    parameter,
)
from synapse_lite.rest.client.login import read_device_request, session_answer

MAX_MAC = 512
MAX_NONCE = 512
MAX_USER_TYPE = 255


WHO = "registration_shared_secret"
"""In the audit trail: who knows it is all that is known of who asks."""


class SharedSecretRegisterApi:
    def __init__(
        self, registration: SharedSecretRegistration, access_tokens: AccessTokens, log: AuditLog
    ) -> None:
        self._registration = registration
        self._access_tokens = access_tokens
        self._log = log

    def routes(self) -> list[Route]:
        path = "/_synapse/admin/v1/register"
        return [
            Route("GET", path, self.nonce, Access.NONE),
            Route("POST", path, self.register, Access.NONE, max_body=CREDENTIALS_BODY),
        ]

    async def nonce(self, _request: Request) -> JsonObject:
        """`GET /_synapse/admin/v1/register`"""
        return {"nonce": self._registration.new_nonce()}

    async def register(self, request: Request) -> JsonObject:
        """`POST /_synapse/admin/v1/register`"""
        self._registration.check_enabled()
        body = request.json_object()
        inhibit_login = parameter(body, "inhibit_login", bool, False)
        device = read_device_request(body)
        signed = _read_signed(body)
        self._registration.check(signed)

        async def register() -> JsonObject:
            user_id = await self._registration.register(signed)
            request.requester_name = user_id
            if inhibit_login:
                return {"user_id": user_id, "home_server": domain_of(user_id)}
            return session_answer(user_id, await self._access_tokens.open(user_id, device))

        return await write_down(self._log, request, WHO, register)


def _read_signed(body: JsonObject) -> SignedRegistration:
    return SignedRegistration(
        nonce=_signed_text(body, "nonce", MAX_NONCE),
        username=_signed_text(body, "username", MAX_USERNAME),
        password=_signed_text(body, "password", MAX_PASSWORD),
        is_admin=parameter(body, "admin", (bool, type(None)), False) or False,
        user_type=optional_text(body, "user_type", MAX_USER_TYPE),
        displayname=optional_text(body, "displayname", MAX_DISPLAYNAME),
        mac=_signed_text(body, "mac", MAX_MAC),
    )


def _signed_text(body: JsonObject, name: str, longest: int) -> str:
    """Raises in Synapse's words: 400 `M_BAD_JSON` when it is missing, 400 `M_UNKNOWN` for what it holds."""
    value: Any = body.get(name)
    if name not in body:
        raise bad_json(f"{name} must be specified")
    if not isinstance(value, str) or not 1 <= len(value) <= longest or "\0" in value:
        raise MatrixError(400, Errcode.UNKNOWN, f"Invalid {name}")
    return value
