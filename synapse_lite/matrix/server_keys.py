"""What a server publishes about its keys (server-server API, "Publishing Keys"), and for what a key is good."""

from collections.abc import Iterator, Sequence
from typing import Any

from attrs import frozen
from nacl.signing import VerifyKey

from synapse_lite.canonical_json import JsonObject, check_canonical
from synapse_lite.errors import bad_json
from synapse_lite.matrix.signing import (
    ALGORITHM,
    SignatureError,
    SigningKey,
    encode_base64,
    read_verify_key,
    verify_signed_json,
)

MAX_VALIDITY_MS = 7 * 24 * 3600 * 1000
"""However long a key says that it is valid: nobody relies on it for longer."""
MAX_KEYS = 100  # of one server
MAX_KEY_ID = 128


@frozen
class ServerKey:
    """A key of a server, in base64. `expired_ts` is None for one in use."""

    server_name: str
    key_id: str
    public_key: str
    valid_until_ts: int
    expired_ts: int | None = None

    def is_good_at(self, ts: int) -> bool:
        """For what was signed at that time (milliseconds)."""
        return ts <= (self.valid_until_ts if self.expired_ts is None else self.expired_ts)

    @property
    def verify_key(self) -> VerifyKey:
        return read_verify_key(self.public_key)


@frozen
class RetiredKey:
    """An own one that signs no more."""

    key_id: str
    public_key: str
    expired_ts: int


def write_key_answer(key: SigningKey, retired: Sequence[RetiredKey], valid_until_ts: int) -> JsonObject:
    """`GET /_matrix/key/v2/server`, signed."""
    answer: JsonObject = {
        "server_name": key.server_name,
        "valid_until_ts": valid_until_ts,
        "verify_keys": {key.key_id: {"key": encode_base64(bytes(key.verify_key))}},
        "old_verify_keys": {
            old.key_id: {"key": old.public_key, "expired_ts": old.expired_ts} for old in retired
        },
    }
    return {**answer, "signatures": {key.server_name: {key.key_id: key.sign(answer)}}}


def read_key_answer(answer: JsonObject, server_name: str, now_ms: int) -> list[ServerKey]:
    """The keys in the answer of a server about itself, whoever handed it on.

    Raises 400 `M_BAD_JSON` for a wrong shape, numbers that nobody can sign, or another server's name, and `SignatureError` unless one of the keys
    in use, and every one of which there is a signature, signed it.
    """
    check_canonical(answer)
    if answer.get("server_name") != server_name:
        raise bad_json("The keys are those of another server")
    until = answer.get("valid_until_ts")
    if not isinstance(until, int) or isinstance(until, bool):
        raise bad_json("'valid_until_ts' must be an integer")
    until = min(until, now_ms + MAX_VALIDITY_MS)
    in_use = [ServerKey(server_name, *key, until) for key in _keys(answer.get("verify_keys"))]
    _check_signed(answer, in_use)
    old = answer.get("old_verify_keys", {})
    retired = [
        ServerKey(server_name, key_id, public_key, until, expired)
        for key_id, public_key in _keys(old)
        if isinstance(expired := old[key_id].get("expired_ts"), int)
    ]
    return [*in_use, *retired]


def _keys(listed: Any) -> Iterator[tuple[str, str]]:
    """Those that we can use."""
    if not isinstance(listed, dict) or len(listed) > MAX_KEYS:
        raise bad_json(f"A server has at most {MAX_KEYS} keys, in an object")
    for key_id, value in listed.items():
        text = value.get("key") if isinstance(value, dict) else None
        if not key_id.startswith(f"{ALGORITHM}:") or len(key_id) > MAX_KEY_ID or not isinstance(text, str):
            continue
        try:
            yield key_id, encode_base64(bytes(read_verify_key(text)))
        except ValueError:
            continue


def _check_signed(answer: JsonObject, keys: Sequence[ServerKey]) -> None:
    signatures = answer.get("signatures")
    own = signatures.get(answer["server_name"]) if isinstance(signatures, dict) else None
    signing = [key for key in keys if isinstance(own, dict) and key.key_id in own]
    if not signing:
        raise SignatureError("The keys are not signed by the server's own key")
    for key in signing:
        verify_signed_json(answer, key.server_name, key.key_id, key.verify_key)
