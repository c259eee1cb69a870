"""Shapes and signatures of the public keys that clients upload (client-server API, "End-to-End Encryption").

What is wrong raises 400: `M_BAD_JSON` for another shape, `M_INVALID_PARAM` for another user, device or key than
it must be, `M_INVALID_SIGNATURE` for a signature that does not fit. Nothing else of it ever reaches other clients.
"""

from collections.abc import Mapping
from typing import NamedTuple

import attrs
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from synapse_lite import canonical_json
from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, bad_json, invalid_param, too_large
from synapse_lite.matrix.signing import decode_base64, signed_bytes

MAX_DEVICE_KEYS_BYTES = 64 * 1024
MAX_KEY_BYTES = 4 * 1024
MAX_KEYS_AT_ONCE = 1000
MAX_KEY_ID = 255  # bytes, with the algorithm
MAX_SIGNATURES = 100
KEY_BYTES = 32
ED25519 = "ed25519"
CURVE25519 = "curve25519"


@attrs.frozen
class UploadedKey:
    """A one-time or fallback key: `key_id` without the algorithm, `key` the public key, `value` as uploaded."""

    algorithm: str
    key_id: str
    key: str
    value: str | JsonObject


def check_device_keys(keys: JsonObject, user_id: str, device_id: str) -> None:
    """Keys of this device, signed by itself."""
    _check_size(keys, MAX_DEVICE_KEYS_BYTES, "device_keys")
    if keys.get("user_id") != user_id or keys.get("device_id") != device_id:
        raise invalid_param("device_keys must name the user and the device that upload them")
    algorithms = keys.get("algorithms")
    if not isinstance(algorithms, list) or not all(isinstance(name, str) for name in algorithms):
        raise bad_json("device_keys.algorithms must be a list of strings")
    public_keys = _texts(keys.get("keys"), "device_keys.keys")
    for algorithm in (ED25519, CURVE25519):
        name = f"{algorithm}:{device_id}"
        if name not in public_keys:
            raise bad_json(f"device_keys.keys has no {name}"[:200])
        decode_key(public_keys[name], f"device_keys.keys.{name}")
    check_signature(keys, user_id, f"{ED25519}:{device_id}", public_keys[f"{ED25519}:{device_id}"])


class IdentityKeys(NamedTuple):
    """Of a device, without padding."""

    ed25519: str
    curve25519: str


def identity_keys(keys: JsonObject) -> IdentityKeys:
    """Of checked device keys."""
    device_id = keys["device_id"]
    return IdentityKeys(
        keys["keys"][f"{ED25519}:{device_id}"].rstrip("="),
        keys["keys"][f"{CURVE25519}:{device_id}"].rstrip("="),
    )


def read_uploaded_keys(keys: JsonObject, field: str) -> list[UploadedKey]:
    """`{"<algorithm>:<key id>": key}` in the order of the body."""
    if len(keys) > MAX_KEYS_AT_ONCE:
        raise bad_json(f"{field} holds more than {MAX_KEYS_AT_ONCE} keys")
    return [_read_uploaded_key(name, value, field) for name, value in keys.items()]


def check_signed_key(key: UploadedKey, user_id: str, device_id: str, ed25519: str) -> None:
    """A key that is signed must be signed by its device, whose key `ed25519` is."""
    if isinstance(key.value, dict):
        check_signature(key.value, user_id, f"{ED25519}:{device_id}", ed25519)


def same_key(stored: str | JsonObject, uploaded: UploadedKey) -> bool:
    """Whether it is the same public key, whatever the signatures."""
    return _public_key(stored) == uploaded.key


def check_cross_signing_key(key: JsonObject, user_id: str, usage: str) -> str:
    """The public key of a cross-signing key of that usage."""
    field = f"{usage}_key"
    _check_size(key, MAX_DEVICE_KEYS_BYTES, field)
    if key.get("user_id") != user_id:
        raise invalid_param(f"{field} must name the user who uploads it")
    usages = key.get("usage")
    if not isinstance(usages, list) or usage not in usages:
        raise invalid_param(f"{field}.usage must hold {usage}")
    public_keys = _texts(key.get("keys"), f"{field}.keys")
    if len(public_keys) != 1:
        raise invalid_param(f"{field}.keys must hold one key")
    ((name, public_key),) = public_keys.items()
    decode_key(public_key, f"{field}.keys.{name}"[:200])
    if name != f"{ED25519}:{public_key}":
        raise invalid_param(f"The name of {field} must be {ED25519}: and the key itself")
    return public_key


def check_signature(signed: JsonObject, user_id: str, key_id: str, public_key: str) -> None:
    """400 `M_INVALID_SIGNATURE` unless `signed` carries a good signature of that key."""
    signatures = signed.get("signatures")
    of_user = signatures.get(user_id) if isinstance(signatures, dict) else None
    signature = of_user.get(key_id) if isinstance(of_user, dict) else None
    if not isinstance(signature, str):
        raise invalid_signature(f"No signature of {user_id} with the key {key_id}"[:300])
    verify(signed, signature, public_key, f"The signature of {user_id} with the key {key_id} is wrong"[:300])


def verify(signed: JsonObject, signature: str, public_key: str, failure: str) -> None:
    try:
        VerifyKey(decode_base64(public_key)).verify(signed_bytes(signed), decode_base64(signature))
    except (BadSignatureError, ValueError, TypeError):
        raise invalid_signature(failure) from None


def check_signatures_of(value: object) -> None:
    """400 for a signed object that is larger than any key may be, or whose signatures have another shape."""
    if isinstance(value, dict):
        _check_size(value, MAX_DEVICE_KEYS_BYTES, "A signed key")


def decode_key(text: str, field: str) -> bytes:
    """32 bytes in base64."""
    try:
        key = decode_base64(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise bad_json(f"{field} must be {KEY_BYTES} bytes in base64")
    return key


def with_signatures(signed: JsonObject, added: Mapping[str, Mapping[str, str]]) -> JsonObject:
    """The same object with more signatures, by user and key id. Of other servers' objects nobody has checked the form."""
    own = signed.get("signatures")
    found = own.items() if isinstance(own, dict) else ()
    signatures = {user_id: dict(of_user) for user_id, of_user in found if isinstance(of_user, dict)}
    for user_id, of_user in added.items():
        signatures.setdefault(user_id, {}).update(of_user)
    return {**signed, "signatures": signatures}


def invalid_signature(message: str) -> MatrixError:
    return MatrixError(400, Errcode.INVALID_SIGNATURE, message)


def _read_uploaded_key(name: str, value: object, field: str) -> UploadedKey:
    algorithm, colon, key_id = name.partition(":")
    if not (algorithm and colon and key_id) or len(name.encode()) > MAX_KEY_ID or "\0" in name:
        raise bad_json(f"{field}: {name[:80]!r} must be <algorithm>:<key id>")
    if not isinstance(value, str | dict):
        raise bad_json(f"{field}.{name} must be a string or an object")
    public_key = _public_key(value)
    if public_key is None:
        raise bad_json(f"{field}.{name} has no key")
    if algorithm in (CURVE25519, f"signed_{CURVE25519}"):
        decode_key(public_key, f"{field}.{name}")
    _check_size(value, MAX_KEY_BYTES, f"{field}.{name}")
    return UploadedKey(algorithm, key_id, public_key, value)


def _public_key(value: str | JsonObject) -> str | None:
    key = value.get("key") if isinstance(value, dict) else value
    return key.rstrip("=") if isinstance(key, str) else None


def _check_size(value: str | JsonObject, most: int, field: str) -> None:
    canonical_json.check_canonical(value)
    if len(canonical_json.encode(value)) > most:
        raise too_large(f"{field} is larger than {most} bytes")
    if isinstance(value, dict):
        _check_signatures_shape(value, field)


def _check_signatures_shape(value: JsonObject, field: str) -> None:
    signatures = value.get("signatures", {})
    if not isinstance(signatures, dict) or len(signatures) > MAX_SIGNATURES:
        raise bad_json(f"{field}.signatures must be an object")
    for user_id, of_user in signatures.items():
        _texts(of_user, f"{field}.signatures.{user_id}"[:200])


def _texts(value: object, field: str) -> dict[str, str]:
    if (
        not isinstance(value, dict)
        or len(value) > MAX_SIGNATURES
        or not all(isinstance(text, str) for text in value.values())
    ):
        raise bad_json(f"{field} must be an object of strings")
    return value
