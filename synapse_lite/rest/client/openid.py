"""OpenID tokens: asking for one, and asking whose it is."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError
from synapse_lite.handlers.openid import OpenId
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route, client_routes


class OpenIdApi:
    def __init__(self, openid: OpenId, server_name: str) -> None:
        self._openid = openid
        self._server_name = server_name

    def routes(self) -> list[Route]:
        return [
            *client_routes("POST", "/user/{user_id}/openid/request_token", self.issue, Access.USER),
            Route("GET", "/_matrix/federation/v1/openid/userinfo", self.user_info, Access.NONE),
        ]

    async def issue(self, request: Request, requester: Requester, user_id: str) -> JsonObject:
        """`POST /_matrix/client/v3/user/{userId}/openid/request_token`"""
        request.json_object(allow_empty=True)
        requester.check_is(user_id, "Cannot request tokens for other users.")
        token = await self._openid.issue(user_id)
        return {
            "access_token": token.text,
            "token_type": "Bearer",
            "matrix_server_name": self._server_name,
            "expires_in": token.expires_in_ms // 1000,
        }

    async def user_info(self, request: Request) -> JsonObject:
        """`GET /_matrix/federation/v1/openid/userinfo`; whoever holds the token may ask."""
        user_id = await self._openid.bearer(request.access_token())
        if user_id is None:
            raise MatrixError(401, Errcode.UNKNOWN_TOKEN, "Access Token unknown or expired")
        return {"sub": user_id}
