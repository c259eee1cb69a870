"""Logging in and out."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError
from synapse_lite.handlers.auth import NewSession, Sessions
from synapse_lite.handlers.login import Logins
from synapse_lite.http.request import Request, parameter
from synapse_lite.http.router import Route, client_routes
from synapse_lite.ids import domain_of
from synapse_lite.rest.fields import (
    MAX_DEVICE_ID,
    MAX_DEVICE_NAME,
    MAX_PASSWORD,
    MAX_USERNAME,
    optional_text,
    text,
)
from synapse_lite.rest.gate import Gate

PASSWORD = "m.login.password"  # noqa: S105 (the name of a login type)


class LoginApi:
    """`well_known`, when there is one, tells clients the address of the server."""

    def __init__(
        self,
        gate: Gate,
        logins: Logins,
        sessions: Sessions,
        *,
        passwords_enabled: bool,
        well_known: JsonObject | None,
    ) -> None:
        self._gate = gate
        self._logins = logins
        self._sessions = sessions
        self._types = (PASSWORD,) if passwords_enabled else ()
        self._well_known = well_known

    def routes(self) -> list[Route]:
        return [
            *client_routes("GET", "/login", self.flows),
            *client_routes("POST", "/login", self.log_in),
            *client_routes("POST", "/logout", self.log_out),
            *client_routes("POST", "/logout/all", self.log_out_everywhere),
        ]

    async def flows(self, _request: Request) -> JsonObject:
        """`GET /_matrix/client/v3/login`"""
        return {"flows": [{"type": login_type} for login_type in self._types]}

    async def log_in(self, request: Request) -> JsonObject:
        """`POST /_matrix/client/v3/login`"""
        body = request.json_object()
        login_type = parameter(body, "type", str)
        if login_type not in self._types:
            raise MatrixError(400, Errcode.UNKNOWN, f"Unknown login type {login_type[:80]}")
        login = await self._logins.log_in(
            _named_user(body),
            text(body, "password", MAX_PASSWORD),
            device_id=optional_text(body, "device_id", MAX_DEVICE_ID),
            display_name=optional_text(body, "initial_device_display_name", MAX_DEVICE_NAME),
            client_ip=request.client_ip,
        )
        request.requester_name = login.user_id
        answer = session_answer(login.user_id, login.session)
        return {**answer, "well_known": self._well_known} if self._well_known else answer

    async def log_out(self, request: Request) -> JsonObject:
        """`POST /_matrix/client/v3/logout`"""
        await self._gate.requester(request, allow_guest=True, allow_locked=True)
        await self._sessions.close(request.access_token())
        return {}

    async def log_out_everywhere(self, request: Request) -> JsonObject:
        """`POST /_matrix/client/v3/logout/all`"""
        requester = await self._gate.requester(request, allow_guest=True, allow_locked=True)
        await self._sessions.close_all(requester.user_id)
        return {}


def session_answer(user_id: str, session: NewSession) -> JsonObject:
    """What clients learn of a new session."""
    answer: JsonObject = {
        "user_id": user_id,
        "home_server": domain_of(user_id),
        "access_token": session.token,
        "device_id": session.device_id,
    }
    if session.expires_in_ms is not None:
        answer["expires_in_ms"] = session.expires_in_ms
    return answer


def _named_user(body: JsonObject) -> str:
    """From `identifier`, or from the old field `user`."""
    identifier = parameter(body, "identifier", dict, None)
    if identifier is None:
        return text(body, "user", MAX_USERNAME)
    if parameter(identifier, "type", str) != "m.id.user":
        raise MatrixError(400, Errcode.UNKNOWN, "Unknown login identifier type")
    return text(identifier, "user", MAX_USERNAME)
