"""Says so in the log when two processes have one name: mostly one that was started twice by mistake.

Nothing breaks by it, as work is leased to processes and not to names. But each of them would be taken for the other.
"""

import logging

from synapse_lite.ids import random_text
from synapse_lite.replication.bus import Bus

logger = logging.getLogger(__name__)

TOPIC = "namesakes"
_ASKS, _ANSWERS = "asks", "answers"


class Namesakes:
    """Asks once, and answers whoever asks: only who lives does, so that one that died is not mistaken for another one."""

    def __init__(self, bus: Bus, name: str) -> None:
        self._bus = bus
        self._name = name
        self._own = random_text(8)
        self._unsubscribe = bus.subscribe(TOPIC, self._hear)

    def ask(self) -> None:
        self._tell(_ASKS)

    def stop(self) -> None:
        self._unsubscribe()

    def _tell(self, word: str) -> None:
        self._bus.publish(TOPIC, f"{self._own} {word} {self._name}")

    def _hear(self, payload: str) -> None:
        sender, word, name = payload.split(" ", 2) if payload else ("", "", "")
        if sender == self._own or name != self._name:
            return
        logger.warning(
            "another process is named %s, too, in this database: end one of them, or name it otherwise (worker_name)",
            name,
        )
        if word == _ASKS:
            self._tell(_ANSWERS)
