"""Telling other servers: what goes into their queues, and how it gets from there to them."""

from synapse_lite.handlers.federation.sending.follower import FEDERATION, FederationFollower
from synapse_lite.handlers.federation.sending.sender import TOPIC, FederationSender

__all__ = ["FEDERATION", "TOPIC", "FederationFollower", "FederationSender"]
