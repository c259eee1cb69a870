"""What a feature of the server consists of: the parts that others call it through."""

from collections.abc import Awaitable, Iterable, Sequence
from typing import Protocol

from attrs import field, frozen

from synapse_lite.handlers.sync.sections import RoomSection, SyncSection
from synapse_lite.http.router import Route
from synapse_lite.rooms.values import Contributor
from synapse_lite.tasks.followers import RegisteredFollower


class Life(Protocol):
    """Something that is started once with the process, and stopped once."""

    def start(self) -> Awaitable[None] | None: ...

    def stop(self) -> Awaitable[None] | None: ...


@frozen
class Feature:
    """Built by `build(core)` of `workers/features/<name>.py`; all parts may be empty.

    `sync_sections` and `room_sections` answer a part of /sync. `contributors` write in the transaction of an
    event, `followers` read the stream behind it. `lives` are started in their order, and stopped in the reverse.
    """

    routes: Sequence[Route] = ()
    sync_sections: Sequence[SyncSection] = ()
    room_sections: Sequence[RoomSection] = ()
    contributors: Sequence[Contributor] = ()
    followers: Sequence[RegisteredFollower] = ()
    lives: Sequence[Life] = ()


@frozen
class Extensions:
    """The parts of all features that work inside of another one's.

    Who calls them is built before they are: it keeps the list, which is complete when the process starts.
    """

    sync_sections: list[SyncSection] = field(factory=list)
    room_sections: list[RoomSection] = field(factory=list)
    contributors: list[Contributor] = field(factory=list)
    followers: list[RegisteredFollower] = field(factory=list)

    def add(self, feature: Feature) -> None:
        self.sync_sections.extend(feature.sync_sections)
        self.room_sections.extend(feature.room_sections)
        self.contributors.extend(feature.contributors)
        self.followers.extend(feature.followers)


async def start_all(lives: Iterable[Life]) -> None:
    for life in lives:
        starting = life.start()
        if starting is not None:
            await starting


async def stop_all(lives: Iterable[Life]) -> None:
    """In the reverse order."""
    for life in reversed(tuple(lives)):
        stopping = life.stop()
        if stopping is not None:
            await stopping
