"""State resolution of versions 2 to 12: scenarios, and properties over random forks."""

import random
from collections.abc import Collection, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synapse_lite.matrix.auth_rules import AuthError, check_event
from synapse_lite.matrix.event import Event
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.matrix.state_resolution import resolve
from synapse_lite.matrix.state_resolution.graph import AuthGraph
from synapse_lite.matrix.state_resolution.ordering import mainline_order, power_order
from tests.matrix.builders import ALICE, BOB, CAROL, DAVE, Room, StateDict

VERSIONS = [version for version in ROOM_VERSIONS if version != "1"]
BEFORE_12 = [version for version in VERSIONS if version != "12"]
TOPIC = ("m.room.topic", "")
LEVELS = ("m.room.power_levels", "")
RULES = ("m.room.join_rules", "")


def room_of_four(version: str) -> Room:
    """Alice is above all; Bob and Carol have 50; Dave has nothing, but may set the topic."""
    room = Room(version)
    room.open()
    for user_id in (BOB, CAROL, DAVE):
        room.join(user_id)
    room.levels({BOB: 50, CAROL: 50}, events={"m.room.topic": 0, "m.room.power_levels": 50})
    return room


def branch(room: Room, state: StateDict, *events: tuple[str, str, dict[str, object], str]) -> StateDict:
    """The state after these events, each of which the rules allow."""
    state = dict(state)
    for sender, event_type, content, state_key in events:
        event = room.build(sender, event_type, content, state_key, on=state)
        check_event(event, state)
        state[event.key] = event
    return state


def ids_of(state: StateDict) -> dict[tuple[str, str], str]:
    return {key: event.event_id for key, event in state.items()}


def meet(room: Room, *states: StateDict, rejected: Collection[str] = ()) -> StateDict:
    """Resolve, in both orders of the states, with the same result."""
    sets = [ids_of(state) for state in states]
    resolved = resolve(room.version, sets, room.fetch, rejected)
    assert resolve(room.version, sets[::-1], room.fetch, rejected) == resolved
    return {key: room.events[event_id] for key, event_id in resolved.items()}


def topic(sender: str, text: str) -> tuple[str, str, dict[str, object], str]:
    return (sender, "m.room.topic", {"topic": text}, "")


def ban(sender: str, target: str) -> tuple[str, str, dict[str, object], str]:
    return (sender, "m.room.member", {"membership": "ban"}, target)


def levels(sender: str, users: dict[str, int], **content: object) -> tuple[str, str, dict[str, object], str]:
    base = {"events": {"m.room.topic": 0, "m.room.power_levels": 50}, "users": users}
    return (sender, "m.room.power_levels", base | content, "")


def with_alice(room: Room, users: dict[str, int]) -> dict[str, int]:
    return users if room.version.privileged_creators else {ALICE: 100, **users}


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_to_resolve(version: str) -> None:
    """No state, one state and equal states come back as they are, and nothing is fetched."""
    room = room_of_four(version)

    def refuse(event_ids: Collection[str]) -> dict[str, Event]:
        raise AssertionError(event_ids)

    state = ids_of(room.state)
    assert resolve(room.version, [], refuse) == {}
    assert resolve(room.version, [state], refuse) == state
    assert resolve(room.version, [state, dict(state), dict(state)], refuse) == state


@pytest.mark.parametrize("version", VERSIONS)
def test_both_sides_add(version: str) -> None:
    """Different keys do not exclude each other."""
    room = room_of_four(version)
    left = branch(room, room.state, topic(DAVE, "t"))
    right = branch(room, room.state, (BOB, "m.room.name", {"name": "n"}, ""))
    assert ids_of(meet(room, left, right)) == ids_of(room.state | left | right)


@pytest.mark.parametrize("version", VERSIONS)
def test_later_topic_wins(version: str) -> None:
    """Of two allowed events for the same key the one with the later time stays."""
    room = room_of_four(version)
    left = branch(room, room.state, topic(DAVE, "first"))
    right = branch(room, room.state, topic(CAROL, "second"))
    assert meet(room, left, right)[TOPIC] is right[TOPIC]


@pytest.mark.parametrize("version", VERSIONS)
def test_ban_beats_topic(version: str) -> None:
    """What a user does beside their ban does not count, even when it came earlier."""
    room = room_of_four(version)
    left = branch(room, room.state, topic(DAVE, "x"))
    right = branch(room, room.state, ban(BOB, DAVE))
    met = meet(room, left, right)
    assert met["m.room.member", DAVE] is right["m.room.member", DAVE]
    assert TOPIC not in met


@pytest.mark.parametrize("version", VERSIONS)
def test_topic_before_the_ban_stays(version: str) -> None:
    """What both sides knew before the ban stays."""
    room = room_of_four(version)
    base = branch(room, room.state, topic(DAVE, "x"))
    left = branch(room, base, ban(BOB, DAVE))
    right = branch(room, base, (CAROL, "m.room.name", {}, ""))
    met = meet(room, left, right)
    assert met[TOPIC] is base[TOPIC]
    assert met["m.room.member", DAVE].membership == "ban"


@pytest.mark.parametrize("version", VERSIONS)
def test_greater_power_decides_on_levels(version: str) -> None:
    """Alice lowers Bob while Bob raises Dave: hers comes first, and his is no longer allowed."""
    room = room_of_four(version)
    bobs = branch(room, room.state, levels(BOB, with_alice(room, {BOB: 50, CAROL: 50, DAVE: 50})))
    alices = branch(room, room.state, levels(ALICE, with_alice(room, {BOB: 0, CAROL: 50})))
    assert meet(room, bobs, alices)[LEVELS] is alices[LEVELS]


@pytest.mark.parametrize("version", VERSIONS)
def test_equal_power_then_time(version: str) -> None:
    """Two moderators change the levels: both are allowed in turn, so the later one stays."""
    room = room_of_four(version)
    bobs = branch(room, room.state, levels(BOB, with_alice(room, {BOB: 50, CAROL: 50, DAVE: 20})))
    carols = branch(room, room.state, levels(CAROL, with_alice(room, {BOB: 50, CAROL: 50, DAVE: 30})))
    assert meet(room, bobs, carols)[LEVELS] is carols[LEVELS]


@pytest.mark.parametrize("version", VERSIONS)
def test_mutual_ban(version: str) -> None:
    """Alice and a moderator ban at the same time: the greater power acts first."""
    room = room_of_four(version)
    left = branch(room, room.state, ban(BOB, DAVE), topic(CAROL, "x"))
    right = branch(room, room.state, ban(ALICE, BOB))
    met = meet(room, left, right)
    assert met["m.room.member", BOB].membership == "ban"
    assert met["m.room.member", DAVE].membership == "join"
    assert met[TOPIC] is left[TOPIC]


@pytest.mark.parametrize("version", VERSIONS)
def test_closing_beats_joining(version: str) -> None:
    """A join beside a change to invite-only does not count."""
    room = room_of_four(version)
    left = branch(room, room.state, ("@eve:e", "m.room.member", {"membership": "join"}, "@eve:e"))
    right = branch(room, room.state, (ALICE, "m.room.join_rules", {"join_rule": "invite"}, ""))
    met = meet(room, left, right)
    assert met[RULES] is right[RULES]
    assert ("m.room.member", "@eve:e") not in met


@pytest.mark.parametrize("version", VERSIONS)
def test_mainline_decides_before_time(version: str) -> None:
    """A topic set under newer levels wins over one that claims a later time under older levels."""
    room = room_of_four(version)
    old = room.build(DAVE, "m.room.topic", {"topic": "old levels"}, "", ts=10**9)
    left = room.state | {old.key: old}
    right = branch(
        room, room.state, levels(ALICE, with_alice(room, {BOB: 50, CAROL: 50})), topic(CAROL, "new levels")
    )
    assert right[TOPIC].origin_server_ts < old.origin_server_ts
    assert meet(room, left, right)[TOPIC] is right[TOPIC]


@pytest.mark.parametrize(("version", "first"), [*((version, BOB) for version in BEFORE_12), ("12", ALICE)])
def test_creators_act_first(version: str, first: str) -> None:
    """In version 12 the creator's change counts before an older one of the highest number.

    Bob's join, which only his side leans on, is held by both: were it tried again, his rules would
    have to wait for it.
    """
    room = Room(version)
    room.open()
    room.join(BOB)
    room.levels({BOB: 100})
    bobs = branch(room, room.state, (BOB, "m.room.join_rules", {"join_rule": "invite"}, ""))
    alices = branch(room, room.state, (ALICE, "m.room.join_rules", {"join_rule": "knock"}, ""))
    met = meet(room, bobs, alices)
    assert met[RULES] is (alices if first == BOB else bobs)[RULES]


@pytest.mark.parametrize(("version", "is_lost"), [*((version, True) for version in BEFORE_12), ("12", False)])
def test_state_reset(version: str, is_lost: bool) -> None:
    """v2 judges old levels by the undisputed leave of their sender and loses them; v2.1 starts empty."""
    room = Room(version)
    room.open()
    room.join(BOB)
    room.levels({})
    leave = branch(room, room.state, (ALICE, "m.room.member", {"membership": "leave"}, ALICE))
    gone = {("m.room.member", ALICE): leave["m.room.member", ALICE]}
    newer = branch(room, room.state, levels(ALICE, with_alice(room, {BOB: 50})))
    met = meet(room, room.state | gone, newer | gone)
    assert met["m.room.member", ALICE].membership == "leave"
    if is_lost:
        assert LEVELS not in met
    else:
        assert met[LEVELS] is newer[LEVELS]


@pytest.mark.parametrize("version", VERSIONS)
def test_auth_difference_is_replayed(version: str) -> None:
    """What only one side knows takes part, though it is in no state: it made the last levels possible."""
    room = room_of_four(version)
    second = branch(room, room.state, levels(ALICE, with_alice(room, {BOB: 50, DAVE: 60})))
    third = branch(room, second, levels(DAVE, with_alice(room, {BOB: 50, DAVE: 50})))
    assert meet(room, room.state, third)[LEVELS] is third[LEVELS]


@pytest.mark.parametrize("version", VERSIONS)
def test_causes_of_power_events_come_along(version: str) -> None:
    """Bob was kicked, joined again and banned Dave: his join is tried before his ban."""
    room = room_of_four(version)
    kicked = branch(room, room.state, (ALICE, "m.room.member", {"membership": "leave"}, BOB))
    again = branch(room, kicked, (BOB, "m.room.member", {"membership": "join"}, BOB), ban(BOB, DAVE))
    met = meet(room, kicked, again)
    assert met["m.room.member", BOB] is again["m.room.member", BOB]
    assert met["m.room.member", DAVE].membership == "ban"


@pytest.mark.parametrize("version", VERSIONS)
def test_leaving_takes_nothing_back(version: str) -> None:
    """To leave is no power event: what the user did earlier on the other side stays."""
    room = room_of_four(version)
    left = branch(room, room.state, topic(DAVE, "x"))
    right = branch(room, room.state, (DAVE, "m.room.member", {"membership": "leave"}, DAVE))
    met = meet(room, left, right)
    assert met[TOPIC] is left[TOPIC]
    assert met["m.room.member", DAVE].membership == "leave"


@pytest.mark.parametrize(
    ("version", "is_replayed"), [*((version, False) for version in BEFORE_12), ("12", True)]
)
def test_subgraph(version: str, is_replayed: bool) -> None:
    """v2.1 also replays what lies between two conflicted events where all states know it."""
    room = room_of_four(version)
    second = branch(room, room.state, levels(ALICE, with_alice(room, {BOB: 50, DAVE: 60})))
    third = branch(room, second, levels(DAVE, with_alice(room, {BOB: 50, DAVE: 50})))
    note = branch(room, second, (DAVE, "x.note", {}, DAVE))
    shared = {("x.note", DAVE): note["x.note", DAVE]}
    met = meet(room, room.state | shared, third | shared)
    assert met[LEVELS] is (third if is_replayed else room.state)[LEVELS]


def test_rejected_auth_events_do_not_help() -> None:
    """An event that leans on a rejected event is judged without it."""
    room = room_of_four("12")
    right = branch(room, room.state, topic(DAVE, "x"))
    left = branch(room, room.state, topic(BOB, "y"))
    assert meet(room, left, right)[TOPIC] is left[TOPIC]
    bobs_join = room.state["m.room.member", BOB].event_id
    assert meet(room, left, right, rejected={bobs_join})[TOPIC] is right[TOPIC]


@pytest.mark.parametrize("version", VERSIONS)
def test_unknown_events_are_left_out(version: str) -> None:
    """A conflicted event that nobody can fetch does not come into the state; an unconflicted one stays."""
    room = room_of_four(version)
    right = branch(room, room.state, topic(DAVE, "x"))
    lost = {("x", ""): "$lost"}
    resolved = resolve(
        room.version, [ids_of(room.state) | {TOPIC: "$gone"} | lost, ids_of(right) | lost], room.fetch
    )
    assert resolved == ids_of(right) | lost


@pytest.mark.parametrize("version", VERSIONS)
def test_without_the_create_event(version: str) -> None:
    """Nothing can be judged without the create event: only what is undisputed stays."""
    room = room_of_four(version)
    state = ids_of(room.state)
    del state["m.room.create", ""]
    disputed = {key: event_id for key, event_id in state.items() if key != LEVELS}
    assert resolve(room.version, [state, disputed], room.fetch) == disputed


def test_long_chains_do_not_recurse() -> None:
    """A power level chain far deeper than Python's stack resolves."""
    room = room_of_four("12")
    state = room.state
    for number in range(1200):
        state = branch(room, state, levels(ALICE, {BOB: 50, CAROL: number}))
    met = meet(room, branch(room, state, topic(DAVE, "a")), branch(room, state, topic(BOB, "b")))
    assert met[TOPIC].content == {"topic": "b"}


# The parts of the algorithm


def test_auth_chain_and_subgraph() -> None:
    """The chain has what lies below, the subgraph what lies between."""
    room = room_of_four("11")
    first = branch(room, room.state, levels(ALICE, {ALICE: 100, BOB: 50, CAROL: 50}))
    second = branch(room, first, levels(BOB, {ALICE: 100, BOB: 50, CAROL: 50, DAVE: 10}))
    last = branch(room, second, topic(DAVE, "x"))
    graph = AuthGraph(room.fetch)
    ends = {room.state[LEVELS].event_id, last[TOPIC].event_id}
    between = {first[LEVELS].event_id, second[LEVELS].event_id}
    assert graph.subgraph(ends) == ends | between
    assert graph.subgraph({last[TOPIC].event_id}) == {last[TOPIC].event_id}
    chain = graph.chain({last[TOPIC].event_id})
    assert between | {room.create.event_id} <= chain
    assert last[TOPIC].event_id not in chain
    assert graph.chain(set()) == graph.chain({room.create.event_id}) == set()


def test_fetching_is_batched() -> None:
    """A chain is loaded layer by layer, and nothing is asked for twice."""
    room = room_of_four("11")
    asked: list[str] = []
    calls = 0

    def fetch(event_ids: Collection[str]) -> dict[str, Event]:
        nonlocal calls
        calls += 1
        asked.extend(event_ids)
        return room.fetch(event_ids)

    graph = AuthGraph(fetch)
    for _ in range(2):
        graph.chain([event.event_id for event in room.state.values()] + ["$unknown"])
    assert len(asked) == len(set(asked)) == len(room.state) + 1
    assert calls == 1


@settings(deadline=None)
@given(st.randoms(use_true_random=False))
def test_power_order_is_one_order(shuffled: random.Random) -> None:
    """Causes come before effects, then greater power, older and smaller ones; input order does not matter."""
    room = room_of_four("11")
    carols = room.build(CAROL, "m.room.topic", {}, "", ts=5)
    bobs = room.build(BOB, "m.room.topic", {}, "", ts=9)
    twins = sorted((room.build(CAROL, "x", {"n": n}, "", ts=5000) for n in (1, 2)), key=lambda e: e.event_id)
    alices = room.build(ALICE, "m.room.topic", {}, "", ts=10**9)
    expected = [room.state[LEVELS], alices, carols, bobs, *twins]
    event_ids = [event.event_id for event in expected]
    shuffled.shuffle(event_ids)
    assert power_order(event_ids, AuthGraph(room.fetch), room.create) == expected


def test_mainline_order() -> None:
    """Events under no known levels come first, then those under older levels, then by time."""
    room = room_of_four("11")
    before = {key: event for key, event in room.state.items() if key != LEVELS}
    loose = room.build(BOB, "x", {}, "loose", on=before, ts=9000)
    old = room.build(BOB, "x", {}, "old", ts=8000)
    current = branch(room, room.state, levels(ALICE, {ALICE: 100}))
    side = branch(room, room.state, levels(ALICE, {ALICE: 100, BOB: 1}))
    new, later = (room.build(BOB, "x", {}, "new", on=current, ts=ts) for ts in (1, 2))
    aside = room.build(BOB, "x", {}, "aside", on=side, ts=8001)
    expected = [loose, old, aside, new, later]
    ids_ = [event.event_id for event in reversed(expected)]
    assert mainline_order(ids_, AuthGraph(room.fetch), current[LEVELS]) == expected
    by_time = sorted(expected, key=lambda event: event.origin_server_ts)
    assert mainline_order(ids_, AuthGraph(room.fetch), None) == by_time


# Properties

ACTIONS = st.tuples(
    st.sampled_from([ALICE, BOB, CAROL, DAVE]),
    st.sampled_from(["topic", "name", "ban", "leave", "join", "levels", "close", "open"]),
    st.sampled_from([ALICE, BOB, CAROL, DAVE]),
    st.integers(0, 100),
)
BRANCHES = st.lists(st.lists(ACTIONS, max_size=5), min_size=2, max_size=4)


def act(room: Room, state: StateDict, actions: Iterable[tuple[str, str, str, int]]) -> StateDict:
    """The state after those of the random actions that the rules allow."""
    for sender, name, target, number in actions:
        event = {
            "topic": topic(sender, str(number)),
            "name": (sender, "m.room.name", {"name": str(number)}, ""),
            "levels": levels(sender, with_alice(room, {BOB: 50, CAROL: number})),
            "close": (sender, "m.room.join_rules", {"join_rule": "invite"}, ""),
            "open": (sender, "m.room.join_rules", {"join_rule": "public"}, ""),
        }.get(name, (sender, "m.room.member", {"membership": name}, target))
        try:
            state = branch(room, state, event)
        except AuthError:
            continue
    return state


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(VERSIONS), BRANCHES, st.randoms(use_true_random=False))
def test_random_forks(
    version: str, plans: list[list[tuple[str, str, str, int]]], shuffled: random.Random
) -> None:
    """The result does not depend on the order or number of equal states, holds what all agree on, and
    every value is one that some state had, or that lies below one.
    """
    room = room_of_four(version)
    states = [ids_of(act(room, room.state, plan)) for plan in plans]
    resolved = resolve(room.version, states, room.fetch)
    mixed = [*states, shuffled.choice(states)]
    shuffled.shuffle(mixed)
    assert resolve(room.version, mixed, room.fetch) == resolved
    agreed = set.intersection(*(set(state.items()) for state in states))
    assert agreed <= set(resolved.items())
    assert all(room.events[event_id].key == key for key, event_id in resolved.items())
    assert resolve(room.version, [resolved, resolved], room.fetch) == resolved
