"""Public keys of devices: uploading one's own, asking for those of others (client-server API, "Key management")."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import orjson
from attrs import frozen

from synapse_lite import canonical_json
from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, invalid_param, too_large
from synapse_lite.handlers.public_keys import ExpectLarge, PublicKeys, UserKeys, with_signatures
from synapse_lite.handlers.remote_keys import MAX_SECONDS, RemoteKeys
from synapse_lite.ids import is_local
from synapse_lite.matrix import e2e_keys
from synapse_lite.matrix.e2e_keys import IdentityKeys, UploadedKey
from synapse_lite.storage import device_keys, devices, one_time_keys
from synapse_lite.storage.cross_signing import MASTER, SELF_SIGNING, USER_SIGNING
from synapse_lite.storage.database import Database, Transaction
from synapse_lite.storage.one_time_keys import ClaimedKey, KeyCounts, StoredKey, Wanted

SIGNED_CURVE25519 = "signed_curve25519"
"""The algorithm of which clients always want to know the count."""

MAX_ALGORITHMS = 20
"""Of a device's one-time and fallback keys; clients have one or two."""

MAX_DEVICE_KEYS_BYTES = 4 * 1024 * 1024
"""Of all devices of a user: whoever asks for them gets them in one answer."""

_FIELDS = {MASTER: "master_keys", SELF_SIGNING: "self_signing_keys", USER_SIGNING: "user_signing_keys"}


@frozen
class Upload:
    """What one request uploads: checked in its shape, not yet against what is stored."""

    device_keys: JsonObject | None
    one_time_keys: Sequence[UploadedKey]
    fallback_keys: Sequence[UploadedKey]


class DeviceKeys:
    """What is of this server is read, or written, in one transaction. Servers that do not answer are told of as failures."""

    def __init__(
        self,
        database: Database,
        public: PublicKeys,
        remote: RemoteKeys,
        server_name: str,
    ) -> None:
        self._database = database
        self._public = public
        self._remote = remote
        self._server_name = server_name

    async def upload(self, user_id: str, device_id: str, upload: Upload) -> KeyCounts:
        """Store the keys of a device; how many one-time keys there are now.

        The same key again is accepted and changes nothing. Raises 400 `M_INVALID_PARAM` for another identity key
        of the device, 400 `M_INVALID_SIGNATURE`, and 400 `M_UNKNOWN` for another key under a known id.
        """
        # A client that uploads the same conflict again and again is refused before it takes any lock.
        await self._database.read(check_upload, user_id, device_id, upload)
        return await self._database.transact(store_upload, user_id, device_id, upload)

    async def query(
        self,
        reader: str | None,
        wanted: Mapping[str, Collection[str]],
        expect_large: ExpectLarge,
        timeout: float = MAX_SECONDS,  # noqa: ASYNC109 (there is no asyncio)
    ) -> JsonObject:
        """`wanted`: device ids by user; none means all devices. `timeout`: seconds to wait for other servers.

        Raises as `PublicKeys.of`.

        `reader` None: a reader of another server, who sees nothing but what is public.
        """
        local = {user_id: None for user_id in wanted if is_local(user_id, self._server_name)}
        keys = await self._public.of(local.keys(), expect_large)
        made = {} if reader is None else await self._public.made_by(reader)
        others = wanted.keys() - keys.keys() if len(local) < len(wanted) else ()
        remote, failures = await self._remote.query(others, timeout, expect_large)
        answer: JsonObject = {"device_keys": {}, "failures": failures}
        answer |= {field: {} for field in _FIELDS.values()}
        for user_id, user in remote.items():
            answer["device_keys"][user_id] = _chosen(user.devices, wanted[user_id])
            if user.master_key is not None:
                own = made.get((user_id, user.master or ""))
                master = e2e_keys.with_signatures(user.master_key, own) if own else user.master_key
                answer[_FIELDS[MASTER]][user_id] = master
            if user.self_signing_key is not None:
                answer[_FIELDS[SELF_SIGNING]][user_id] = user.self_signing_key
        for user_id in local:
            found, chosen = keys[user_id], wanted[user_id]
            names = found.names if user_id == reader else {}  # only the owner is told
            answer["device_keys"][user_id] = (
                _devices(found, chosen, names) if chosen or names else orjson.Fragment(found.devices)
            )
            for usage, key in found.cross_signing.items():
                if usage == MASTER:
                    answer[_FIELDS[usage]][user_id] = with_signatures(
                        key, made.get((user_id, found.master or ""))
                    )
                elif usage != USER_SIGNING or user_id == reader:
                    answer[_FIELDS[usage]][user_id] = orjson.Fragment(key)
        return answer

    async def claim(
        self,
        wanted: Mapping[str, Mapping[str, str]],
        timeout: float = MAX_SECONDS,  # noqa: ASYNC109 (there is no asyncio)
    ) -> JsonObject:
        """A one-time key for each device; `wanted`: the algorithm by user and device.

        A key is given out once. When there is none left, it is the fallback key; without one the device is absent.
        """
        local = {user_id: of for user_id, of in wanted.items() if is_local(user_id, self._server_name)}
        stocks = [
            Wanted(user_id, device_id, algorithm)
            for user_id, devices in local.items()
            for device_id, algorithm in devices.items()
        ]
        claimed: Sequence[ClaimedKey] = ()
        if stocks:
            claimed = await self._database.transact(one_time_keys.claim_keys, stocks)
        keys: dict[str, dict[str, JsonObject]] = {}
        for key in claimed:
            value = orjson.Fragment(key.json)
            keys.setdefault(key.user_id, {})[key.device_id] = {f"{key.algorithm}:{key.key_id}": value}
        others = {user_id: of for user_id, of in wanted.items() if of and user_id not in local}
        remote, failures = await self._remote.claim(others, timeout)
        return {"one_time_keys": {**keys, **remote}, "failures": failures}


def counts_answer(counts: KeyCounts) -> dict[str, int]:
    """By algorithm; that of Olm is there even at zero, so that clients upload."""
    return {SIGNED_CURVE25519: 0, **counts.one_time}


def check_upload(txn: Transaction, user_id: str, device_id: str, upload: Upload) -> None:
    """Whether the keys are of this device and no known id has another key; raises as `DeviceKeys.upload`."""
    identity = _identity(txn, user_id, device_id, upload)
    if identity is not None:
        for key in (*upload.one_time_keys, *upload.fallback_keys):
            e2e_keys.check_signed_key(key, user_id, device_id, identity.ed25519)
    _new_keys(txn, user_id, device_id, upload.one_time_keys)


def _identity(txn: Transaction, user_id: str, device_id: str, upload: Upload) -> IdentityKeys | None:
    """Of the device, once the upload is stored; it never changes."""
    stored = device_keys.find_device_keys(txn, user_id, device_id)
    known = None if stored is None else e2e_keys.identity_keys(canonical_json.decode_object(stored))
    if upload.device_keys is None:
        return known
    identity = e2e_keys.identity_keys(upload.device_keys)
    if known is not None and known != identity:
        raise invalid_param("The identity keys of a device cannot be changed")
    return identity


def store_upload(txn: Transaction, user_id: str, device_id: str, upload: Upload) -> KeyCounts:
    """After `check_upload`, whose signatures are not verified again. 413 `M_TOO_LARGE` for more than anybody needs."""
    if not devices.lock_device(txn, user_id, device_id):
        raise MatrixError(401, Errcode.UNKNOWN_TOKEN, "The device is gone", {"soft_logout": False})
    _identity(txn, user_id, device_id, upload)
    if upload.device_keys is not None:
        own = _own_part(upload.device_keys, user_id, f"{e2e_keys.ED25519}:{device_id}")
        device_keys.put_device_keys(txn, user_id, device_id, _text(own))
        if device_keys.device_keys_size(txn, user_id) > MAX_DEVICE_KEYS_BYTES:
            raise too_large(
                f"The keys of your devices are larger than {MAX_DEVICE_KEYS_BYTES} bytes together"
            )
    new = _new_keys(txn, user_id, device_id, upload.one_time_keys)
    one_time_keys.add_keys(txn, user_id, device_id, [_stored(key) for key in new])
    if upload.fallback_keys:
        known = one_time_keys.fallback_keys(txn, user_id, device_id)
        fallback = [(_stored(key), _is_known(known.get(key.algorithm), key)) for key in upload.fallback_keys]
        one_time_keys.put_fallback_keys(txn, user_id, device_id, fallback)
    has_keys = upload.one_time_keys or upload.fallback_keys
    if has_keys and one_time_keys.algorithm_count(txn, user_id, device_id) > MAX_ALGORITHMS:
        raise too_large(f"A device may have keys of {MAX_ALGORITHMS} algorithms")
    return one_time_keys.read_counts(txn, user_id, device_id)


def _new_keys(
    txn: Transaction, user_id: str, device_id: str, keys: Sequence[UploadedKey]
) -> list[UploadedKey]:
    """Those that were not uploaded before: of these some are stored, others were given out."""
    if not keys:
        return []
    stored = [_stored(key) for key in keys]
    known = one_time_keys.known_keys(txn, user_id, device_id, stored)
    before = one_time_keys.uploaded_before(txn, user_id, device_id, stored)
    new = []
    for key in keys:
        name = (key.algorithm, key.key_id)
        if name in known:
            if not e2e_keys.same_key(orjson.loads(known[name]), key):
                raise MatrixError(
                    400, Errcode.UNKNOWN, f"One time key {key.algorithm}:{key.key_id} already exists"
                )
        elif name not in before:
            new.append(key)
    return new


def _is_known(known: tuple[str, str] | None, key: UploadedKey) -> bool:
    if known is None:
        return False
    key_id, json = known
    return key_id == key.key_id and e2e_keys.same_key(orjson.loads(json), key)


def _own_part(keys: JsonObject, user_id: str, key_id: str) -> JsonObject:
    """What the device says of itself; what others sign is stored by itself."""
    kept = {name: value for name, value in keys.items() if name not in {"unsigned", "signatures"}}
    return {**kept, "signatures": {user_id: {key_id: keys["signatures"][user_id][key_id]}}}


def _stored(key: UploadedKey) -> StoredKey:
    return StoredKey(key.algorithm, key.key_id, key.key, _text(key.value))


def _text(value: str | JsonObject) -> str:
    return canonical_json.encode(value).decode()


def _devices(keys: UserKeys, wanted: Collection[str], names: Mapping[str, str]) -> JsonObject:
    """All, or those that are wanted; with the names that some have."""
    devices = keys.by_device()
    for device_id in names.keys() & devices.keys():
        devices[device_id]["unsigned"] = {"device_display_name": names[device_id]}
    return _chosen(devices, wanted)


def _chosen(devices: Mapping[str, JsonObject], wanted: Iterable[str]) -> JsonObject:
    """All, if none is named. A request may name hundreds of thousands: each is looked at once."""
    return {one: devices[one] for one in wanted if one in devices} if wanted else dict(devices)
