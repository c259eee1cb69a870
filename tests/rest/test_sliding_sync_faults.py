"""A model is worth what it finds: each of these faults, put in by hand, makes it fail."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from attrs import evolve
from pytest_twisted import ensureDeferred

from synapse_lite.handlers.sliding_sync.extensions import Extensions
from synapse_lite.handlers.sliding_sync.listings import Listing, Listings
from synapse_lite.handlers.sliding_sync.rooms import JoinedRooms, Known, SlidingRoomReader
from synapse_lite.handlers.sliding_sync.scene import Scene
from synapse_lite.handlers.sliding_sync.settled import SettledClients
from synapse_lite.handlers.sync.windows import Window, newest
from tests.rest.conftest import BuildServer
from tests.rest.followers import SlidingFollower
from tests.rest.happenings import FOLLOWED, Act, Happenings
from tests.rest.test_sliding_sync_model import (
    EVERYTHING,
    EXTENSIONS,
    ON,
    Poll,
    SlidingPoll,
    Step,
    Watch,
    compare_clients,
)
from tests.server import OPEN
from tests.tasks.steps import Steps

ALICE, BOB, CAROL = 0, FOLLOWED, 2
TEA, CAKE, LEFT = 0, 1, 3  # rooms
NARROW = {
    "lists": {"all": {"ranges": [[0, 0]], "required_state": [["*", "*"]], "timeline_limit": 1}},
    "extensions": dict.fromkeys(EXTENSIONS, ON),
}
Fault = Callable[[pytest.MonkeyPatch], None]


def poll(body: Any = None, process: int = 0, lost: int = 0) -> SlidingPoll:
    return SlidingPoll(body and {**body, "room_subscriptions": {}}, frozenset(), process, lost)


def act(kind: str, who: int = ALICE, room: int = TEA, n: int = 0) -> Act:
    return Act(kind, who, room, n, BOB)


STEPS: list[Step] = [
    Act("room", ALICE, TEA, 1, BOB),
    act("join", BOB, LEFT),
    Poll(3, 0),
    poll(NARROW),
    poll(),
    Watch([act("message")]),
    poll(EVERYTHING),
    poll(),
    Watch([act("message"), act("message", CAROL, CAKE), act("react")]),
    act("return", BOB, n=1),
    poll(lost=1),
    *[act("message")] * 5,
    poll(),
    act("receipt", BOB),
    poll(),
    act("tag", BOB),
    poll(lost=1),
    act("tag", BOB, n=1),
    poll(process=1),
    act("leave", BOB, LEFT),
    act("message", CAROL, CAKE),
    poll(NARROW),
    *[act("message", CAROL, CAKE)] * 4,
    act("message"),
    poll(),
    act("message", CAROL, CAKE),
    poll(),
    *[act("message")] * 2,
    act("name", n=5),
    poll(EVERYTHING),
]


def _stays_away(patch: pytest.MonkeyPatch) -> None:
    """A leave is not told."""
    patch.setattr(Scene, "departed", property(lambda _self: {}))


def _never_left(patch: pytest.MonkeyPatch) -> None:
    """Who left and came back is taken for having stayed."""
    sort = SlidingRoomReader.sort

    def wrong(self: Any, reading: Any, rooms: Any, known: Mapping[int, Known]) -> JoinedRooms:
        found = sort(self, reading, rooms, known)
        return JoinedRooms([nid for nid in rooms if nid not in known], known, found.deltas)

    patch.setattr(SlidingRoomReader, "sort", wrong)


def _no_gaps(patch: pytest.MonkeyPatch) -> None:
    """A gap without `limited`."""

    def wrong(*arguments: Any) -> Window:
        return evolve(newest(*arguments), limited=False)

    patch.setattr("synapse_lite.handlers.sliding_sync.timelines.newest", wrong)


def _known_up_to_now(patch: pytest.MonkeyPatch) -> None:
    """A room out of the window counts as known up to now."""
    patch.setattr(Scene, "upto", lambda self, _nid: self.since)


def _no_counts(patch: pytest.MonkeyPatch) -> None:
    """Counts are not told."""
    patch.setattr(Extensions, "counts", lambda *_arguments: {})


def _told_once(patch: pytest.MonkeyPatch) -> None:
    """Tags come to begin with only."""
    of_rooms = Extensions.of_rooms

    def wrong(self: Any, reading: Any, rooms: Any, configs: Any, before: Any, _changes: Any) -> Any:
        return of_rooms(self, reading, rooms, configs, before, ())

    patch.setattr(Extensions, "of_rooms", wrong)


def _as_it_was(patch: pytest.MonkeyPatch) -> None:
    """A list in memory does not follow what happens."""
    read = Listings.read

    def wrong(self: Listings, txn: Any, user_id: str, recent: Any, position: int) -> Listing:
        known = self._cache.get(user_id)
        return evolve(known, position=position) if known else read(self, txn, user_id, recent, position)

    patch.setattr(Listings, "read", wrong)


def _settled_for_ever(patch: pytest.MonkeyPatch) -> None:
    """Memory takes every client for one that knows all it looks at."""
    patch.setattr(SettledClients, "has", lambda *_arguments: True)


FAULTS: list[Fault] = [
    _stays_away,
    _never_left,
    _no_gaps,
    _known_up_to_now,
    _no_counts,
    _told_once,
    _as_it_was,
    _settled_for_ever,
]


async def _play(build_server: BuildServer) -> None:
    one = await build_server(**OPEN)
    steps = Steps(one.database)
    await steps.open()
    servers = [one, await build_server(bus=one.bus, **OPEN)]
    witness = await build_server(bus=one.bus, **OPEN)
    await compare_clients(Happenings(servers, steps), SlidingFollower, STEPS, witness)


@ensureDeferred
async def test_without_a_fault(build_server: BuildServer) -> None:
    """Else the others show nothing."""
    await _play(build_server)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__.strip("_"))
@ensureDeferred
async def test_faults_are_found(
    build_server: BuildServer, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    """A client ends with something else than one of /sync, or cannot make sense of what it is told."""
    fault(monkeypatch)
    with pytest.raises((AssertionError, KeyError)):
        await _play(build_server)
