"""One's own account."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import forbidden, missing_param
from synapse_lite.handlers.login import PasswordChanges
from synapse_lite.handlers.uia import PASSWORD, InteractiveAuth
from synapse_lite.http.request import Request, parameter
from synapse_lite.http.response import Response
from synapse_lite.http.router import Route, client_routes
from synapse_lite.rest.fields import MAX_PASSWORD, optional_text
from synapse_lite.rest.gate import Gate


class AccountApi:
    def __init__(
        self, gate: Gate, auth: InteractiveAuth, password_changes: PasswordChanges, *, passwords_enabled: bool
    ) -> None:
        self._gate = gate
        self._auth = auth
        self._password_changes = password_changes
        self._passwords_enabled = passwords_enabled

    def routes(self) -> list[Route]:
        return [
            *client_routes("GET", "/account/whoami", self.whoami),
            *client_routes("POST", "/account/password", self.change_password),
        ]

    async def whoami(self, request: Request) -> JsonObject:
        """`GET /_matrix/client/v3/account/whoami`"""
        requester = await self._gate.requester(request, allow_guest=True)
        device = {} if requester.device_id is None else {"device_id": requester.device_id}
        return {"user_id": requester.user_id, "is_guest": requester.is_guest, **device}

    async def change_password(self, request: Request) -> JsonObject | Response:
        """`POST /_matrix/client/v3/account/password`"""
        requester = await self._gate.requester(request)
        if not self._passwords_enabled:
            raise forbidden("Password change is disabled")
        body = request.json_object()
        password = optional_text(body, "new_password", MAX_PASSWORD)
        log_out_others = parameter(body, "logout_devices", bool, True)
        challenge = await self._auth.check(
            f"change the password of {requester.user_id}",
            parameter(body, "auth", dict, None),
            [(PASSWORD,)],
            user_id=requester.user_id,
        )
        if challenge is not None:
            return Response(401, challenge.body())
        if password is None:
            raise missing_param("new_password")
        await self._password_changes.change(requester, password, log_out_others=log_out_others)
        return {}
