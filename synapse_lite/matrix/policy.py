"""Policy servers: who has to recommend the events of a room (server-server API, "Policy Servers")."""

from collections.abc import Mapping
from typing import Any, Final

import attrs
from attrs import frozen
from nacl.signing import VerifyKey

from synapse_lite.matrix.event import Event, StateKey, verify_event
from synapse_lite.matrix.event_format import check_format
from synapse_lite.matrix.signing import SignatureError, read_verify_key
from synapse_lite.matrix.types import ROOM_POLICY

POLICY: Final[StateKey] = (ROOM_POLICY, "")
KEY_ID: Final = "ed25519:policy_server"
MAX_NAME = 255


@frozen
class PolicyServer:
    """Whom a room asks, and the key with which it answers."""

    server_name: str
    key: VerifyKey

    def recommends(self, event: Event) -> bool:
        """Whether the event carries its signature."""
        try:
            verify_event(event.pdu, event.version, self.server_name, KEY_ID, self.key)
        except SignatureError:
            return False
        return True


def read_policy(event: Event | None) -> PolicyServer | None:
    """Whom the event, a room's `m.room.policy`, names; None where it is not valid: the room asks nobody."""
    if event is None:
        return None
    via, keys = event.content.get("via"), event.content.get("public_keys")
    key = keys.get("ed25519") if isinstance(keys, dict) else None
    if not isinstance(via, str) or not 0 < len(via) <= MAX_NAME or not isinstance(key, str):
        return None
    try:
        return PolicyServer(via, read_verify_key(key))
    except ValueError:
        return None


def is_exempt(event_type: str, state_key: str | None) -> bool:
    """The event that names the policy server, so that a room can always part from it."""
    return (event_type, state_key) == POLICY


def with_recommendation(event: Event, policy: PolicyServer, answer: Mapping[str, Any]) -> Event:
    """The event with the signature that the server answers, beside all others that it has.

    `SignatureError` when there is none or a wrong one in the answer, 413 `M_TOO_LARGE` when the event gets too large by it.
    """
    given = answer.get(policy.server_name)
    signature = given.get(KEY_ID) if isinstance(given, dict) else None
    if not isinstance(signature, str):
        raise SignatureError(f"{policy.server_name} does not sign {event.event_id}")
    signatures = event.pdu["signatures"]
    own = {**signatures.get(policy.server_name, {}), KEY_ID: signature}
    pdu = {**event.pdu, "signatures": {**signatures, policy.server_name: own}}
    verify_event(pdu, event.version, policy.server_name, KEY_ID, policy.key)
    check_format(pdu, event.version)
    return attrs.evolve(event, pdu=pdu)
