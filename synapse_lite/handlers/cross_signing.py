"""Cross-signing: a user's own keys, and signatures on devices and on others (client-server API, "Cross-signing")."""

from collections.abc import Mapping, Sequence

import orjson
from attrs import frozen

from synapse_lite import canonical_json
from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.errors import Errcode, MatrixError, invalid_param, not_found
from synapse_lite.handlers.public_keys import ExpectLarge
from synapse_lite.handlers.remote_keys import MAX_SECONDS, RemoteKeys, RemoteUser
from synapse_lite.ids import is_local
from synapse_lite.matrix import e2e_keys
from synapse_lite.storage import cross_signing, device_keys, devices
from synapse_lite.storage.cross_signing import MASTER, SELF_SIGNING, USAGES, USER_SIGNING, CrossSigningKey
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.device_keys import KeySignature

REPLACEABLE_MS = 10 * 60 * 1000
"""For so long an administrator's permission to replace the keys holds."""

Failures = dict[str, dict[str, JsonObject]]


@frozen
class Signer:
    """A user as a signer: public keys by key id, those of devices and of cross-signing."""

    user_id: str
    devices: Mapping[str, str]
    own: Mapping[str, CrossSigningKey]

    def usage_key(self, usage: str) -> tuple[str, str] | None:
        """Key id and public key of the cross-signing key of that usage."""
        key = self.own.get(usage)
        return None if key is None else (f"{e2e_keys.ED25519}:{key.public_key}", key.public_key)


class CrossSigning:
    def __init__(self, database: Database, remote: RemoteKeys, clock: Clock, server_name: str) -> None:
        self._database = database
        self._remote = remote
        self._server_name = server_name
        self._clock = clock

    async def upload(self, user_id: str, keys: Mapping[str, JsonObject], *, proven: bool) -> bool:
        """Store keys by usage; False, and nothing is stored, when the user has to prove first who they are.

        Not for the first keys, not for the keys that are stored already, and not while an administrator allows it.
        Raises 400 `M_INVALID_PARAM`, `M_INVALID_SIGNATURE`, `M_MISSING_PARAM`.
        """
        return await self._database.transact(_upload, user_id, keys, self._clock.now_ms(), proven=proven)

    async def sign(
        self, user_id: str, signed: Mapping[str, Mapping[str, object]], expect_large: ExpectLarge
    ) -> Failures:
        """Store the signatures of the user that are on the objects, by their owner and key or device id.

        Servers of others are asked for keys that are not known, as by `DeviceKeys.query`, which raises the same.

        Returns what was refused, and why: an error each.
        """
        others = [one for one, objects in signed.items() if objects and not is_local(one, self._server_name)]
        remote, _ = await self._remote.query(others, MAX_SECONDS, expect_large)
        return await self._database.transact(_sign, user_id, signed, remote)

    async def allow_replacement(self, user_id: str) -> int | None:
        """Until when (ms) the user may replace the keys without a proof; None: there are none to replace."""
        until = self._clock.now_ms() + REPLACEABLE_MS
        allowed = await self._database.transact(cross_signing.allow_replacement, user_id, until)
        return until if allowed else None


def _upload(
    txn: Transaction, user_id: str, keys: Mapping[str, JsonObject], now_ms: int, *, proven: bool
) -> bool:
    devices.lock_owner(txn, user_id)  # of two sessions that upload the first keys one has to prove it
    if not proven and _needs_proof(txn, user_id, keys, now_ms):
        return False
    _store_keys(txn, user_id, keys)
    return True


def _needs_proof(txn: Transaction, user_id: str, keys: Mapping[str, JsonObject], now_ms: int) -> bool:
    stored = {key.usage: key for key in cross_signing.read_cross_signing_keys(txn, [user_id])}
    if MASTER not in stored or cross_signing.is_replaceable(txn, user_id, now_ms):
        return False
    return any(
        usage not in stored
        or e2e_keys.check_cross_signing_key(key, user_id, usage) != stored[usage].public_key
        or _content(key) != _content(orjson.loads(stored[usage].json))
        for usage, key in keys.items()
    )


def _store_keys(txn: Transaction, user_id: str, keys: Mapping[str, JsonObject]) -> None:
    signer = _signer(txn, user_id)
    checked = {usage: e2e_keys.check_cross_signing_key(key, user_id, usage) for usage, key in keys.items()}
    master = signer.usage_key(MASTER)
    if MASTER in checked:
        master = f"{e2e_keys.ED25519}:{checked[MASTER]}", checked[MASTER]
    if master is None:
        raise MatrixError(400, Errcode.MISSING_PARAM, "A master key must be uploaded first")
    if len(set(checked.values())) != len(checked) or checked.keys() - USAGES:
        raise invalid_param("Each cross-signing key must be another one")
    for usage in (SELF_SIGNING, USER_SIGNING):
        if usage in keys:
            e2e_keys.check_signature(keys[usage], user_id, *master)
    cross_signing.put_cross_signing_keys(
        txn,
        [
            CrossSigningKey(user_id, usage, checked[usage], _own_part(signer, keys[usage], master))
            for usage in keys
        ],
    )


def _own_part(signer: Signer, key: JsonObject, master: tuple[str, str]) -> str:
    """The key with those signatures of its owner that are good: of the master key and of devices."""
    known = {**signer.devices, **dict([master])}
    good = {}
    for key_id, signature in _signatures_of(key, signer.user_id).items():
        if key_id in known:
            e2e_keys.verify(key, signature, known[key_id], f"The signature of {key_id[:200]} is wrong")
            good[key_id] = signature
    kept = {name: value for name, value in key.items() if name not in {"unsigned", "signatures"}}
    signatures = {"signatures": {signer.user_id: good}} if good else {}
    return canonical_json.encode({**kept, **signatures}).decode()


def _sign(
    txn: Transaction,
    user_id: str,
    signed: Mapping[str, Mapping[str, object]],
    remote: Mapping[str, RemoteUser],
) -> Failures:
    # So that no key with which is signed, and nothing that is, goes meanwhile.
    devices.lock_owner(txn, user_id)
    devices.keep_devices(txn, user_id)
    signer = _signer(txn, user_id)
    failures: Failures = {}
    accepted: list[KeySignature] = []
    wanted = {owner: list(objects) for owner, objects in signed.items() if objects}
    targets = _read_targets(txn, wanted, remote)
    for owner, objects in signed.items():
        for target_id, value in objects.items():
            try:
                accepted += _signatures(signer, owner, target_id, value, targets[owner])
            except MatrixError as error:
                failure = {"errcode": str(error.errcode), "error": error.message}
                failures.setdefault(owner, {})[target_id] = failure
    if accepted:
        device_keys.put_signatures(txn, user_id, accepted)
    return failures


@frozen
class _Targets:
    """What of a user can be signed: JSON of devices by id, and of the master key by its public key."""

    devices: Mapping[str, str]
    master: CrossSigningKey | None


def _read_targets(
    txn: Transaction, wanted: Mapping[str, Sequence[str]], remote: Mapping[str, RemoteUser]
) -> Mapping[str, _Targets]:
    """Of each owner, with the devices that are named. Those of all are read at once: a request may name thousands."""
    devices: dict[str, dict[str, str]] = {owner: {} for owner in wanted}
    for stored in device_keys.read_device_keys(txn, [], wanted):
        devices[stored.user_id][stored.device_id] = stored.json
    keys = cross_signing.read_cross_signing_keys(txn, wanted.keys())
    masters = {key.user_id: key for key in keys if key.usage == MASTER}
    for owner, user in remote.items():
        if user.master is not None:
            json = orjson.dumps(user.master_key).decode()
            masters[owner] = CrossSigningKey(owner, MASTER, user.master, json)
    return {owner: _Targets(of_owner, masters.get(owner)) for owner, of_owner in devices.items()}


def _signatures(
    signer: Signer, owner: str, target_id: str, value: object, targets: _Targets
) -> list[KeySignature]:
    """Those of the signer on one object, each verified against what is stored. Raises `MatrixError`."""
    if not isinstance(value, dict):
        raise invalid_param("A signed key must be an object")
    allowed, stored = _allowed(signer, owner, target_id, targets)
    target = orjson.loads(stored)
    if _content(target) != _content(value):
        raise invalid_param("The signed object is not the one that is stored")
    found = _signatures_of(value, signer.user_id)
    new = {key_id: signature for key_id, signature in found.items() if key_id in allowed}
    known = _signatures_of(target, signer.user_id)
    if not new and not (found and found.items() <= known.items()):
        raise e2e_keys.invalid_signature("No signature of a key that may sign this")
    for key_id, signature in new.items():
        e2e_keys.verify(target, signature, allowed[key_id], f"The signature of {key_id[:200]} is wrong")
    return [
        KeySignature(owner, target_id, signer.user_id, key_id, signature) for key_id, signature in new.items()
    ]


def _allowed(signer: Signer, owner: str, target_id: str, targets: _Targets) -> tuple[Mapping[str, str], str]:
    """Which keys of the signer may sign the target, and its JSON.

    Own devices are signed by the self-signing key, the own master key by devices, the master keys of others by the
    user-signing key.
    """
    if targets.master is not None and target_id == targets.master.public_key:
        if owner == signer.user_id:
            return signer.devices, targets.master.json
        return _only(signer.usage_key(USER_SIGNING)), targets.master.json
    if owner == signer.user_id and target_id in targets.devices:
        return _only(signer.usage_key(SELF_SIGNING)), targets.devices[target_id]
    raise not_found("No key to sign")


def _only(key: tuple[str, str] | None) -> Mapping[str, str]:
    if key is None:
        raise not_found("The signing key is not uploaded")
    return dict([key])


def _signer(txn: Transaction, user_id: str) -> Signer:
    devices = {}
    for stored in device_keys.read_device_keys(txn, [user_id], {}):
        name = f"{e2e_keys.ED25519}:{stored.device_id}"
        devices[name] = orjson.loads(stored.json)["keys"][name]
    keys = cross_signing.read_cross_signing_keys(txn, [user_id])
    return Signer(user_id, devices, {key.usage: key for key in keys})


def _signatures_of(value: JsonObject, user_id: str) -> dict[str, str]:
    signatures = value.get("signatures")
    found = signatures.get(user_id) if isinstance(signatures, dict) else None
    if not isinstance(found, dict):
        return {}
    return {key_id: text for key_id, text in found.items() if isinstance(text, str)}


def _content(value: JsonObject) -> JsonObject:
    return {name: part for name, part in value.items() if name not in {"unsigned", "signatures"}}
