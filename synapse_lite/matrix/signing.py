"""Signatures on JSON: Ed25519 over canonical JSON (appendices, "Signing JSON")."""

import base64
import binascii
import secrets
import string
from typing import Any

import attrs
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey as Ed25519Key
from nacl.signing import VerifyKey

from synapse_lite import canonical_json, ids
from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import ConfigError, Errcode, MatrixError

ALGORITHM = "ed25519"
UNSIGNED_KEYS = frozenset({"signatures", "unsigned"})
_KEY_FILE_FIELDS = 3
_KEY_VERSION_CHARACTERS = frozenset(string.ascii_letters + string.digits + "_")


class SignatureError(MatrixError):
    """A signature is missing or wrong: 403 `M_FORBIDDEN`."""

    def __init__(self, message: str) -> None:
        super().__init__(403, Errcode.FORBIDDEN, message)


def encode_base64(data: bytes) -> str:
    """Unpadded base64."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").decode()


def encode_base64_url(data: bytes) -> str:
    """Unpadded base64 with the URL-safe alphabet."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode_base64(text: str) -> bytes:
    """Either alphabet, padded or not; `ValueError` when it is no base64."""
    plain = text.rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)


def signed_bytes(obj: JsonObject) -> bytes:
    """What a signature covers: canonical JSON without `signatures` and `unsigned`."""
    return canonical_json.encode({key: value for key, value in obj.items() if key not in UNSIGNED_KEYS})


@attrs.frozen
class SigningKey:
    """The key of one server; `version` is the part of the key id behind `ed25519:`."""

    server_name: str
    version: str
    key: Ed25519Key = attrs.field(repr=False)
    key_id: str = attrs.field(init=False)

    @key_id.default
    def _key_id(self) -> str:
        return f"{ALGORITHM}:{self.version}"

    @property
    def verify_key(self) -> VerifyKey:
        return self.key.verify_key

    def sign(self, obj: JsonObject) -> str:
        """The signature in unpadded base64; `obj` is not changed."""
        return self.sign_bytes(signed_bytes(obj))

    def sign_bytes(self, data: bytes) -> str:
        return encode_base64(self.key.sign(data).signature)


def generate_signing_key(server_name: str) -> SigningKey:
    return SigningKey(server_name, "a_" + ids.random_text(4), Ed25519Key(secrets.token_bytes(32)))


def read_signing_key(text: str, server_name: str) -> SigningKey:
    """The first key of a Synapse key file; a line is `ed25519 <version> <seed in base64>`.

    Raises `ConfigError`.
    """
    lines = [line.split() for line in text.splitlines() if line.strip()]
    if not lines:
        raise ConfigError("The signing key file holds no key")
    if len(lines[0]) != _KEY_FILE_FIELDS or lines[0][0] != ALGORITHM:
        raise ConfigError("A line of the signing key file must read: ed25519 <version> <base64 seed>")
    _, version, seed = lines[0]
    if not set(version) <= _KEY_VERSION_CHARACTERS:
        raise ConfigError(f"The signing key version {version!r} may hold only letters, digits and '_'")
    try:
        return SigningKey(server_name, version, Ed25519Key(decode_base64(seed)))
    except ValueError:
        raise ConfigError("The seed of the signing key must be 32 bytes in base64") from None


def write_signing_key(key: SigningKey) -> str:
    return f"{ALGORITHM} {key.version} {encode_base64(bytes(key.key))}\n"


def read_verify_key(text: str) -> VerifyKey:
    """A public key in base64; `ValueError` when it is none."""
    return VerifyKey(decode_base64(text))


def verify_signed_json(obj: JsonObject, server_name: str, key_id: str, verify_key: VerifyKey) -> None:
    """Raises `SignatureError` unless `obj` carries a good signature of that server by that key."""
    verify_signature(obj.get("signatures"), signed_bytes(obj), server_name, key_id, verify_key)


def verify_signature(
    signatures: Any, signed: bytes, server_name: str, key_id: str, verify_key: VerifyKey
) -> None:
    """As `verify_signed_json`, for a `signatures` object of any shape and the bytes that it signs."""
    try:
        signature = decode_base64(signatures[server_name][key_id])
    except (KeyError, TypeError, AttributeError, ValueError):
        raise SignatureError(f"No signature of {server_name} with the key {key_id}") from None
    try:
        verify_key.verify(signed, signature)
    except (BadSignatureError, ValueError):
        raise SignatureError(f"The signature of {server_name} with the key {key_id} is wrong") from None
