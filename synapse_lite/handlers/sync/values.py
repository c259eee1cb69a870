"""What /sync is asked, and what it found before it is written down."""

from collections.abc import Sequence

from attrs import frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.auth import Requester
from synapse_lite.handlers.filters import SyncFilter
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import View


@frozen
class SyncRequest:
    """`since` is a position of the stream, None for an initial sync; `timeout_ms` how long to wait."""

    requester: Requester
    since: int | None
    timeout_ms: int
    filter: SyncFilter
    full_state: bool = False

    @property
    def user_id(self) -> str:
        return self.requester.user_id

    @property
    def is_lazy(self) -> bool:
        """Whether only those members are wanted who say something."""
        return self.filter.state.lazy_load_members


@frozen
class Reading:
    """The reading of a sync: in which transaction, for whom, of which stretch of the stream."""

    txn: Transaction
    request: SyncRequest
    since: int
    position: int
    now_ms: int


@frozen
class RoomDelta:
    """What is new in a joined or left room. `prev_batch` is the position before the timeline."""

    room_id: str
    timeline: Sequence[View] = ()
    limited: bool = False
    prev_batch: int = 0
    state: Sequence[View] = ()
    account_data: Sequence[JsonObject] = ()
    ephemeral: Sequence[JsonObject] = ()
    summary: JsonObject | None = None

    @property
    def is_empty(self) -> bool:
        return not (self.timeline or self.limited or self.state or self.account_data or self.ephemeral)


@frozen
class Invitation:
    """A room to which the user is invited, or at whose door they knock: its stripped state."""

    room_id: str
    events: Sequence[JsonObject]


@frozen
class SyncResult:
    """Everything up to `position`."""

    position: int
    joined: Sequence[RoomDelta] = ()
    left: Sequence[RoomDelta] = ()
    invited: Sequence[Invitation] = ()
    knocked: Sequence[Invitation] = ()
    account_data: Sequence[JsonObject] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.joined or self.left or self.invited or self.knocked or self.account_data)
