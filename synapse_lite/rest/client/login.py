"""Logging in and out."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, invalid_param
from synapse_lite.handlers.access_tokens import AccessTokens, DeviceRequest, NewSession
from synapse_lite.handlers.app_services.accounts import ServiceAccounts
from synapse_lite.handlers.login import Logins, named_user
from synapse_lite.handlers.login_tokens import LoginTokens
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import CREDENTIALS_BODY, Route, client_routes
from synapse_lite.ids import domain_of
from synapse_lite.rest.body import (
    MAX_DEVICE_ID,
    MAX_DEVICE_NAME,
    MAX_PASSWORD,
    optional_text,
    parameter,
    text,
)

PASSWORD = "m.login.password"  # noqa: S105 (the name of a login type)
APP_SERVICE = "m.login.application_service"
TOKEN = "m.login.token"  # noqa: S105 (the name of a login type)
MAX_TOKEN = 255
MAX_NAME = 500  # of a user, whatever kind of name it is


class LoginApi:
    """`well_known`, when there is one, tells clients the address of the server."""

    def __init__(
        self,
        logins: Logins,
        service_accounts: ServiceAccounts,
        login_tokens: LoginTokens,
        access_tokens: AccessTokens,
        *,
        passwords_enabled: bool,
        well_known: JsonObject | None,
    ) -> None:
        self._logins = logins
        self._service_accounts = service_accounts
        self._access_tokens = access_tokens
        self._by_password = passwords_enabled
        self._by_token = login_tokens.are_issued
        self._well_known = well_known

    def routes(self) -> list[Route]:
        return [
            *client_routes("GET", "/login", self.flows, Access.NONE),
            *client_routes("POST", "/login", self.log_in, Access.NONE, max_body=CREDENTIALS_BODY),
            *client_routes("POST", "/refresh", self.refresh, Access.NONE, max_body=CREDENTIALS_BODY),
            *client_routes("POST", "/logout", self.log_out, Access.LOCKED),
            *client_routes("POST", "/logout/all", self.log_out_everywhere, Access.LOCKED),
        ]

    async def flows(self, _request: Request) -> JsonObject:
        """`GET /_matrix/client/v3/login`"""
        by_password = [{"type": PASSWORD}] if self._by_password else []
        by_token = [{"type": TOKEN, "get_login_token": True}] if self._by_token else []
        by_service = [{"type": APP_SERVICE}] if self._service_accounts.has_services else []
        return {"flows": [*by_password, *by_token, *by_service]}

    async def log_in(self, request: Request) -> JsonObject:
        """`POST /_matrix/client/v3/login`"""
        body = request.json_object()
        login_type, device = parameter(body, "type", str), read_device_request(body)
        if login_type == PASSWORD and self._by_password:
            password = text(body, "password", MAX_PASSWORD)
            login = await self._logins.log_in(
                named_user(body, _name), password, device, client_ip=request.client_ip
            )
        elif login_type == TOKEN and self._by_token:
            token = text(body, "token", MAX_TOKEN)
            login = await self._logins.log_in_by_token(token, device, client_ip=request.client_ip)
        elif login_type == APP_SERVICE:
            service = self._service_accounts.service_of(request.access_token())
            user = named_user(body, _name)
            if not isinstance(user, str):
                raise invalid_param("An application service names users by their ids")
            login = await self._service_accounts.log_in(service, user, device)
        else:
            raise MatrixError(400, Errcode.UNKNOWN, f"Unknown login type {login_type[:80]}")
        request.requester_name = login.user_id
        answer = session_answer(login.user_id, login.session)
        return {**answer, "well_known": self._well_known} if self._well_known else answer

    async def refresh(self, request: Request) -> JsonObject:
        """`POST /_matrix/client/v3/refresh`"""
        session = await self._access_tokens.refresh(text(request.json_object(), "refresh_token", MAX_TOKEN))
        return token_answer(session)

    async def log_out(self, request: Request, requester: Requester) -> JsonObject:
        """`POST /_matrix/client/v3/logout`"""
        if requester.service is None:
            await self._access_tokens.close(request.access_token())
        else:
            await self._access_tokens.close_spoken_for(requester)
        return {}

    async def log_out_everywhere(self, _request: Request, requester: Requester) -> JsonObject:
        """`POST /_matrix/client/v3/logout/all`"""
        await self._access_tokens.close_all(requester.user_id)
        return {}


def session_answer(user_id: str, session: NewSession) -> JsonObject:
    """What clients learn of a new session."""
    return {
        "user_id": user_id,
        "home_server": domain_of(user_id),
        "device_id": session.device_id,
        **token_answer(session),
    }


def token_answer(session: NewSession) -> JsonObject:
    answer: JsonObject = {"access_token": session.token}
    if session.refresh_token is not None:
        answer["refresh_token"] = session.refresh_token
    if session.expires_in_ms is not None:
        answer["expires_in_ms"] = session.expires_in_ms
    return answer


def read_device_request(body: JsonObject) -> DeviceRequest:
    """What a log-in or a registration says of the device."""
    return DeviceRequest(
        optional_text(body, "device_id", MAX_DEVICE_ID),
        optional_text(body, "initial_device_display_name", MAX_DEVICE_NAME),
        parameter(body, "refresh_token", bool, False),
    )


def _name(body: JsonObject, name: str) -> str:
    return text(body, name, MAX_NAME)
