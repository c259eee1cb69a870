"""The keys of servers: from the database, from the servers themselves, from notaries.

(server-server API, "Retrieving server keys")
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from attrs import frozen
from nacl.signing import VerifyKey
from twisted.internet.defer import Deferred, DeferredList

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import MatrixError
from synapse_lite.federation.peers import PeerError, Peers
from synapse_lite.federation.trust import Trust
from synapse_lite.federation.turns import map_in_turns
from synapse_lite.matrix.event import essence
from synapse_lite.matrix.room_versions import RoomVersion
from synapse_lite.matrix.server_keys import RetiredKey, ServerKey, read_key_answer
from synapse_lite.matrix.signing import (
    SignatureError,
    SigningKey,
    read_verify_key,
    verify_signature,
    verify_signed_json,
)
from synapse_lite.storage import server_keys
from synapse_lite.storage.database import Database, Transaction

logger = logging.getLogger(__name__)

KEYS_TIMEOUT = 10.0
MAX_KEYS_ANSWER = 1024 * 1024
RETRY_SECONDS = 30.0
"""A server whose keys could not be had is left alone for so long, whatever of it has to be verified."""
PATIENCE_SECONDS = 120.0
"""For so long after the first failure its keys may be there soon; then the server counts as one that is gone."""
APART_SECONDS = 3600.0
"""Failures that are so far apart are of two times at which a server was away: nobody asked for its keys between them."""
MAX_NOTED = 10_000  # servers
MAX_SERVERS_A_QUERY = 100
MAX_SIGNATURES = 8  # of one server that are looked at

KeyName = tuple[str, str]  # server name, key id
Keys = Mapping[KeyName, Sequence[ServerKey]]


class KeysAwayError(SignatureError):
    """The keys of a server cannot be had at the moment, by which the signature may be a good one."""

    def __init__(self, server_name: str) -> None:
        super().__init__(f"The keys of {server_name} cannot be had now")
        self.server_name = server_name


@frozen
class Notary:
    """`keys` are its public keys by id; without any it is believed as far as its TLS certificate goes."""

    server_name: str
    keys: Mapping[str, str]


@frozen
class Signed:
    """What a server is said to have signed. `at` is when (milliseconds); None: any key that it ever had will do."""

    server_name: str
    signatures: Any
    data: bytes
    at: int | None

    @property
    def key_ids(self) -> list[str]:
        own = self.signatures.get(self.server_name) if isinstance(self.signatures, dict) else None
        return [key_id for key_id in own if key_id.startswith("ed25519:")] if isinstance(own, dict) else []


def signed_event(
    pdu: JsonObject, version: RoomVersion, server_name: str, covered: bytes | None = None
) -> Signed:
    """From room version 5 on the key must have been valid when the event was made. `covered`: the event's essence, if it is known."""
    at = pdu["origin_server_ts"] if version.enforce_key_validity else None
    data = essence(pdu, version) if covered is None else covered
    return Signed(server_name, pdu.get("signatures"), data, at)


class Keyring:
    """Verifies what servers signed. Keys of this server never need the network."""

    def __init__(
        self,
        database: Database,
        peers: Peers,
        clock: Clock,
        signing_key: SigningKey,
        retired: Sequence[RetiredKey],
        notaries: Sequence[Notary],
    ) -> None:
        self._database = database
        self._peers = peers
        self._clock = clock
        self._own_name = signing_key.server_name
        self._own = {signing_key.key_id: signing_key.verify_key} | {
            old.key_id: read_verify_key(old.public_key) for old in retired
        }
        self._notaries = [notary for notary in notaries if notary.server_name != self._own_name]
        self._fetching: dict[str, Deferred[BaseException | None]] = {}
        self._failed: dict[str, float] = {}
        self._failing_since: dict[str, float] = {}
        self._fetched: dict[str, float] = {}
        self._trust = Trust(clock)

    async def verify(self, signed: Signed) -> None:
        """Raises `SignatureError` unless one of the signatures is good."""
        (failure,) = await self.verify_all([signed])
        if failure is not None:
            raise failure

    async def verify_all(self, signed: Sequence[Signed]) -> list[SignatureError | None]:
        """Of each why it is not to be believed; None: it is. What is needed of many servers is asked for together."""
        keys = await self._keys(signed)
        return await map_in_turns(lambda one: self._failure(one, keys), signed)

    async def keys_of(self, signed: Signed) -> Keys:
        """What may have signed it, as `check` takes it. Raises `SignatureError` where there is nothing."""
        keys = await self._keys([signed])
        if not self._usable(signed, keys):
            raise self._unknown_key(signed)
        return keys

    def check(self, signed: Signed, keys: Keys) -> None:
        """As `verify`, with the keys of `keys_of`."""
        failure = self._failure(signed, keys)
        if failure is not None:
            raise failure

    async def _keys(self, signed: Sequence[Signed]) -> Keys:
        wanted = {
            (one.server_name, key_id)
            for one in signed
            if one.server_name != self._own_name
            for key_id in one.key_ids[:MAX_SIGNATURES]
        }
        started = self._clock.monotonic()
        keys = await self._stored(wanted)
        lacking = {
            one.server_name for one in signed if one.server_name != self._own_name and one.key_ids
            and not self._usable(one, keys)
        }  # fmt: skip
        if lacking:
            await self._fetch({name for name in lacking if self._fetched.get(name, -1) < started})
            keys = await self._stored(wanted)
        return keys

    def _failure(self, signed: Signed, keys: Keys) -> SignatureError | None:
        failure = self._unknown_key(signed)
        for key_id, verify_key in self._usable(signed, keys):
            try:
                verify_signature(signed.signatures, signed.data, signed.server_name, key_id, verify_key)
            except SignatureError as error:
                failure = error
            else:
                return None
        return failure

    def _unknown_key(self, signed: Signed) -> SignatureError:
        name = signed.server_name
        if self._is_away(name):
            return KeysAwayError(name)
        return SignatureError(f"No signature of {name} by a key that is known")

    def _is_away(self, server_name: str) -> bool:
        since = self._failing_since.get(server_name)
        return since is not None and self._clock.monotonic() < since + PATIENCE_SECONDS

    def _usable(self, signed: Signed, keys: Keys) -> list[tuple[str, VerifyKey]]:
        if signed.server_name == self._own_name:
            return [(key_id, self._own[key_id]) for key_id in signed.key_ids if key_id in self._own]
        return [
            (key_id, key.verify_key)
            for key_id in signed.key_ids
            for key in keys.get((signed.server_name, key_id), ())
            if signed.at is None or key.is_good_at(signed.at)
        ]

    async def _stored(self, names: Collection[KeyName]) -> dict[KeyName, list[ServerKey]]:
        found: dict[KeyName, list[ServerKey]] = {}
        if names:
            for key in await self._database.read(server_keys.find_keys, names):
                found.setdefault((key.server_name, key.key_id), []).append(key)
        return found

    # Fetching

    async def are_away(self, server_names: Collection[str]) -> bool:
        """Whether keys of one of the servers still cannot be had, but may come."""
        await self._fetch({name for name in server_names if self._is_away(name)})
        return any(map(self._is_away, server_names))

    async def refresh(self, server_names: Collection[str]) -> None:
        """Ask for the keys of the servers now, of all at once; not for those where that has just failed."""
        await self._fetch(server_names)

    async def _fetch(self, server_names: Collection[str]) -> None:
        """From the servers themselves, and what they do not tell from notaries. Never raises `PeerError`; a fault of ours
        is nobody's bad signature, and raised.
        """
        waiting = []
        for server_name in sorted(server_names):
            if self._is_left_alone(server_name):
                continue
            flight = self._fetching.get(server_name)
            if flight is None:
                flight = self._fetching[server_name] = Deferred()
                Deferred.fromCoroutine(self._fetch_one(server_name)).addBoth(self._landed, server_name)
            waiting.append(_follow(flight))
        for _, fault in await DeferredList(waiting):
            if fault is not None:
                raise fault

    def _landed(self, result: Any, server_name: str) -> None:
        fault = None if result is None else result.value
        self._fetching.pop(server_name).callback(fault)
        if fault is not None:
            logger.error("keys of %s cannot be stored: %s", server_name, fault)

    def _is_left_alone(self, server_name: str) -> bool:
        """Its keys could not be had just now, or were asked for too often: anybody may name keys that a server does not have."""
        return self._failed.get(server_name, 0) > self._clock.monotonic() or self._trust.is_spent(server_name)

    async def _fetch_one(self, server_name: str) -> None:
        self._trust.note_failure(server_name)
        try:
            answer = await self._peers.ask(
                server_name, "GET", "/_matrix/key/v2/server", timeout=KEYS_TIMEOUT, max_bytes=MAX_KEYS_ANSWER
            )
            await self._store(server_name, [answer])
            _note(self._fetched, server_name, self._clock.monotonic())
            self._failing_since.pop(server_name, None)
        except (PeerError, MatrixError) as error:
            logger.info("no keys from %s: %s", server_name, error)
        else:
            return
        if await self._ask_notaries(server_name):
            self._failing_since.pop(server_name, None)
            return
        now = self._clock.monotonic()
        if server_name not in self._failing_since or self._failed.get(server_name, 0) + APART_SECONDS < now:
            _note(self._failing_since, server_name, now)
        _note(self._failed, server_name, now + RETRY_SECONDS)

    async def _ask_notaries(self, server_name: str) -> bool:
        for notary in self._notaries:
            try:
                answer = await self._peers.ask(
                    notary.server_name,
                    "POST",
                    "/_matrix/key/v2/query",
                    {"server_keys": {server_name: {}}},
                    timeout=KEYS_TIMEOUT,
                    max_bytes=MAX_KEYS_ANSWER,
                )
                await self._store(server_name, _vouched_for(answer, notary))
            except (PeerError, MatrixError) as error:
                logger.info("no keys of %s from %s: %s", server_name, notary.server_name, error)
            else:
                return True
        return False

    async def _store(self, server_name: str, answers: Iterable[Any]) -> None:
        """Raises `MatrixError` when there is no answer, or a wrong one."""
        now = self._clock.now_ms()
        found = 0
        for answer in answers:
            if not isinstance(answer, dict) or answer.get("server_name") != server_name:
                continue
            keys = read_key_answer(answer, server_name, now)
            await self._database.transact(_put, server_name, answer, keys, now)
            found += 1
        if not found:
            raise SignatureError(f"There are no keys of {server_name} in the answer")


def _note(times: dict[str, float], server_name: str, time: float) -> None:
    if len(times) >= MAX_NOTED:
        times.clear()
    times[server_name] = time


def _put(
    txn: Transaction, server_name: str, answer: JsonObject, keys: Sequence[ServerKey], now_ms: int
) -> None:
    txn.relax()  # what is lost is asked for again
    server_keys.put_keys(txn, keys)
    server_keys.put_answer(txn, server_name, answer, keys[0].valid_until_ts, now_ms)


def _vouched_for(answer: JsonObject, notary: Notary) -> list[Any]:
    """The answers that the notary signed; all of them, if it has no keys for that."""
    listed = answer.get("server_keys")
    answers = (
        [one for one in listed[:MAX_SERVERS_A_QUERY] if isinstance(one, dict)]
        if isinstance(listed, list)
        else []
    )
    if not notary.keys:
        return answers
    return [one for one in answers if any(_is_signed(one, notary, *key) for key in notary.keys.items())]


def _is_signed(answer: JsonObject, notary: Notary, key_id: str, public_key: str) -> bool:
    try:
        verify_signed_json(answer, notary.server_name, key_id, read_verify_key(public_key))
    except (SignatureError, ValueError):
        return False
    return True


def _follow(flight: "Deferred[BaseException | None]") -> "Deferred[BaseException | None]":
    """Fires with the flight; who gives up waiting does not end it for others."""
    follower: Deferred[BaseException | None] = Deferred()

    def land(result: Any) -> Any:
        if not follower.called:
            follower.callback(result)
        return result

    flight.addBoth(land)
    return follower
