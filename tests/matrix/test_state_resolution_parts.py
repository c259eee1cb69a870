"""The parts of state resolution: auth chains, the order of power events, the mainline."""

import random
from collections.abc import Collection

from hypothesis import given, settings
from hypothesis import strategies as st

from synapse_lite.matrix.event import Event
from synapse_lite.matrix.state_resolution.graph import AuthGraph
from synapse_lite.matrix.state_resolution.ordering import mainline_order, power_order
from tests.matrix.builders import ALICE, BOB, CAROL, DAVE
from tests.matrix.forks import LEVELS, TOPIC, branch, levels, room_of_four, topic


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
