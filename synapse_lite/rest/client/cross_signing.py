"""Cross-signing keys and signatures."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import bad_json, invalid_param, missing_param
from synapse_lite.handlers.cross_signing import CrossSigning
from synapse_lite.handlers.rate_limits import check_user
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.uia import PASSWORD, InteractiveAuth
from synapse_lite.http.access import Access
from synapse_lite.http.ratelimit import RateLimiter
from synapse_lite.http.request import Request
from synapse_lite.http.response import Response
from synapse_lite.http.router import Route, client_routes
from synapse_lite.ids import is_user_id
from synapse_lite.matrix.e2e_keys import check_signatures_of
from synapse_lite.rest.body import MAX_DEVICE_ID, parameter

FIELDS = {
    "master_key": "master",
    "self_signing_key": "self_signing",
    "user_signing_key": "user_signing",
}
MAX_SIGNED = 1000
MAX_BODY = 1024 * 1024


class CrossSigningApi:
    """`uploads` is asked before a body is parsed and its signatures are checked, and before a proof is used up."""

    def __init__(self, cross_signing: CrossSigning, auth: InteractiveAuth, uploads: RateLimiter) -> None:
        self._uploads = uploads
        self._cross_signing = cross_signing
        self._auth = auth

    def routes(self) -> list[Route]:
        return [
            *client_routes("POST", "/keys/device_signing/upload", self.upload, Access.USER),
            *client_routes("POST", "/keys/signatures/upload", self.sign, Access.USER, max_body=MAX_BODY),
        ]

    async def upload(self, request: Request, requester: Requester) -> JsonObject | Response:
        """`POST /_matrix/client/v3/keys/device_signing/upload`"""
        await check_user(self._uploads, requester)
        body = request.json_object()
        keys = {
            usage: key
            for field, usage in FIELDS.items()
            if (key := parameter(body, field, dict, None)) is not None
        }
        if not keys:
            raise missing_param("master_key")
        proven = requester.service is not None
        if await self._cross_signing.upload(requester.user_id, keys, proven=proven):
            return {}
        challenge = await self._auth.check(
            f"replace the cross-signing keys of {requester.user_id}",
            parameter(body, "auth", dict, None),
            [(PASSWORD,)],
            user_id=requester.user_id,
        )
        if challenge is not None:
            return Response(401, challenge.body())
        await self._cross_signing.upload(requester.user_id, keys, proven=True)
        return {}

    async def sign(self, request: Request, requester: Requester) -> JsonObject:
        """`POST /_matrix/client/v3/keys/signatures/upload`"""
        await check_user(self._uploads, requester)
        body = request.json_object()
        if sum(len(objects) for objects in body.values() if isinstance(objects, dict)) > MAX_SIGNED:
            raise invalid_param(f"More than {MAX_SIGNED} keys are signed")
        for user_id, objects in body.items():
            if not is_user_id(user_id) or not isinstance(objects, dict):
                raise bad_json("Signed keys must be given as objects by user ID and key or device ID")
            for target_id, value in objects.items():
                if len(target_id) > MAX_DEVICE_ID or "\0" in target_id:
                    raise invalid_param("Invalid device or key ID")
                check_signatures_of(value)
        failures = await self._cross_signing.sign(requester.user_id, body, request.expect_large_answer)
        return {"failures": failures}
