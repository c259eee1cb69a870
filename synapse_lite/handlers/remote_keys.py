"""Public keys of other servers' users (server-server API, "End-to-End Encryption")."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import orjson
from attrs import define, field, frozen
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite import canonical_json
from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import MatrixError
from synapse_lite.federation.peers import PeerError, Peers
from synapse_lite.handlers import public_keys
from synapse_lite.handlers.public_keys import ExpectLarge
from synapse_lite.ids import domain_of
from synapse_lite.storage import remote_keys
from synapse_lite.storage.database import Database
from synapse_lite.storage.destinations import left_alone

QUERY = "/_matrix/federation/v1/user/keys/query"
CLAIM = "/_matrix/federation/v1/user/keys/claim"
MAX_USERS = 250  # in a request
MAX_SECONDS = 10.0


@frozen
class RemoteUser:
    """As its server told it: `devices` by id, and the public cross-signing keys that it has."""

    devices: Mapping[str, JsonObject] = field(factory=dict)
    master_key: JsonObject | None = None
    self_signing_key: JsonObject | None = None

    @property
    def master(self) -> str | None:
        """The public master key."""
        keys = self.master_key.get("keys") if self.master_key is not None else None
        public = next(iter(keys.values()), None) if isinstance(keys, dict) else None
        return public if isinstance(public, str) else None

    @property
    def text(self) -> str:
        return orjson.dumps([self.devices, self.master_key, self.self_signing_key]).decode()

    @classmethod
    def of_text(cls, text: str) -> "RemoteUser":
        return cls(*orjson.loads(text))


@define
class _Left:
    """How much of what servers answer fits into one answer to the client."""

    bytes: int

    def take(self, size: int) -> None:
        if size > self.bytes:
            raise PeerError("The keys of its users are too large for one answer with those of others")
        self.bytes -= size


Failures = dict[str, JsonObject]
"""Why a server told nothing, by its name."""


class RemoteKeys:
    """`server_name` is ours. Servers are asked side by side, and for no longer than the caller waits."""

    def __init__(self, database: Database, peers: Peers, clock: Clock, server_name: str) -> None:
        self._database = database
        self._peers = peers
        self._clock = clock
        self._server_name = server_name

    async def query(
        self, user_ids: Collection[str], seconds: float, expect_large: ExpectLarge
    ) -> tuple[dict[str, RemoteUser], Failures]:
        """Those of the users whose servers answered. With whom a room is shared is asked for once, unless the answer leaves them out.

        What is known is as large as `PublicKeys.of` may be, and raises as it does; of what is asked for, as much comes.
        """
        if not user_ids:
            return {}, {}
        size = await self._database.read(remote_keys.cached_size, user_ids)
        await public_keys.check_answer(size, expect_large)
        left = _Left(public_keys.MAX_ANSWER_BYTES)
        cached = await self._database.read(remote_keys.cached_keys, user_ids)
        found = {user_id: RemoteUser.of_text(text) for user_id, text in cached.items()}
        wanted = {user_id: None for user_id in user_ids if user_id not in found}
        answers, failures = await self._ask_each(wanted, partial(self._query_server, left), seconds)
        for answer in answers:
            found |= answer
        return found, failures

    async def claim(
        self, wanted: Mapping[str, Mapping[str, str]], seconds: float
    ) -> tuple[dict[str, JsonObject], Failures]:
        """One-time keys by user and device; `wanted` as for `DeviceKeys.claim`."""
        answers, failures = await self._ask_each(wanted, self._claim_of_server, seconds)
        return {user_id: keys for answer in answers for user_id, keys in answer.items()}, failures

    async def _ask_each(
        self, wanted: Mapping[str, Any], ask: Any, seconds: float
    ) -> tuple[list[Any], Failures]:
        by_server: dict[str, dict[str, Any]] = {}
        for user_id, what in wanted.items():
            by_server.setdefault(domain_of(user_id), {})[user_id] = what
        if not by_server:
            return [], {}
        away = await self._database.read(left_alone, list(by_server), self._clock.now_ms())
        failures: Failures = {name: _failure("The server could not be reached lately") for name in away}
        asked = [name for name in by_server if name not in away]
        outcomes = await gatherResults(
            Deferred.fromCoroutine(_outcome(ask(name, by_server[name], min(seconds, MAX_SECONDS))))
            for name in asked
        )
        answers = []
        for name, outcome in zip(asked, outcomes, strict=True):
            if isinstance(outcome, dict):
                answers.append(outcome)
            else:
                failures[name] = _failure(str(outcome))
        return answers, failures

    async def _query_server(
        self, left: _Left, server: str, users: Mapping[str, None], seconds: float
    ) -> dict[str, RemoteUser]:
        found: dict[str, RemoteUser] = {}
        deadline = self._clock.monotonic() + seconds
        for some in _slices(list(users)):
            in_time = deadline - self._clock.monotonic()
            if in_time <= 0:
                raise PeerError("The server took too long")
            generations = await self._database.transact(remote_keys.begin_asking, some, self._server_name)
            body: JsonObject = {"device_keys": {user_id: [] for user_id in some}}
            answer = await self._peers.ask(server, "POST", QUERY, body, timeout=in_time)
            canonical_json.check_storable(answer)
            listed = answer.get("device_keys")
            if not isinstance(listed, dict):
                raise PeerError(f"{server} does not tell keys, but something else")
            told = {user_id: _read_user(answer, user_id) for user_id in some}
            texts = {user_id: one.text for user_id, one in told.items()}
            left.take(sum(map(len, texts.values())))
            texts = {user_id: text for user_id, text in texts.items() if user_id in listed}
            await self._database.transact(remote_keys.keep_keys, texts, generations)
            found |= told
        return found

    async def _claim_of_server(
        self, server: str, wanted: Mapping[str, Mapping[str, str]], seconds: float
    ) -> dict[str, JsonObject]:
        body: JsonObject = {"one_time_keys": {user_id: dict(devices) for user_id, devices in wanted.items()}}
        answer = await self._peers.ask(server, "POST", CLAIM, body, timeout=seconds)
        canonical_json.check_storable(answer)  # so that it can be shown
        keys = _object(answer, "one_time_keys")
        return {
            user_id: {
                device_id: key
                for device_id, key in _object(keys, user_id).items()
                if device_id in devices and _is_of(key, devices[device_id])
            }
            for user_id, devices in wanted.items()
            if user_id in keys
        }


async def _outcome(asking: Any) -> Any:
    try:
        return await asking
    except (PeerError, MatrixError) as error:
        return error


def _failure(message: str) -> JsonObject:
    return {"status": 503, "message": message}


def _read_user(answer: JsonObject, user_id: str) -> RemoteUser:
    """What is not about the user, or has not the form of it, is left out."""
    devices = _object(_object(answer, "device_keys"), user_id)
    master, signing = (
        _object(_object(answer, name), user_id) for name in ("master_keys", "self_signing_keys")
    )
    return RemoteUser(
        {
            device_id: keys
            for device_id, keys in devices.items()
            if isinstance(keys, dict) and (keys.get("user_id"), keys.get("device_id")) == (user_id, device_id)
        },
        master if master.get("user_id") == user_id else None,
        signing if signing.get("user_id") == user_id else None,
    )


def _object(value: JsonObject, key: str) -> JsonObject:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _is_of(key: Any, algorithm: str) -> bool:
    return isinstance(key, dict) and all(name.startswith(f"{algorithm}:") for name in key)


def _slices(user_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(user_ids), MAX_USERS):
        yield user_ids[start : start + MAX_USERS]
