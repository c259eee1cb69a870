"""What sliding sync (MSC4186) is asked, and what it found before it is written down."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property

import orjson
from attrs import field, frozen

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.filters import EventFilter, SyncFilter
from synapse_lite.handlers.requester import Requester
from synapse_lite.handlers.sync.values import SyncRequest
from synapse_lite.matrix.event import StateKey
from synapse_lite.matrix.types import MEMBER
from synapse_lite.storage.events import View
from synapse_lite.storage.stream import Place

ANY, LAZY, ME = "*", "$LAZY", "$ME"
_APART = SyncFilter(timeline=EventFilter(unread_thread_notifications=True))
"""Counts without those of threads."""
Pattern = tuple[str, str]  # type and state key; `ANY`, `LAZY`, `ME` have their meaning


@frozen
class Selection:
    """State that is wanted, but for what is not."""

    include: frozenset[Pattern]
    exclude: frozenset[Pattern]

    def takes(self, key: StateKey, user_id: str) -> bool:
        return _matches(self.include, key, user_id) and not _matches(self.exclude, key, user_id)


@frozen
class RoomConfig:
    """What is wanted of a room: the state that any of `required` or the selections takes.

    `extensions` are those on that tell something of rooms.
    """

    required: frozenset[Pattern] = frozenset()
    timeline_limit: int = 0
    extensions: frozenset[str] = frozenset()
    selections: frozenset[Selection] = frozenset()

    def join(self, other: "RoomConfig") -> "RoomConfig":
        """What both want."""
        return RoomConfig(
            self.required | other.required,
            max(self.timeline_limit, other.timeline_limit),
            self.extensions | other.extensions,
            self.selections | other.selections,
        )

    @property
    def is_lazy(self) -> bool:
        return (MEMBER, LAZY) in self.required

    @property
    def patterns(self) -> frozenset[Pattern]:
        """What may be wanted."""
        return self.required.union(*(one.include for one in self.selections))

    @property
    def size(self) -> int:
        """The number of patterns."""
        return len(self.required) + sum(len(one.include) + len(one.exclude) for one in self.selections)

    def wants(self, key: StateKey, user_id: str) -> bool:
        """Whether this state is wanted whatever the timeline shows."""
        return _matches(self.required, key, user_id) or any(
            one.takes(key, user_id) for one in self.selections
        )

    def keys(self, user_id: str) -> frozenset[StateKey] | None:
        """All state that may be wanted; None where that cannot be named."""
        found = frozenset((kind, user_id if key == ME else key) for kind, key in self.patterns)
        return None if any(ANY in key for key in found) else found

    def wants_more_than(self, other: "RoomConfig") -> bool:
        return bool(self.required - other.required or self.selections - other.selections)

    @cached_property
    def text(self) -> str:
        """The same for the same config."""
        selections = sorted((sorted(one.include), sorted(one.exclude)) for one in self.selections)
        parts = [sorted(self.required), self.timeline_limit, sorted(self.extensions), selections]
        return orjson.dumps(parts).decode()

    @classmethod
    def decode(cls, text: str) -> "RoomConfig":
        required, limit, extensions, selections = orjson.loads(text)
        return cls(
            _patterns(required),
            limit,
            frozenset(extensions),
            frozenset(Selection(_patterns(one), _patterns(other)) for one, other in selections),
        )


def _matches(patterns: frozenset[Pattern], key: StateKey, user_id: str) -> bool:
    kind, state_key = key
    keys = (state_key, ANY, ME) if state_key == user_id else (state_key, ANY)
    return any((one, other) in patterns for one in (kind, ANY) for other in keys)


def _patterns(pairs: Iterable[tuple[str, str]]) -> frozenset[Pattern]:
    return frozenset((kind, key) for kind, key in pairs)


def joined_configs(configs: Iterable[RoomConfig]) -> RoomConfig:
    found = RoomConfig()
    for config in configs:
        found = found.join(config)
    return found


@frozen
class ListFilters:
    """None: whatever. All of them must hold."""

    is_dm: bool | None = None
    is_encrypted: bool | None = None
    is_invite: bool | None = None
    spaces: Collection[str] | None = None
    room_types: Collection[str | None] | None = None
    not_room_types: Collection[str | None] = ()
    room_name_like: str | None = None
    tags: Collection[str] | None = None
    not_tags: Collection[str] = ()


@frozen
class RoomList:
    """`ranges` are inclusive; None: all rooms."""

    config: RoomConfig
    ranges: Sequence[tuple[int, int]] | None
    filters: ListFilters = ListFilters()


@frozen
class Extension:
    """Of those that tell of rooms: in which lists and rooms; `ANY` stands for all."""

    lists: Collection[str] = (ANY,)
    rooms: Collection[str] = (ANY,)


@frozen
class Pos:
    """A row of what the client knows, how far the stream had come, and how often that was said before."""

    position_nid: int
    position: int
    repeated: int = 0

    def __str__(self) -> str:
        return f"p{self.position_nid}_{self.position}" + (f"_{self.repeated}" if self.repeated else "")


@frozen
class SlidingRequest:
    """`extensions` are those that are on, `asked` a digest of what is asked for. `is_merged`: in the form in which
    MSC4186 was merged, not in that which most clients speak.

    `to_device_since`: the client has the messages up to this position.
    """

    requester: Requester
    conn_id: str
    pos: Pos | None
    timeout_ms: int
    lists: Mapping[str, RoomList]
    subscriptions: Mapping[str, RoomConfig]
    extensions: Mapping[str, Extension]
    to_device_since: int | None = None
    to_device_limit: int = 100
    subscriptions_limit: int = 100
    asked: str = ""
    ignored: frozenset[str] = frozenset()
    is_merged: bool = False

    @property
    def user_id(self) -> str:
        return self.requester.user_id

    def as_sync(self, since: int | None) -> SyncRequest:
        """As the sections of /sync are asked."""
        return SyncRequest(
            self.requester,
            since,
            self.timeout_ms,
            _APART if self.is_merged else SyncFilter(),
            delivered=self.to_device_since,
            most_messages=self.to_device_limit,
            most_subscriptions=self.subscriptions_limit,
        ).ignoring(self.ignored)


@frozen
class SlidingRoom:
    """What is new of a room; None: nothing to say about that. `invite_state`: of invites and knocks.

    `unset` is state that is set no longer, `lists` are those that show the room.
    """

    room_id: str
    membership: str
    initial: bool = False
    expanded: bool = False
    required_state: Sequence[View] = ()
    timeline: Sequence[View] = ()
    limited: bool | None = None
    prev_batch: Place | None = None
    num_live: int | None = None
    invite_state: Sequence[JsonObject] | None = None
    summary: JsonObject = field(factory=dict)  # name, avatar, heroes, counts, is_dm …
    bump_stamp: int | None = None
    counts: JsonObject | None = None
    unset: Sequence[StateKey] = ()
    lists: Sequence[str] = ()


@frozen
class ShownList:
    count: int
    ops: Sequence[tuple[tuple[int, int], Sequence[str]]]  # the range, and its rooms in order


@frozen
class SlidingResult:
    """`is_news`: whether the client should not wait any longer."""

    position: int
    lists: Mapping[str, ShownList]
    rooms: Sequence[SlidingRoom]
    extensions: JsonObject
    is_news: bool
