"""Processes tell each other "there is more". A message is a hint: whoever waits also polls, slowly."""

import logging
from collections import defaultdict
from collections.abc import Callable
from typing import Protocol

logger = logging.getLogger(__name__)

Callback = Callable[[str], None]


class Bus(Protocol):
    """For the reactor thread only.

    Messages of one topic may be merged: the latest payload wins. An empty payload may also mean that
    messages were missed. A topic is one word: it is the first of a message.
    """

    def publish(self, topic: str, payload: str = "") -> None: ...

    def subscribe(self, topic: str, callback: Callback) -> Callable[[], None]:
        """Call `callback(payload)` for each message; the result ends the subscription."""


class LocalBus:
    """The subscribers of one process, called at once."""

    def __init__(self) -> None:
        self._callbacks: defaultdict[str, list[Callback]] = defaultdict(list)

    def publish(self, topic: str, payload: str = "") -> None:
        for callback in tuple(self._callbacks[topic]):
            try:
                callback(payload)
            except Exception:
                logger.exception("a subscriber of %r failed", topic)

    def subscribe(self, topic: str, callback: Callback) -> Callable[[], None]:
        if " " in topic:
            raise ValueError(f"a topic is one word: {topic!r}")
        callbacks = self._callbacks[topic]
        callbacks.append(callback)
        return lambda: callbacks.remove(callback)

    def publish_missed(self) -> None:
        """Tell every subscriber that messages may have been lost."""
        for topic in tuple(self._callbacks):
            self.publish(topic)
