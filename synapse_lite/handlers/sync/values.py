"""What /sync is asked, and what it found before it is written down."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from attrs import evolve, field, frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.filters import SyncFilter
from synapse_lite.handlers.requester import Requester
from synapse_lite.matrix.presence import EVENT_TYPE as PRESENCE
from synapse_lite.storage.database import Transaction
from synapse_lite.storage.events import View
from synapse_lite.storage.stream import START, Place

Part = JsonObject | Sequence[object]  # of an answer: what a section shows
RoomIds = Mapping[int, str]  # by nid


@frozen
class SyncRequest:
    """`since` is a position of the stream, None for an initial sync; `timeout_ms` how long to wait.

    `delivered`: messages to the device up to this position were in the answer whose token this is; of others
    come at most `most_messages`. `state_after`: under this name the state at the end of the timelines, instead of
    that at their start.
    """

    requester: Requester
    since: int | None
    timeout_ms: int
    filter: SyncFilter
    full_state: bool = False
    delivered: int | None = None
    ignored: frozenset[str] = frozenset()
    most_messages: int | None = None
    most_subscriptions: int = 100
    state_after: str | None = None

    def ignoring(self, users: frozenset[str]) -> "SyncRequest":
        """The same, without messages and invites of these users."""
        if not users:
            return self
        timeline = evolve(self.filter.timeline, ignored=users)
        return evolve(self, ignored=users, filter=evolve(self.filter, timeline=timeline))

    @property
    def left_messages(self) -> bool:
        """Whether that answer had no room for all messages to the device."""
        return self.delivered is not None and self.since is not None and self.delivered < self.since

    @property
    def user_id(self) -> str:
        return self.requester.user_id

    @property
    def device_id(self) -> str | None:
        return self.requester.device_id

    @property
    def takes_presence(self) -> bool:
        return self.filter.presence.takes_type(PRESENCE)

    @property
    def is_lazy(self) -> bool:
        """Whether only those members are wanted who say something."""
        return self.filter.state.lazy_load_members


@frozen
class Reading:
    """The reading of a sync: in which transaction, for whom, of which stretch of the stream.

    `joined` are all the rooms that the user is in at `position`, whatever the filter takes; `newly_joined`
    those of them that they were not in all the time, `left` the rooms that they were in and are no longer.
    `touched` are the rooms in which something happened after `since`, None: that is not known. `memo`: what several
    sections show, read once.
    """

    txn: Transaction
    request: SyncRequest
    since: int
    position: int
    now_ms: int
    joined: Collection[int] = ()
    newly_joined: Collection[int] = ()
    left: Collection[int] = ()
    touched: Collection[int] | None = None
    memo: dict[str, Any] = field(factory=dict)

    @property
    def end(self) -> Place:
        return Place(self.position)


@frozen
class Delivered:
    """A part that carries messages to the device up to a position, None: all; the token of the answer says so."""

    part: Part
    upto: int | None


@frozen
class RoomDelta:
    """What is new in a joined or left room. `prev_batch` is the place before the timeline.

    `parts` is what sections show of it, by key; `is_news`: whether something of that is new.
    """

    room_id: str
    timeline: Sequence[View] = ()
    limited: bool = False
    prev_batch: Place = START
    state: Sequence[View] = ()
    parts: Mapping[str, Part] = field(factory=dict)
    is_news: bool = False

    @property
    def is_empty(self) -> bool:
        return not (self.timeline or self.limited or self.state or self.is_news)


@frozen
class Invitation:
    """A room to which the user is invited, or at whose door they knock: its stripped state."""

    room_id: str
    events: Sequence[JsonObject]


@frozen
class SyncResult:
    """Everything up to `position`. `parts` is what sections show, by key; `is_news` as of a `RoomDelta`.

    `delivered`: the parts carry messages to the device up to this position.
    """

    position: int
    joined: Sequence[RoomDelta] = ()
    left: Sequence[RoomDelta] = ()
    invited: Sequence[Invitation] = ()
    knocked: Sequence[Invitation] = ()
    parts: Mapping[str, Part] = field(factory=dict)
    is_news: bool = False
    delivered: int | None = None

    @property
    def is_empty(self) -> bool:
        return not (self.joined or self.left or self.invited or self.knocked or self.is_news)
