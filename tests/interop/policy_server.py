"""A policy server of the test: it recommends everything in which nobody says "spam"."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from attrs import define, field

from synapse_lite.canonical_json import JsonObject
from synapse_lite.matrix.event import essence
from synapse_lite.matrix.policy import KEY_ID
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.matrix.signing import SigningKey, encode_base64, generate_signing_key
from tests.interop.peer import Peer, running
from tests.processes.neighbours import Neighbours


@define
class PolicyServer(Peer):
    """`asked` says who asked about what, in order: names of servers, with texts."""

    policy_key: SigningKey = field(factory=lambda: generate_signing_key("policy"))
    asked: list[tuple[str, Any]] = field(factory=list)

    @property
    def content(self) -> JsonObject:
        """Of `m.room.policy`."""
        public_key = encode_base64(bytes(self.policy_key.verify_key))
        return {"via": self.name, "public_keys": {"ed25519": public_key}}

    def answer(self, path: str, origin: str, body: Any) -> tuple[int, JsonObject]:
        if path != "/_matrix/policy/v1/sign":
            return super().answer(path, origin, body)
        text = body["content"].get("body")
        self.asked.append((origin, text))
        if text == "spam":
            return 400, {"errcode": "M_FORBIDDEN", "error": "spam"}
        return 200, {self.name: {KEY_ID: self.policy_key.sign_bytes(essence(body, self.version))}}


@contextmanager
def policy_server(neighbours: Neighbours, version: str) -> Iterator[PolicyServer]:
    """One that runs."""
    policy = PolicyServer(neighbours, ROOM_VERSIONS[version])
    with running(policy):
        yield policy
