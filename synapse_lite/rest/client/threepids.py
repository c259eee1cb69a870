"""Addresses of one's account."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, forbidden, invalid_param
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.threepids import Threepids
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import CREDENTIALS_BODY, Route, client_routes
from synapse_lite.rest.body import text

MEDIA = ("email", "msisdn")
MAX_ADDRESS = 500
NO_CHANGES = "Addresses are added by the administrators of this server"


class ThreepidsApi:
    def __init__(self, threepids: Threepids, *, may_delete: bool) -> None:
        self._threepids = threepids
        self._may_delete = may_delete

    def routes(self) -> list[Route]:
        return [
            *client_routes("GET", "/account/3pid", self.all, Access.USER),
            *client_routes("POST", "/account/3pid/delete", self.delete, Access.USER),
            *client_routes("POST", "/account/3pid", self.add, Access.USER),
            *client_routes("POST", "/account/3pid/add", self.add, Access.USER),
            *client_routes("POST", "/account/3pid/bind", self.bind, Access.USER),
            *client_routes("POST", "/account/3pid/unbind", self.unbind, Access.USER),
            *(route for medium in MEDIA for route in self._unsent(medium)),
        ]

    def _unsent(self, medium: str) -> list[Route]:
        """What would send a message to an address, to prove whose it is: this server sends none."""
        refusals = {
            f"/account/3pid/{medium}/requestToken": self.no_changes,
            f"/account/password/{medium}/requestToken": self.no_password,
            f"/register/{medium}/requestToken": self.no_registration,
        }
        return [
            route
            for path, refuse in refusals.items()
            for route in client_routes("POST", path, refuse, Access.NONE, max_body=CREDENTIALS_BODY)
        ]

    async def all(self, _request: Request, requester: Requester) -> JsonObject:
        """`GET /_matrix/client/v3/account/3pid`"""
        return {"threepids": await self._threepids.all(requester.user_id)}

    async def delete(self, request: Request, requester: Requester) -> JsonObject:
        """`POST /_matrix/client/v3/account/3pid/delete`"""
        if not self._may_delete:
            raise forbidden("3PID changes are disabled on this server")
        body = request.json_object()
        medium, address = text(body, "medium", MAX_ADDRESS), text(body, "address", MAX_ADDRESS)
        if medium not in MEDIA:
            raise invalid_param(f"'medium' must be one of {', '.join(MEDIA)}")
        await self._threepids.delete(requester.user_id, medium, address)
        return {"id_server_unbind_result": "no-support"}

    async def add(self, _request: Request, _requester: Requester) -> JsonObject:
        """`POST /_matrix/client/v3/account/3pid`, `/account/3pid/add`: nobody could prove that an address is theirs"""
        raise forbidden(NO_CHANGES)

    async def bind(self, _request: Request, _requester: Requester) -> JsonObject:
        """`POST /_matrix/client/v3/account/3pid/bind`"""
        raise MatrixError(403, Errcode.SERVER_NOT_TRUSTED, "No identity server is asked by this server")

    async def unbind(self, request: Request, _requester: Requester) -> JsonObject:
        """`POST /_matrix/client/v3/account/3pid/unbind`"""
        body = request.json_object()
        if text(body, "medium", MAX_ADDRESS) not in MEDIA:
            raise invalid_param(f"'medium' must be one of {', '.join(MEDIA)}")
        text(body, "address", MAX_ADDRESS)
        return {"id_server_unbind_result": "no-support"}

    async def no_changes(self, _request: Request) -> JsonObject:
        """`POST /_matrix/client/v3/account/3pid/email/requestToken`, `.../msisdn/...`"""
        raise MatrixError(400, Errcode.THREEPID_MEDIUM_NOT_SUPPORTED, NO_CHANGES)

    async def no_password(self, _request: Request) -> JsonObject:
        """`POST /_matrix/client/v3/account/password/email/requestToken`, `.../msisdn/...`"""
        raise MatrixError(
            400,
            Errcode.UNKNOWN,
            "Passwords cannot be reset by e-mail or phone on this server: ask its administrators",
        )

    async def no_registration(self, _request: Request) -> JsonObject:
        """`POST /_matrix/client/v3/register/email/requestToken`, `.../msisdn/...`"""
        raise MatrixError(400, Errcode.UNKNOWN, "Nobody registers by e-mail or phone on this server")
