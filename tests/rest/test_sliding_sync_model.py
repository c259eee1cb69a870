"""Sliding sync tells what /sync tells, whatever happens and however a client looks at it."""

from collections.abc import Collection
from typing import Any

import orjson
import pytest
import pytest_twisted
from attrs import asdict, frozen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread, deferToThread

from synapse_lite.handlers.sliding_sync.handler import SlidingSyncHandler
from synapse_lite.handlers.sliding_sync.reading import ReadAnswer
from synapse_lite.handlers.sliding_sync.recent import Recent
from synapse_lite.handlers.sliding_sync.values import SlidingRequest
from synapse_lite.handlers.sliding_sync.writing import write_answer
from synapse_lite.handlers.sync.joined import JoinedRooms
from synapse_lite.storage.sliding_sync import SlidingPosition
from tests.rest.conftest import BuildServer
from tests.rest.followers import MergedFollower, SlidingFollower, SyncFollower
from tests.rest.happenings import FOLLOWED, Act, Happenings, acts
from tests.server import OPEN, TestServer
from tests.tasks.steps import Steps

EXAMPLES = 6
PATTERNS = (
    ["m.room.name", ""],
    ["m.room.topic", "*"],
    ["m.room.member", "$LAZY"],
    ["m.room.member", "$ME"],
    ["m.room.member", "*"],
    ["org.test", "1"],
    ["*", "*"],
    ["*", ""],
)
RANGES = ([[0, 0]], [[0, 1]], [[0, 0], [2, 3]], [[0, 99]])
FILTERS = (
    {}, {}, {"is_invite": False}, {"not_tags": ["u.x"]}, {"is_encrypted": True}, {"is_dm": False},
    {"room_name_like": "room 1"}, {"room_types": [None]},
)  # fmt: skip
EXTENSIONS = ("account_data", "receipts", "typing")
ON = {"enabled": True}
EVERYTHING = {
    "lists": {"all": {"ranges": [[0, 99]], "required_state": [["*", "*"]], "timeline_limit": 3}},
    "extensions": dict.fromkeys(EXTENSIONS, ON),
}


@frozen
class Poll:
    """/sync with a filter, at one of the processes."""

    limit: int
    process: int


@frozen
class SlidingPoll:
    """Sliding sync with a body, and subscriptions to some rooms; `lost` answers come before that which arrives.

    `body` None: the same as the last time.
    """

    body: dict[str, Any] | None
    subscribed: frozenset[int]
    process: int
    lost: int


@frozen
class Watch:
    """A client that goes on polling one process while things happen: memory answers it."""

    acts: list[Act]


@frozen
class Restart:
    """The app is opened anew, and knows nothing."""


limits = st.sampled_from([0, 1, 3, 20])
processes = st.integers(0, 1)
spans = st.builds(lambda start, more: [start, start + more], st.integers(0, 4), st.integers(0, 4))
ranges = st.one_of(st.sampled_from(RANGES), st.lists(spans, min_size=1, max_size=3))
configs = st.fixed_dictionaries(
    {"required_state": st.lists(st.sampled_from(PATTERNS), max_size=3), "timeline_limit": limits}
)
lists = st.builds(
    lambda config, ranges, filters: {**config, "ranges": ranges, "filters": filters},
    configs,
    ranges,
    st.sampled_from(FILTERS),
)
extensions = st.dictionaries(
    st.sampled_from(EXTENSIONS),
    st.sampled_from([ON, ON, {"enabled": False}, {**ON, "lists": ["a"], "rooms": []}]),
)
bodies = st.fixed_dictionaries(
    {
        "lists": st.dictionaries(st.sampled_from("ab"), lists, max_size=2),
        "room_subscriptions": configs,
        "extensions": extensions,
    }
)
polls = st.builds(Poll, limits, processes)
subscribed = st.frozensets(st.integers(0, 3))
lost = st.sampled_from([0, 0, 0, 1, 2])
sliding_polls = st.one_of(
    st.builds(SlidingPoll, bodies, subscribed, processes, lost),
    *[st.builds(SlidingPoll, st.none(), st.just(frozenset()), st.sampled_from([0, 0, 0, 1]), lost)] * 2,
)
watches = st.builds(Watch, st.lists(acts, min_size=1, max_size=3))
Step = Act | Poll | SlidingPoll | Watch | Restart | None
steps = st.lists(
    st.sampled_from(
        [st.none(), st.builds(Restart)] + [acts] * 24 + [sliding_polls] * 8 + [polls] * 4 + [watches] * 4
    ).flatmap(lambda kind: kind),
    min_size=20,
    max_size=60,
)


@pytest_twisted.async_fixture
async def compared(build_server: BuildServer, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What memory answers, the database answers as well; the user of each such answer. Memory never fails."""
    users: list[str] = []
    database = (await build_server(**OPEN)).database

    async def both(
        self: SlidingSyncHandler, request: SlidingRequest, base: SlidingPosition, joined: JoinedRooms
    ) -> ReadAnswer | None:
        answer = await self._live.since(request, base, joined)
        if answer is not None:
            recent = Recent.of(self._log, [base.position])
            read = await database.snapshot(self._reader.read, request, base, recent, 0)
            assert read is not None
            if read.result.position == answer.result.position:
                assert _plain(request, read) == _plain(request, answer)
                users.append(request.user_id)
        return answer

    monkeypatch.setattr(SlidingSyncHandler, "_from_memory", both)
    return users


def _plain(request: SlidingRequest, answer: ReadAnswer) -> Any:
    """As JSON, the state in one order."""
    written = orjson.loads(orjson.dumps(write_answer(request, answer.result, 0)))
    for room in written["rooms"].values():
        if "required_state" in room:
            room["required_state"].sort(key=lambda event: (event["type"], event["state_key"]))
    return written, answer.changes, answer.result.is_news


@pytest.mark.timeout(0)
@pytest.mark.parametrize("kind", [SlidingFollower, MergedFollower])
@ensureDeferred
async def test_both_end_with_the_same(
    build_server: BuildServer,
    request: pytest.FixtureRequest,
    kind: type[SlidingFollower],
    compared: list[str],
) -> None:
    """Rooms, names, state, timelines, counts, receipts and account data; then there is nothing more to tell."""
    asked: int | None = request.config.getoption("--examples")
    one = await build_server(**OPEN)
    steps_of_tasks = Steps(one.database)
    await steps_of_tasks.open()
    servers = [one, await build_server(bus=one.bus, clock=one.clock, **OPEN)]
    witness = await build_server(bus=one.bus, clock=one.clock, **OPEN)

    async def play(steps: list[Step]) -> None:
        await compare_clients(Happenings(servers, steps_of_tasks), kind, steps, witness)

    @settings(
        max_examples=asked or EXAMPLES,
        deadline=None,
        derandomize=asked is None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(steps=steps)
    def check(steps: list[Step]) -> None:
        blockingCallFromThread(reactor, lambda: Deferred.fromCoroutine(play(steps)))

    await deferToThread(check)
    assert compared, "memory never answers"


async def compare_clients(
    happenings: Happenings, kind: type[SlidingFollower], steps: list[Step], witness: TestServer
) -> None:
    """`witness`: a process that has nothing in memory of what happened."""
    await happenings.begin()
    servers = happenings.servers
    user_id, token = happenings.users[FOLLOWED], happenings.tokens[FOLLOWED]
    sync, sliding = SyncFollower(user_id, token, apart=kind is MergedFollower), kind(user_id, token)
    body = EVERYTHING
    for step in steps:
        match step:
            case Act():
                await happenings.act(step)
            case Watch(watched):
                await _watch(happenings, sliding, body, watched)
            case Restart():
                sliding = kind(user_id, token)
            case Poll(limit, process):
                await sync.sync(servers[process], limit)
            case SlidingPoll():
                body = body if step.body is None else _subscribed(happenings, step.body, step.subscribed)
                for _ in range(step.lost):
                    await sliding.sync(servers[1 - step.process], body, is_lost=True)
                await sliding.sync(servers[step.process], body)
    await sync.sync(servers[0], 3)
    await sliding.sync(servers[1], EVERYTHING)
    _compare(sync, sliding)
    anew = SyncFollower(user_id, token, apart=sync.apart)
    await anew.sync(witness, 3)
    for room_id, room in anew.rooms.items():
        known = sync.rooms[room_id]
        assert (known.state, known.counts) == (room.state, room.counts) or room.membership != "join"
    await sliding.sync(servers[0], EVERYTHING)
    assert (sliding.last["rooms"], sliding.last["extensions"]) == ({}, {})


async def _watch(
    happenings: Happenings, sliding: SlidingFollower, body: dict[str, Any], watched: list[Act]
) -> None:
    """The first polls settle what the client knows."""
    for act in (None, None, *watched):
        if act is not None:
            await happenings.act(act)
        await sliding.sync(happenings.servers[0], body)


def _subscribed(happenings: Happenings, body: dict[str, Any], subscribed: Collection[int]) -> dict[str, Any]:
    rooms = [happenings.rooms[n % len(happenings.rooms)] for n in sorted(subscribed)]
    return {**body, "room_subscriptions": dict.fromkeys(rooms, body["room_subscriptions"])}


def _compare(sync: SyncFollower, sliding: SlidingFollower) -> None:
    """Of rooms that one is only invited to, the state is as of when one was told."""
    assert {room_id: room.membership for room_id, room in sliding.rooms.items()} == {
        room_id: room.membership for room_id, room in sync.rooms.items()
    }
    if type(sliding) is SlidingFollower:  # the other form has numbers only
        assert set(sliding.listed["all"].values()) >= sync.rooms.keys()
    for room_id, room in sync.rooms.items():
        if room.membership == "join":
            assert asdict(sliding.rooms[room_id]) == asdict(room)
    assert sliding.account_data == sync.account_data
