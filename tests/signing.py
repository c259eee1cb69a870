"""Keys that clients make: devices and users with real Ed25519 keys, and what they sign."""

import secrets
from typing import Any

from attrs import field, frozen
from nacl.signing import SigningKey

from synapse_lite.canonical_json import JsonObject
from synapse_lite.matrix.signing import encode_base64, signed_bytes

ALGORITHMS = ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"]


def random_key() -> str:
    """A public key, as good as any for who never uses it."""
    return encode_base64(secrets.token_bytes(32))


@frozen
class Signer:
    """A key of a user by the name of a device, or (without a name) of cross-signing."""

    user_id: str
    name: str
    key: SigningKey = field(factory=SigningKey.generate)

    @property
    def public_key(self) -> str:
        return encode_base64(bytes(self.key.verify_key))

    @property
    def key_id(self) -> str:
        return f"ed25519:{self.name or self.public_key}"

    def sign(self, value: JsonObject) -> JsonObject:
        """The object with this signature besides those that it has."""
        signature = encode_base64(self.key.sign(signed_bytes(value)).signature)
        signatures = {user: dict(of_user) for user, of_user in value.get("signatures", {}).items()}
        signatures.setdefault(self.user_id, {})[self.key_id] = signature
        return {**value, "signatures": signatures}


@frozen
class Device:
    signer: Signer
    curve25519: str = field(factory=random_key)

    @classmethod
    def of(cls, user_id: str, device_id: str) -> "Device":
        return cls(Signer(user_id, device_id))

    @property
    def keys(self) -> JsonObject:
        """As `device_keys` of an upload."""
        user_id, device_id = self.signer.user_id, self.signer.name
        return self.signer.sign(
            {
                "user_id": user_id,
                "device_id": device_id,
                "algorithms": ALGORITHMS,
                "keys": {
                    f"curve25519:{device_id}": self.curve25519,
                    f"ed25519:{device_id}": self.signer.public_key,
                },
            }
        )

    def one_time_keys(self, *names: str, **more: Any) -> JsonObject:
        """By `signed_curve25519:<name>`; `more` are further fields of each key."""
        return {
            f"signed_curve25519:{name}": self.signer.sign({"key": random_key(), **more}) for name in names
        }

    def fallback_keys(self, name: str) -> JsonObject:
        return self.one_time_keys(name, fallback=True)


@frozen
class Identity:
    """The three cross-signing keys of a user."""

    user_id: str
    master: Signer
    self_signing: Signer
    user_signing: Signer

    @classmethod
    def of(cls, user_id: str) -> "Identity":
        return cls(user_id, *(Signer(user_id, "") for _ in range(3)))

    def key(self, usage: str) -> JsonObject:
        signer: Signer = getattr(self, usage)
        value = {
            "user_id": self.user_id,
            "usage": [usage],
            "keys": {signer.key_id: signer.public_key},
        }
        return value if usage == "master" else self.master.sign(value)

    @property
    def upload(self) -> JsonObject:
        """The body of `keys/device_signing/upload`."""
        return {f"{usage}_key": self.key(usage) for usage in ("master", "self_signing", "user_signing")}
