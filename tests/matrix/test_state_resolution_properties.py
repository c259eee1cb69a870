"""State resolution of versions 2 to 12: properties over random forks."""

import random
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from synapse_lite.matrix.auth_rules import AuthError
from synapse_lite.matrix.state_resolution import resolve
from tests.matrix.builders import ALICE, BOB, CAROL, DAVE, Room, StateDict
from tests.matrix.forks import VERSIONS, branch, ids_of, levels, room_of_four, topic, with_alice

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
