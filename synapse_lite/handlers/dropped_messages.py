"""Messages to devices that do not come for them: beyond a bound the oldest are dropped, and operators see it."""

import logging
from collections.abc import Mapping
from itertools import islice

from prometheus_client import CollectorRegistry, Counter

from synapse_lite.storage.to_device import Address

logger = logging.getLogger(__name__)

MAX_LOGGED = 10  # devices


class DroppedMessages:
    """Of any thread. A device that comes back cannot be told: no message of the specification says that some are missing."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._counter = Counter(
            "synapse_lite_to_device_dropped",
            "Messages to devices that were dropped, the oldest of a full inbox (the log says whose)",
            registry=registry,
        )

    def note(self, dropped: Mapping[Address, int]) -> None:
        """How many of each device."""
        if not dropped:
            return
        self._counter.inc(sum(dropped.values()))
        for address, messages in islice(dropped.items(), MAX_LOGGED):
            logger.warning(
                "%d messages to device %s of %s, which does not fetch them, are dropped",
                messages, address.device_id, address.user_id,
            )  # fmt: skip
        if len(dropped) > MAX_LOGGED:
            logger.warning("and messages to %d other devices", len(dropped) - MAX_LOGGED)
