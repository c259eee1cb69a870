"""Tokens that log in another device of the same user."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.login_tokens import LoginTokens
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.uia import PASSWORD, InteractiveAuth
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.response import Response
from synapse_lite.http.router import Route, client_routes
from synapse_lite.rest.body import parameter


class LoginTokenApi:
    """No routes unless the configuration allows it."""

    def __init__(self, tokens: LoginTokens, auth: InteractiveAuth) -> None:
        self._tokens = tokens
        self._auth = auth

    def routes(self) -> list[Route]:
        if not self._tokens.are_issued:
            return []
        return client_routes("POST", "/login/get_token", self.issue, Access.USER, versions=("v1",))

    async def issue(self, request: Request, requester: Requester) -> JsonObject | Response:
        """`POST /_matrix/client/v1/login/get_token`"""
        if self._tokens.need_proof:
            challenge = await self._auth.check(
                f"get a login token for {requester.user_id}",
                parameter(request.json_object(allow_empty=True), "auth", dict, None),
                [(PASSWORD,)],
                user_id=requester.user_id,
            )
            if challenge is not None:
                return Response(401, challenge.body())
        token = await self._tokens.issue(requester)
        return {"login_token": token.text, "expires_in_ms": token.expires_in_ms}
