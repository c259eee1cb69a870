"""Public keys of devices: upload, query, claim, changes."""

from collections.abc import Iterable

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, bad_json, invalid_param
from synapse_lite.handlers.device_keys import DeviceKeys, Upload, counts_answer
from synapse_lite.handlers.device_lists import DeviceLists
from synapse_lite.handlers.rate_limits import check_user
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.tokens import read_token
from synapse_lite.http.access import Access
from synapse_lite.http.ratelimit import RateLimiter
from synapse_lite.http.request import REQUIRED, Request
from synapse_lite.http.router import Route, client_routes
from synapse_lite.ids import is_user_id
from synapse_lite.matrix.e2e_keys import check_device_keys, read_uploaded_keys
from synapse_lite.rest.body import MAX_DEVICE_ID, parameter

MAX_USERS = 10_000
MAX_CLAIMS = 10_000
MAX_ALGORITHM = 255
MAX_BODY = 4 * 1024 * 1024
DEFAULT_TIMEOUT_MS = 10_000  # for other servers
OLD_FALLBACK_KEYS = "org.matrix.msc2732.fallback_keys"


class DeviceKeysApi:
    """`uploads` is asked before a body is parsed and its signatures are checked."""

    def __init__(self, keys: DeviceKeys, lists: DeviceLists, uploads: RateLimiter) -> None:
        self._uploads = uploads
        self._keys = keys
        self._lists = lists

    def routes(self) -> list[Route]:
        return [
            *client_routes("POST", "/keys/upload", self.upload, Access.GUEST, max_body=MAX_BODY),
            *client_routes("POST", "/keys/upload/{device_id}", self.upload, Access.GUEST, max_body=MAX_BODY),
            *client_routes("POST", "/keys/query", self.query, Access.GUEST, max_body=MAX_BODY),
            *client_routes("POST", "/keys/claim", self.claim, Access.GUEST, max_body=MAX_BODY),
            *client_routes("GET", "/keys/changes", self.changes, Access.GUEST),
        ]

    async def upload(
        self, request: Request, requester: Requester, device_id: str | None = None
    ) -> JsonObject:
        """`POST /_matrix/client/v3/keys/upload`"""
        if requester.device_id is None:
            raise MatrixError(
                400, Errcode.UNKNOWN, "To upload keys, the access token must be that of a device"
            )
        if device_id is not None and device_id != requester.device_id:
            raise invalid_param("Keys can be uploaded for one's own device only")
        await check_user(self._uploads, requester)
        upload = read_upload(request.json_object(), requester.user_id, requester.device_id)
        counts = await self._keys.upload(requester.user_id, requester.device_id, upload)
        return {"one_time_key_counts": counts_answer(counts)}

    async def query(self, request: Request, requester: Requester) -> JsonObject:
        """`POST /_matrix/client/v3/keys/query`"""
        body = request.json_object()
        seconds = parameter(body, "timeout", int, DEFAULT_TIMEOUT_MS) / 1000
        wanted = read_wanted_devices(body)
        return await self._keys.query(
            requester.user_id, wanted, request.expect_large_answer, max(seconds, 0.0)
        )

    async def claim(self, request: Request, _requester: Requester) -> JsonObject:
        """`POST /_matrix/client/v3/keys/claim`"""
        body = request.json_object()
        seconds = parameter(body, "timeout", int, DEFAULT_TIMEOUT_MS) / 1000
        return await self._keys.claim(read_claims(body), max(seconds, 0.0))

    async def changes(self, request: Request, requester: Requester) -> JsonObject:
        """`GET /_matrix/client/v3/keys/changes`"""
        since, upto = (read_token(request.query(name, REQUIRED)) for name in ("from", "to"))
        return await self._lists.between(requester.user_id, since.whole, upto.whole)


def read_wanted_devices(body: JsonObject) -> dict[str, list[str]]:
    """Device ids by user, none for all of them: what `/keys/query` asks for."""
    wanted: dict[str, list[str]] = parameter(body, "device_keys", dict)
    if len(wanted) > MAX_USERS:
        raise invalid_param(f"More than {MAX_USERS} users are asked for")
    _check_user_ids(wanted)
    for value in wanted.values():
        if value != []:
            _check_device_ids(value)
    return wanted


def read_claims(body: JsonObject) -> dict[str, dict[str, str]]:
    """Algorithms by user and device: what `/keys/claim` asks for."""
    wanted: dict[str, dict[str, str]] = parameter(body, "one_time_keys", dict)
    too_many = invalid_param(f"More than {MAX_CLAIMS} keys are asked for")
    if len(wanted) > MAX_CLAIMS:
        raise too_many
    _check_user_ids(wanted)
    for value in wanted.values():
        _check_algorithms(value)
    if sum(map(len, wanted.values())) > MAX_CLAIMS:
        raise too_many
    return wanted


def read_upload(body: JsonObject, user_id: str, device_id: str) -> Upload:
    device_keys = parameter(body, "device_keys", dict, None)
    if device_keys is not None:
        check_device_keys(device_keys, user_id, device_id)
    field = "fallback_keys" if "fallback_keys" in body else OLD_FALLBACK_KEYS
    one_time, fallback = parameter(body, "one_time_keys", dict, None), parameter(body, field, dict, None)
    return Upload(
        device_keys,
        read_uploaded_keys(one_time or {}, "one_time_keys"),
        read_uploaded_keys(fallback or {}, "fallback_keys"),
    )


def _check_user_ids(texts: Iterable[str]) -> None:
    for text in texts:
        if not is_user_id(text):
            raise invalid_param(f"Invalid user ID: {text[:80]!r}")


def _check_device_ids(value: object) -> None:
    if not isinstance(value, list):
        raise bad_json("Device IDs must be given as a list of strings")
    for one in value:
        if not isinstance(one, str) or not _is_device_id(one):
            raise bad_json("Device IDs must be given as a list of strings")


def _check_algorithms(value: object) -> None:
    """The algorithm by device."""
    if not isinstance(value, dict):
        raise bad_json("The devices of a user must be given as an object")
    for device_id, algorithm in value.items():
        if not isinstance(algorithm, str) or len(algorithm) > MAX_ALGORITHM or "\0" in algorithm:
            raise bad_json("The algorithm of a device must be a string")
        if not _is_device_id(device_id):
            raise invalid_param("Invalid device ID")


def _is_device_id(text: str) -> bool:
    return len(text) <= MAX_DEVICE_ID and "\0" not in text
