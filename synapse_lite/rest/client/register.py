"""Registration."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import invalid_param, missing_param
from synapse_lite.handlers.auth import Sessions
from synapse_lite.handlers.registration import Registration
from synapse_lite.handlers.uia import DUMMY, Challenge, InteractiveAuth
from synapse_lite.http.ratelimit import RateLimiter
from synapse_lite.http.request import Request, parameter
from synapse_lite.http.response import Response
from synapse_lite.http.router import Route, client_routes
from synapse_lite.ids import domain_of
from synapse_lite.rest.client.login import session_answer
from synapse_lite.rest.fields import (
    MAX_DEVICE_ID,
    MAX_DEVICE_NAME,
    MAX_PASSWORD,
    MAX_USERNAME,
    optional_text,
)


class RegisterApi:
    """`limiter`: `rc_registration`, per address, for accounts and as much again for questions."""

    def __init__(
        self, registration: Registration, sessions: Sessions, auth: InteractiveAuth, limiter: RateLimiter
    ) -> None:
        self._registration = registration
        self._sessions = sessions
        self._auth = auth
        self._limiter = limiter

    def routes(self) -> list[Route]:
        return [
            *client_routes("POST", "/register", self.register),
            *client_routes("GET", "/register/available", self.available),
        ]

    async def register(self, request: Request) -> JsonObject | Response:
        """`POST /_matrix/client/v3/register`"""
        body = request.json_object()
        display_name = optional_text(body, "initial_device_display_name", MAX_DEVICE_NAME)
        kind = request.query("kind", "user")
        if kind == "guest":
            self._limiter.check(request.client_ip)
            guest = await self._registration.register_guest()
            return session_answer(guest, await self._sessions.open(guest, display_name=display_name))
        if kind != "user":
            raise invalid_param("Query parameter 'kind' must be 'user' or 'guest'")
        user_id = await self._register_user(request, body)
        if isinstance(user_id, Challenge):
            return Response(401, user_id.body())
        if parameter(body, "inhibit_login", bool, False):
            return {"user_id": user_id, "home_server": domain_of(user_id)}
        session = await self._sessions.open(
            user_id,
            device_id=optional_text(body, "device_id", MAX_DEVICE_ID),
            display_name=display_name,
        )
        return session_answer(user_id, session)

    async def available(self, request: Request) -> JsonObject:
        """`GET /_matrix/client/v3/register/available`"""
        self._registration.check_open()
        username = request.query("username")
        if username is None:
            raise missing_param("username")
        self._limiter.check(("question", request.client_ip))
        await self._registration.check_username(username)
        return {"available": True}

    async def _register_user(self, request: Request, body: JsonObject) -> str | Challenge:
        """What can be refused is refused before the client is asked for proofs, as the specification says."""
        self._registration.check_open()
        username = optional_text(body, "username", MAX_USERNAME)
        password = optional_text(body, "password", MAX_PASSWORD)
        auth = parameter(body, "auth", dict, None)
        optional_text(body, "device_id", MAX_DEVICE_ID)
        parameter(body, "inhibit_login", bool, False)
        if auth is None:
            self._limiter.check(("question", request.client_ip))
        if username is not None:
            await self._registration.check_username(username)
        if password is not None:
            self._registration.check_password(password)
        challenge = await self._auth.check("register", auth, [(DUMMY,)])
        if challenge is not None:
            return challenge
        if password is None:
            raise missing_param("password")
        self._limiter.check(request.client_ip)
        return await self._registration.register(username, password)
