"""Until when accounts are valid."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, invalid_param
from synapse_lite.handlers.account_validity import AccountValidity
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route
from synapse_lite.ids import MAX_ID_BYTES
from synapse_lite.rest.admin.times import YEAR_1971_MS
from synapse_lite.rest.body import parameter, text

MAX_TS = 2**53


class AccountValidityApi:
    def __init__(self, validity: AccountValidity) -> None:
        self._validity = validity

    def routes(self) -> list[Route]:
        return [Route("POST", "/_synapse/admin/v1/account_validity/validity", self.renew, Access.ADMIN)]

    async def renew(self, request: Request, _requester: Requester) -> JsonObject:
        """`POST /_synapse/admin/v1/account_validity/validity`: no e-mails are sent, whatever `enable_renewal_emails` says."""
        body = request.json_object()
        if "user_id" not in body:
            raise MatrixError(400, Errcode.UNKNOWN, "Missing property 'user_id' in the request body")
        parameter(body, "enable_renewal_emails", bool, None)
        until_ms = parameter(body, "expiration_ts", int, None)
        if until_ms is not None and not YEAR_1971_MS <= until_ms <= MAX_TS:
            raise invalid_param(f"'expiration_ts' must be milliseconds since 1970: {until_ms} is not")
        user_id = text(body, "user_id", MAX_ID_BYTES)
        return {"expiration_ts": await self._validity.renew(user_id, until_ms)}
