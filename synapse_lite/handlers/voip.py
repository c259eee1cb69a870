"""Credentials for TURN servers (client-server API, "Voice over IP"; the TURN REST API for the shared secret)."""

import base64
import hashlib
import hmac

from synapse_lite.canonical_json import JsonObject
from synapse_lite.clock import Clock
from synapse_lite.config.voip import VoipOptions
from synapse_lite.handlers.requester import Requester


class TurnServers:
    def __init__(self, options: VoipOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock

    def credentials(self, requester: Requester) -> JsonObject:
        """`uris`, `username`, `password`, and `ttl` in seconds; empty where there is nothing for the user."""
        options = self._options
        if not options.turn_uris or (requester.is_guest and not options.turn_allow_guests):
            return {}
        seconds = options.turn_user_lifetime // 1000
        if options.turn_shared_secret is not None:
            username = f"{self._clock.now_ms() // 1000 + seconds}:{requester.user_id}"
            password = _signature(options.turn_shared_secret, username)
        elif options.turn_username is not None and options.turn_password is not None:
            username, password = options.turn_username, options.turn_password
        else:
            return {}
        return {"username": username, "password": password, "ttl": seconds, "uris": list(options.turn_uris)}


def _signature(secret: str, username: str) -> str:
    """HMAC-SHA1, because TURN servers know no other."""
    return base64.b64encode(hmac.digest(secret.encode(), username.encode(), hashlib.sha1)).decode()
