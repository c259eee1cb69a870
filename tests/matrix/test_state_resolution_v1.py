"""State resolution of room version 1."""

from collections.abc import Collection
from hashlib import sha1

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synapse_lite.matrix.auth_rules import auth_keys
from synapse_lite.matrix.event import Draft, Event, build_event
from synapse_lite.matrix.state_resolution import resolve
from tests.matrix.builders import ALICE, BOB, CAROL, DAVE, KEY, Room, StateDict

TOPIC = ("m.room.topic", "")
LEVELS = ("m.room.power_levels", "")
RULES = ("m.room.join_rules", "")
OPEN = {"events": {"m.room.topic": 0, "m.room.power_levels": 50}}


@pytest.fixture
def room() -> Room:
    """Alice has 100, Bob and Carol 50; Dave has nothing, but may set the topic."""
    room = Room("1")
    room.open()
    for user_id in (BOB, CAROL, DAVE):
        room.join(user_id)
    room.levels({BOB: 50, CAROL: 50}, **OPEN)
    return room


def at_depth(
    room: Room, depth: int, sender: str, event_type: str, content: dict[str, object], state_key: str = ""
) -> Event:
    """A state event at this depth, allowed or not."""
    keys = auth_keys(event_type, sender, state_key, content, room.version)
    event = build_event(
        Draft(event_type, sender, content, 1, state_key),
        room.version,
        room.room_id,
        [room.reference("$somewhere:a.example")],
        [room.state[key].reference for key in keys if key in room.state],
        depth,
        KEY,
    )
    room.events[event.event_id] = event
    return event


def meet(room: Room, *changes: Collection[Event]) -> StateDict:
    """What the room's state with each of these changes resolves to, in either order."""
    sets = [
        {key: event.event_id for key, event in room.state.items()}
        | {event.key: event.event_id for event in events}
        for events in changes
    ]
    resolved = resolve(room.version, sets, room.fetch)
    assert resolve(room.version, sets[::-1], room.fetch) == resolved
    return {key: room.events[event_id] for key, event_id in resolved.items()}


def digest(event: Event) -> bytes:
    return sha1(event.event_id.encode(), usedforsecurity=False).digest()


def test_what_one_side_lacks_comes_from_the_other(room: Room) -> None:
    """A key that only some states have is no conflict, even when the rules would forbid it."""
    forbidden = at_depth(room, 9, "@eve:e", "m.room.name", {"name": "x"})
    topic = at_depth(room, 9, DAVE, *("m.room.topic", {"topic": "x"}))
    met = meet(room, [forbidden], [topic])
    assert met[forbidden.key] is forbidden
    assert met[TOPIC] is topic


def test_deepest_allowed_event_wins(room: Room) -> None:
    """Of other state, the deepest event that the rules allow on the resolved state wins."""
    old = at_depth(room, 8, BOB, "m.room.name", {"name": "old"})
    new = at_depth(room, 9, CAROL, "m.room.name", {"name": "new"})
    forbidden = at_depth(room, 10, DAVE, "m.room.name", {"name": "no"})
    assert meet(room, [old], [new], [forbidden])[old.key] is new


def test_smaller_hash_wins_at_equal_depth(room: Room) -> None:
    """Of equally deep events, the one whose id has the smaller SHA-1 wins."""
    names = [at_depth(room, 9, ALICE, "m.room.name", {"name": str(number)}) for number in range(5)]
    assert meet(room, *([name] for name in names))[names[0].key] is min(names, key=digest)


def test_nothing_allowed_keeps_the_least_deep(room: Room) -> None:
    """Where the rules allow none of the events, the least deep one stays: a key does not get lost."""
    first = at_depth(room, 8, DAVE, "m.room.name", {"name": "first"})
    second = at_depth(room, 9, DAVE, "m.room.name", {"name": "second"})
    assert meet(room, [first], [second])[first.key] is first


def test_power_levels_are_a_chain(room: Room) -> None:
    """Levels start with the least deep event, and go on as long as each is allowed on the one before."""
    base = {ALICE: 100, BOB: 50, CAROL: 50}
    first = at_depth(room, 8, ALICE, "m.room.power_levels", {"users": {ALICE: 100, BOB: 50}, **OPEN})
    second = at_depth(room, 9, BOB, "m.room.power_levels", {"users": {ALICE: 100, BOB: 50, DAVE: 10}, **OPEN})
    refused = at_depth(room, 10, CAROL, "m.room.power_levels", {"users": base, **OPEN})  # has nothing by now
    never = at_depth(room, 11, ALICE, "m.room.power_levels", {"users": {ALICE: 100}})
    assert meet(room, [first], [second])[LEVELS] is second
    assert meet(room, [first], [second], [refused])[LEVELS] is second
    assert meet(room, [first], [second], [refused], [never])[LEVELS] is second


def test_levels_before_rules_before_members_before_the_rest(room: Room) -> None:
    """Each step is judged by what the steps before it settled."""
    levels = at_depth(room, 7, ALICE, "m.room.power_levels", {"users": {ALICE: 100, BOB: 50}, **OPEN})
    later = at_depth(room, 8, BOB, "m.room.power_levels", {"users": {ALICE: 100, BOB: 50, DAVE: 0}, **OPEN})
    open_rule = at_depth(room, 8, ALICE, "m.room.join_rules", {"join_rule": "public"})
    closing = at_depth(room, 9, BOB, "m.room.join_rules", {"join_rule": "invite"})
    carols_rule = at_depth(room, 10, CAROL, "m.room.join_rules", {"join_rule": "public"})
    left = at_depth(room, 8, DAVE, "m.room.member", {"membership": "leave"}, DAVE)
    joined = at_depth(room, 11, DAVE, "m.room.member", {"membership": "join"}, DAVE)
    old_topic = at_depth(room, 8, ALICE, "m.room.topic", {"topic": "a"})
    daves_topic = at_depth(room, 12, DAVE, "m.room.topic", {"topic": "d"})
    met = meet(
        room,
        [levels, open_rule, left, old_topic],
        [later, closing, joined, daves_topic],
        [later, carols_rule, joined, daves_topic],
    )
    assert met[LEVELS] is later
    assert met[RULES] is closing
    assert met["m.room.member", DAVE] is left
    assert met[TOPIC] is old_topic


def test_conflicts_of_one_step_do_not_see_each_other(room: Room) -> None:
    """Two moderators ban each other: both bans hold, whatever the order."""
    rejoin = [at_depth(room, 6, user, "m.room.member", {"membership": "join"}, user) for user in (BOB, CAROL)]
    bans = [
        at_depth(room, 9, ALICE, "m.room.member", {"membership": "ban"}, user_id) for user_id in (BOB, CAROL)
    ]
    met = meet(room, rejoin, bans)
    assert met["m.room.member", BOB] is bans[0]
    assert met["m.room.member", CAROL] is bans[1]


def test_unknown_events_drop_out(room: Room) -> None:
    """An event that nobody can fetch loses against a known one, and alone it leaves the key empty."""
    known = at_depth(room, 8, ALICE, "m.room.name", {"name": "x"})
    state = {key: event.event_id for key, event in room.state.items()}
    sets = [state | {known.key: known.event_id, TOPIC: "$a:x"}, state | {known.key: "$gone:x", TOPIC: "$b:x"}]
    assert resolve(room.version, sets, room.fetch) == state | {known.key: known.event_id}


CHANGES = st.lists(
    st.tuples(
        st.integers(6, 9),
        st.sampled_from([ALICE, BOB, CAROL, DAVE]),
        st.sampled_from(["topic", "name", "levels", "rule", "ban", "leave", "join"]),
        st.sampled_from([BOB, CAROL, DAVE]),
    ),
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(CHANGES, min_size=2, max_size=4), st.randoms(use_true_random=False))
def test_one_result_for_every_order(plans, shuffled) -> None:
    """The order and number of equal states do not matter, and every value is one that a state had."""
    room = Room("1")
    room.open()
    for user_id in (BOB, CAROL, DAVE):
        room.join(user_id)
    room.levels({BOB: 50, CAROL: 50}, **OPEN)
    base = {key: event.event_id for key, event in room.state.items()}
    sets = [
        base | {event.key: event.event_id for event in (_change(room, *one) for one in plan)}
        for plan in plans
    ]
    resolved = resolve(room.version, sets, room.fetch)
    mixed = [*sets, shuffled.choice(sets)]
    shuffled.shuffle(mixed)
    assert resolve(room.version, mixed, room.fetch) == resolved
    assert resolved.keys() == set().union(*sets)
    assert all(any(state.get(key) == event_id for state in sets) for key, event_id in resolved.items())


def _change(room: Room, depth: int, sender: str, name: str, target: str) -> Event:
    users = {ALICE: 100, BOB: 50, CAROL: 50, target: depth}
    table = {
        "topic": ("m.room.topic", {"topic": str(depth)}, ""),
        "name": ("m.room.name", {"name": target}, ""),
        "levels": ("m.room.power_levels", {"users": users, **OPEN}, ""),
        "rule": ("m.room.join_rules", {"join_rule": "invite"}, ""),
    }
    chosen = table.get(name, ("m.room.member", {"membership": name}, target))
    return at_depth(room, depth, sender, *chosen)
