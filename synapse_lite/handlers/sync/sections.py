"""What /sync carries beside events, one object for each thing (client-server API, "Syncing").

v3 and sliding sync use the same objects. `initial`, `since` and `read` run in a database thread, in the
snapshot of the whole answer; `live` answers a long poll from memory, and may say `UNKNOWN`: then the
database is read. What `live` needs from elsewhere `prepare` brings into memory first, on the reactor.
"""

from abc import ABC, abstractmethod
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from functools import cached_property
from typing import Any, ClassVar, Final, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred

from synapse_lite.canonical_json import JsonObject
from synapse_lite.handlers.at_once import all_at_once
from synapse_lite.handlers.sync.values import Delivered, Part, Reading, RoomIds, SyncRequest
from synapse_lite.storage.stream import Change, Kind


class Unknown(Enum):
    UNKNOWN = "unknown"


UNKNOWN: Final = Unknown.UNKNOWN
NO_EVENTS: Final[Part] = {"events": []}


@frozen
class Quiet:
    """A part that ends no long poll, though its section is news as a rule."""

    part: Part


Shown = Part | Delivered | Quiet


Preparing = Coroutine[Deferred[Any], Any, None]


class SyncSection(ABC):
    """A part of the answer that belongs to no room: account data, to-device messages, key counts …

    `key`: its name in the answer. `kinds`: the changes that concern it; the `changes` below are those of these
    kinds that are the user's or their rooms', in order. What is not `is_news` ends no long poll, but comes with
    every answer. None: nothing to show, the key is left out.
    """

    key: ClassVar[str]
    kinds: ClassVar[frozenset[Kind]]
    is_news: ClassVar[bool] = True

    @abstractmethod
    def initial(self, reading: Reading) -> Shown | None:
        """For a client that knows nothing."""

    @abstractmethod
    def since(self, reading: Reading, changes: Sequence[Change]) -> Shown | None:
        """What is new after `reading.since`. No events are among the changes, nor what others share."""

    def prepare(self, request: SyncRequest, changes: Sequence[Change]) -> Preparing | None:  # noqa: ARG002
        """Bring into memory what `live` needs; None: it is there, or the section needs nothing."""
        return None

    @abstractmethod
    def live(self, request: SyncRequest, changes: Sequence[Change]) -> Shown | Unknown | None:
        """As `since`, without I/O."""

    async def acknowledge(self, request: SyncRequest) -> None:  # noqa: B027
        """The client has everything up to `request.since`: called once for each request that has one, first."""


class RoomSection(ABC):
    """A part of each joined room: receipts, typing, account data, summary, unread counts …

    `key`: its name in the room; the `events` of sections with the same key stand in one list. `kinds`, `is_news`
    as of a `SyncSection`. `none`: what is shown of a room that has nothing of it; None: the key is left out.
    `extension`: that of sliding sync which shows it.
    """

    key: ClassVar[str]
    extension: ClassVar[str | None] = None
    kinds: ClassVar[frozenset[Kind]]
    is_news: ClassVar[bool] = True
    none: ClassVar[Part | None] = None

    @abstractmethod
    def read(
        self, reading: Reading, rooms: RoomIds, changes: Sequence[Change] | None
    ) -> Mapping[int, JsonObject]:
        """By room nid. `changes` None: for a client that knows nothing of the rooms.

        Of events only those are among the changes that the answer shows.
        """

    async def prepare(self, request: SyncRequest, rooms: RoomIds, changes: Sequence[Change]) -> None:  # noqa: B027
        """Bring into memory what `live` needs."""

    @abstractmethod
    def live(
        self, request: SyncRequest, rooms: RoomIds, changes: Sequence[Change]
    ) -> Mapping[int, JsonObject] | Unknown:
        """As `read`, without I/O, for rooms that the client knows; all events are among the changes.

        Only called, as `prepare`, when there are changes of its kinds.
        """


S = TypeVar("S", SyncSection, RoomSection)


async def prepare(sections: Iterable[SyncSection], request: SyncRequest, changes: Sequence[Change]) -> None:
    """All of them, at the same time: to wait for a thread costs more than what most of them read."""
    found = [section.prepare(request, theirs) for section, theirs in by_section(sections, changes)]
    preparing = [one for one in found if one is not None]
    if preparing:
        await all_at_once(preparing)


def of_kinds(changes: Iterable[Change], kinds: frozenset[Kind]) -> list[Change]:
    return [change for change in changes if change.kind in kinds]


def by_section(sections: Iterable[S], changes: Sequence[Change]) -> Iterator[tuple[S, Sequence[Change]]]:
    """Each section with the changes of its kinds: most have none, and there are many sections."""
    kinds = {change.kind for change in changes}
    for section in sections:
        yield section, () if section.kinds.isdisjoint(kinds) else of_kinds(changes, section.kinds)


@frozen
class Sections:
    """All sections, in the order of the answer. The lists are complete before the first request."""

    user: Sequence[SyncSection] = ()
    room: Sequence[RoomSection] = ()

    @cached_property
    def kinds(self) -> frozenset[Kind]:
        of_user = (section.kinds for section in self.user)
        return frozenset[Kind]().union(*of_user, *(section.kinds for section in self.room))

    @cached_property
    def none(self) -> Mapping[str, Part]:
        """What is shown of a room that has nothing, by key."""
        return {section.key: section.none for section in self.room if section.none is not None}


@frozen
class UserParts:
    """What the sections show that belong to no room, as a `SyncResult` has it."""

    parts: Mapping[str, Part]
    is_news: bool
    delivered: int | None

    @classmethod
    def gather(cls, found: Iterable[tuple[SyncSection, Shown | None]], position: int) -> "UserParts":
        """`position` is that of the answer."""
        parts: dict[str, Part] = {}
        is_news, delivered = False, None
        for section, part in found:
            if part is None:
                continue
            is_news = is_news or (section.is_news and not isinstance(part, Quiet))
            if isinstance(part, Delivered):
                delivered = position if part.upto is None else part.upto
            parts[section.key] = part.part if isinstance(part, Delivered | Quiet) else part
        return cls(parts, is_news, delivered)

    @classmethod
    def live(
        cls,
        sections: Iterable[SyncSection],
        request: SyncRequest,
        changes: Sequence[Change],
        position: int,
    ) -> "UserParts | Unknown":
        """What the sections show from memory."""
        found: list[tuple[SyncSection, Shown | None]] = []
        for section, theirs in by_section(sections, changes):
            part = section.live(request, theirs)
            if isinstance(part, Unknown):
                return UNKNOWN
            found.append((section, part))
        return cls.gather(found, position)


@frozen
class RoomParts:
    """The parts of rooms, by room nid and key; `news`: the rooms that show something new in them."""

    parts: Mapping[int, dict[str, Part]]
    news: frozenset[int]


def gather(found: Iterable[tuple[RoomSection, Mapping[int, JsonObject]]]) -> RoomParts:
    """What the sections found, put together by room."""
    parts: dict[int, dict[str, Part]] = {}
    news: set[int] = set()
    for section, by_room in found:
        if section.is_news:
            news.update(by_room)
        for nid, part in by_room.items():
            room = parts.setdefault(nid, {})
            known = room.get(section.key)
            room[section.key] = _merged(known, part) if isinstance(known, dict) else part
    return RoomParts(parts, frozenset(news))


def _merged(one: JsonObject, other: JsonObject) -> JsonObject:
    return {**one, **other, "events": [*one.get("events", ()), *other.get("events", ())]}
