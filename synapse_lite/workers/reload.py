"""What SIGHUP asks for: files that change while the process runs, such as a certificate, are read anew."""

import logging
import signal
from collections.abc import Callable
from typing import Any

from synapse_lite.errors import ConfigError

logger = logging.getLogger(__name__)


class Reload:
    """Each of `parts` reads its files anew; on ConfigError what was in force before remains. One of a process."""

    def __init__(self, reactor: Any, *parts: Callable[[], None]) -> None:
        self._reactor = reactor
        self.parts = [*parts]

    def listen(self) -> None:
        """From now on a SIGHUP, which else would end the process, is answered as soon as the reactor runs."""
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self.reload))

    def reload(self) -> None:
        mistakes = 0
        for part in self.parts:
            try:
                part()
            except ConfigError as error:
                mistakes += 1
                logger.error("SIGHUP: what was in force remains: %s", error)  # noqa: TRY400 (the operator's fault)
        if not mistakes:
            logger.info("SIGHUP: the log configuration and the certificates are read anew")
