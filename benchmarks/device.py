"""A device with real keys, as far as a server looks at them."""

import secrets
from base64 import b64encode

import attrs
import orjson
from nacl.signing import SigningKey

from benchmarks.client import CLIENT, Json, User

ALGORITHM = "signed_curve25519"


@attrs.frozen
class Device:
    user: User
    device_id: str
    key: SigningKey = attrs.field(factory=SigningKey.generate)

    @classmethod
    async def of(cls, user: User) -> "Device":
        """The device of the user's token, with its keys uploaded."""
        me = await user.call("GET", f"{CLIENT}/account/whoami")
        device = cls(user, me["device_id"])
        await user.call("POST", f"{CLIENT}/keys/upload", {"device_keys": device._public()})
        return device

    async def upload_one_time_keys(self, count: int) -> None:
        """New ones, beside those that are there."""
        names = [f"{ALGORITHM}:{secrets.token_hex(8)}" for _ in range(count)]
        keys = {name: self._sign({"key": _random_key()}) for name in names}
        await self.user.call("POST", f"{CLIENT}/keys/upload", {"one_time_keys": keys})

    def _public(self) -> Json:
        names = {"user_id": self.user.user_id, "device_id": self.device_id}
        keys = {
            f"curve25519:{self.device_id}": _random_key(),
            f"ed25519:{self.device_id}": _base64(bytes(self.key.verify_key)),
        }
        algorithms = ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"]
        return self._sign({**names, "algorithms": algorithms, "keys": keys})

    def _sign(self, value: Json) -> Json:
        signed = self.key.sign(orjson.dumps(value, option=orjson.OPT_SORT_KEYS))
        signature = {f"ed25519:{self.device_id}": _base64(signed.signature)}
        return {**value, "signatures": {self.user.user_id: signature}}


def _random_key() -> str:
    return _base64(secrets.token_bytes(32))


def _base64(data: bytes) -> str:
    return b64encode(data).decode().rstrip("=")
