"""Where clients are that this process serves: who only waits for news asks the database for it now and then."""

from attrs import evolve, frozen

from synapse_lite.handlers.sliding_sync.values import Pos
from synapse_lite.storage.cache import Cache
from synapse_lite.storage.sliding_sync import ConnectionKey, SlidingPosition

REMEMBERED_CLIENTS = 10_000
KEPT_MS = 600_000  # the database tells when a connection was used last


@frozen
class _Confirmed:
    position: SlidingPosition
    read_ms: int


class ConfirmedPositions:
    """The last that each connection confirmed here.

    When another process has led the connection on since, a client that still comes with the old position is told
    what it does not know of then; only what would be written for it shows that the position is void.
    """

    def __init__(self) -> None:
        self._known: Cache[ConnectionKey, _Confirmed] = Cache(REMEMBERED_CLIENTS)

    def find(self, key: ConnectionKey, pos: Pos, now_ms: int) -> SlidingPosition | None:
        known = self._known.get(key)
        if known is None or not 0 <= now_ms - known.read_ms < KEPT_MS:
            return None
        found = known.position
        is_same = pos.position_nid == found.position_nid and pos.position >= found.position
        return found if is_same else None

    def keep(self, key: ConnectionKey, position: SlidingPosition, now_ms: int) -> None:
        self._known.put(key, _Confirmed(evolve(position, rooms=None), now_ms))
