"""Rooms that cannot be read: their readers get everything else, and operators see that there are some."""

from collections.abc import Iterable
from threading import Lock

from prometheus_client import CollectorRegistry, Gauge

REMEMBERED = 10_000


class BrokenRooms:
    """Those that this process last failed to read, by `room_nid`. Of any thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lock = Lock()
        self._rooms: set[int] = set()
        gauge = Gauge(
            "synapse_lite_broken_rooms",
            "Rooms whose events or state this process last failed to read, and leaves out (the log says which and why)",
            registry=registry,
        )
        gauge.set_function(lambda: len(self._rooms))

    def add(self, room_nid: int) -> None:
        with self._lock:
            if len(self._rooms) < REMEMBERED:
                self._rooms.add(room_nid)

    def remove(self, room_nids: Iterable[int]) -> None:
        """They were read."""
        if self._rooms:
            with self._lock:
                self._rooms.difference_update(room_nids)
