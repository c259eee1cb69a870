"""How long Python's garbage collector stops the process: nothing else runs meanwhile."""

import gc
from time import perf_counter
from typing import Any

from prometheus_client import CollectorRegistry, Gauge


class GcPauses:
    """The longest one since `start`, and all together, in seconds. One of a process.

    The numbers are plain ones, and metrics ask for them: a collection may begin while a metric holds its lock.
    """

    def __init__(self, metrics: CollectorRegistry) -> None:
        self.longest = 0.0
        self.together = 0.0
        self._began = 0.0
        longest = Gauge(
            "synapse_lite_gc_longest_pause_seconds",
            "The longest time for which a garbage collection has stopped the process since its start",
            registry=metrics,
        )
        longest.set_function(lambda: self.longest)
        together = Gauge(
            "synapse_lite_gc_pause_seconds",
            "For how long garbage collections have stopped the process since its start, together",
            registry=metrics,
        )
        together.set_function(lambda: self.together)

    def start(self) -> None:
        gc.callbacks.append(self._on_collection)

    def stop(self) -> None:
        gc.callbacks.remove(self._on_collection)

    def _on_collection(self, phase: str, _info: dict[str, Any]) -> None:
        if phase == "start":
            self._began = perf_counter()
            return
        seconds = perf_counter() - self._began
        self.together += seconds
        self.longest = max(self.longest, seconds)
