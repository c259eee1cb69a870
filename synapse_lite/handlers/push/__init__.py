"""Push notifications: which apps there are, what they are to hear of, and telling them."""

from synapse_lite.handlers.push.follower import PUSH, PushFollower
from synapse_lite.handlers.push.gateway import Gateways
from synapse_lite.handlers.push.pushers import ENABLED, Pushers
from synapse_lite.handlers.push.pushes import PushReader
from synapse_lite.handlers.push.sender import AT_ONCE, PushSender
from synapse_lite.handlers.push.sender import TOPIC as PUSHERS
from synapse_lite.storage.pushers import Pusher

__all__ = [
    "AT_ONCE",
    "ENABLED",
    "PUSH",
    "PUSHERS",
    "Gateways",
    "PushFollower",
    "PushReader",
    "PushSender",
    "Pusher",
    "Pushers",
]
