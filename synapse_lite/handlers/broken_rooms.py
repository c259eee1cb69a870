"""Rooms that cannot be read: their readers get everything else, and operators see that there are some."""

import logging
from collections.abc import Callable, Iterable, Mapping
from threading import Lock
from typing import TypeVar

from prometheus_client import CollectorRegistry, Gauge

from synapse_lite.storage.database import DatabaseError

logger = logging.getLogger(__name__)

REMEMBERED = 10_000
T = TypeVar("T")


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

    def __bool__(self) -> bool:
        return bool(self._rooms)

    def without_broken(
        self, rooms: Mapping[int, str], read: Callable[[Mapping[int, str]], T]
    ) -> tuple[list[T], frozenset[int]]:
        """What `read` finds, in pieces, and the rooms that are left out, as it fails with each of them.

        Errors of the database are raised: they are not the fault of a room.
        """
        if not rooms:
            return [], frozenset()
        try:
            return [read(rooms)], frozenset()
        except DatabaseError:
            raise
        except Exception as error:  # noqa: BLE001 (it is told, and concerns this room only)
            if len(rooms) == 1:
                self._add(rooms, error)
                return [], frozenset(rooms)
        nids = list(rooms)
        found: list[T] = []
        broken: frozenset[int] = frozenset()
        for half in (nids[: len(nids) // 2], nids[len(nids) // 2 :]):
            pieces, left_out = self.without_broken({nid: rooms[nid] for nid in half}, read)
            found += pieces
            broken |= left_out
        return found, broken

    def _add(self, rooms: Mapping[int, str], error: Exception) -> None:
        """Told once."""
        with self._lock:
            if self._rooms >= rooms.keys() or len(self._rooms) >= REMEMBERED:
                return
            self._rooms |= rooms.keys()
        logger.error("room %s cannot be read, and is left out", *rooms.values(), exc_info=error)

    def remove(self, room_nids: Iterable[int]) -> None:
        """They were read, and not only what is new in them."""
        if self._rooms:
            with self._lock:
                self._rooms.difference_update(room_nids)
