"""Registration."""

from attrs import evolve

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, invalid_param, missing_param
from synapse_lite.handlers.access_tokens import AccessTokens, DeviceRequest
from synapse_lite.handlers.app_services.accounts import ServiceAccounts
from synapse_lite.handlers.login import Logins
from synapse_lite.handlers.registration import Registration
from synapse_lite.handlers.uia import Challenge, InteractiveAuth
from synapse_lite.http.access import Access
from synapse_lite.http.ratelimit import RateLimiter, network_of
from synapse_lite.http.request import REQUIRED, Request
from synapse_lite.http.response import Response
from synapse_lite.http.router import CREDENTIALS_BODY, Route, client_routes
from synapse_lite.ids import domain_of
from synapse_lite.rest.body import MAX_PASSWORD, optional_text, parameter
from synapse_lite.rest.client.login import APP_SERVICE, read_device_request, session_answer

QUESTION = 0.5
"""Of an account: each takes a request that asks what must be proved, before the one that proves it."""
REGISTER = "register"  # what is proved for

VALIDITY = "/register/m.login.registration_token/validity"


class RegisterApi:
    """`limiter`: `rc_registration`, per address, for accounts and twice as much for questions.

    `token_limiter`: questions whether a registration token is good.
    """

    def __init__(
        self,
        registration: Registration,
        service_accounts: ServiceAccounts,
        access_tokens: AccessTokens,
        logins: Logins,
        auth: InteractiveAuth,
        limiter: RateLimiter,
        token_limiter: RateLimiter,
    ) -> None:
        self._registration = registration
        self._service_accounts = service_accounts
        self._access_tokens = access_tokens
        self._logins = logins
        self._auth = auth
        self._limiter = limiter
        self._token_limiter = token_limiter

    def routes(self) -> list[Route]:
        return [
            *client_routes("POST", "/register", self.register, Access.NONE, max_body=CREDENTIALS_BODY),
            *client_routes("GET", "/register/available", self.available, Access.NONE),
            *client_routes("GET", VALIDITY, self.token_validity, Access.NONE, versions=("v1",)),
        ]

    async def register(self, request: Request) -> JsonObject | Response:
        """`POST /_matrix/client/v3/register`"""
        body = request.json_object()
        device = read_device_request(body)
        if body.get("type") == APP_SERVICE:
            service = self._service_accounts.service_of(request.access_token())
            made = await self._service_accounts.register(service, parameter(body, "username", str))
            return await self._made(made, body, device)
        kind = request.query("kind", "user")
        if kind == "guest":
            await self._limiter.check(network_of(request.client_ip))
            guest = await self._registration.register_guest()
            return session_answer(
                guest, await self._access_tokens.open(guest, evolve(device, device_id=None))
            )
        if kind != "user":
            raise invalid_param("Query parameter 'kind' must be 'user' or 'guest'")
        user_id = await self._register_user(request, body)
        if isinstance(user_id, Challenge):
            return Response(401, user_id.body())
        return await self._made(user_id, body, device)

    async def available(self, request: Request) -> JsonObject:
        """`GET /_matrix/client/v3/register/available`"""
        self._registration.check_open()
        username = request.query("username", REQUIRED)
        await self._limiter.check(("question", network_of(request.client_ip)), QUESTION)
        if username != username.lower():
            raise MatrixError(400, Errcode.INVALID_USERNAME, "User ID can only contain lower-case letters")
        await self._registration.check_username(username)
        return {"available": True}

    async def token_validity(self, request: Request) -> JsonObject:
        """`GET /_matrix/client/v1/register/m.login.registration_token/validity`"""
        self._registration.check_open()
        await self._token_limiter.check(network_of(request.client_ip))
        token = request.query("token", REQUIRED)
        return {"valid": await self._registration.is_token_valid(token)}

    async def _made(self, user_id: str, body: JsonObject, device: DeviceRequest) -> JsonObject:
        if parameter(body, "inhibit_login", bool, False):
            return {"user_id": user_id, "home_server": domain_of(user_id)}
        return session_answer(user_id, await self._access_tokens.open(user_id, device))

    async def _register_user(self, request: Request, body: JsonObject) -> str | Challenge:
        """Once for each session, however often it is asked for."""
        self._registration.check_open()
        username = parameter(body, "username", str, None)  # names are checked as a whole
        password = optional_text(body, "password", MAX_PASSWORD)
        auth = parameter(body, "auth", dict, None)
        parameter(body, "inhibit_login", bool, False)
        network = network_of(request.client_ip)
        await self._limiter.check(("question", network), QUESTION)
        made = await self._auth.registered(REGISTER, auth)
        if made is None:
            try:
                return await self._register_new(network, username, password, auth)
            except MatrixError:  # another request of the session may have been faster
                made = await self._auth.registered(REGISTER, auth)
                if made is None:
                    raise
        return await self._register_again(made, username, password)

    async def _register_new(
        self, network: str, username: str | None, password: str | None, auth: JsonObject | None
    ) -> str | Challenge:
        """What can be refused is refused before the client is asked for proofs, as the specification says."""
        if username is not None:
            await self._registration.check_username(username)
        if password is not None:
            self._registration.check_password(password)
        lacks = "password" if password is None else None
        proof = await self._auth.prove(REGISTER, auth, [self._registration.stages], lacks=lacks)
        if isinstance(proof, Challenge):
            return proof
        if password is None:
            raise missing_param("password")
        await self._limiter.check(network)
        user_id = await self._registration.register(username, password, proof)
        self._limiter.refund(("question", network), QUESTION)
        return user_id

    async def _register_again(self, user_id: str, username: str | None, password: str | None) -> str:
        """Whose answer was lost asks again. The session may stand in logs, as it is in the addresses of pages: it proves nobody."""
        self._registration.check_repeated(user_id, username)
        if password is None:
            raise missing_param("password")
        await self._logins.check_password(user_id, password)
        await self._registration.announce(user_id)  # if the process ended before it did
        return user_id
