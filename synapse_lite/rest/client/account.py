"""One's own account."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import forbidden, missing_param
from synapse_lite.handlers.deactivation import Deactivation
from synapse_lite.handlers.login import PasswordChanges
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.uia import PASSWORD, InteractiveAuth
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.response import Response
from synapse_lite.http.router import Route, client_routes
from synapse_lite.rest.body import MAX_PASSWORD, optional_text, parameter

DEACTIVATE = "POST /_matrix/client/v3/account/deactivate"


class AccountApi:
    def __init__(
        self,
        auth: InteractiveAuth,
        password_changes: PasswordChanges,
        deactivation: Deactivation,
        *,
        passwords_enabled: bool,
    ) -> None:
        self._auth = auth
        self._password_changes = password_changes
        self._deactivation = deactivation
        self._passwords_enabled = passwords_enabled

    def routes(self) -> list[Route]:
        return [
            *client_routes("GET", "/account/whoami", self.whoami, Access.GUEST),
            *client_routes("POST", "/account/password", self.change_password, Access.USER),
            *client_routes("POST", "/account/deactivate", self.deactivate, Access.USER),
        ]

    async def whoami(self, _request: Request, requester: Requester) -> JsonObject:
        """`GET /_matrix/client/v3/account/whoami`"""
        device = {} if requester.device_id is None else {"device_id": requester.device_id}
        return {"user_id": requester.user_id, "is_guest": requester.is_guest, **device}

    async def change_password(self, request: Request, requester: Requester) -> JsonObject | Response:
        """`POST /_matrix/client/v3/account/password`"""
        if not self._passwords_enabled:
            raise forbidden("Password change is disabled")
        body = request.json_object()
        password = optional_text(body, "new_password", MAX_PASSWORD)
        log_out_others = parameter(body, "logout_devices", bool, True)
        if password is not None:
            self._password_changes.check_new(password)
        challenge = await self._auth.check(
            f"change the password of {requester.user_id}",
            parameter(body, "auth", dict, None),
            [(PASSWORD,)],
            user_id=requester.user_id,
            lacks="new_password" if password is None else None,
        )
        if challenge is not None:
            return Response(401, challenge.body())
        if password is None:
            raise missing_param("new_password")
        await self._password_changes.change(requester, password, log_out_others=log_out_others)
        return {}

    async def deactivate(self, request: Request, requester: Requester) -> JsonObject | Response:
        """`POST /_matrix/client/v3/account/deactivate`"""
        body = request.json_object(allow_empty=True)
        erase = parameter(body, "erase", bool, False)
        if requester.service is None:  # whose users have no passwords
            challenge = await self._auth.check(
                f"deactivate {requester.user_id}",
                parameter(body, "auth", dict, None),
                [(PASSWORD,)],
                user_id=requester.user_id,
            )
            if challenge is not None:
                return Response(401, challenge.body())
        await self._deactivation.deactivate(
            requester.user_id, erase=erase, requester=requester.user_id, endpoint=DEACTIVATE
        )
        return {"id_server_unbind_result": "success"}
