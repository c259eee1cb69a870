"""State resolution of versions 2 to 12: scenarios."""

from collections.abc import Collection

import pytest

from synapse_lite.matrix.event import Event
from synapse_lite.matrix.state_resolution import resolve
from tests.matrix.builders import ALICE, BOB, CAROL, DAVE, Room
from tests.matrix.forks import (
    LEVELS,
    TOPIC,
    VERSIONS,
    ban,
    branch,
    ids_of,
    levels,
    meet,
    room_of_four,
    topic,
    with_alice,
)

BEFORE_12 = [version for version in VERSIONS if version != "12"]
RULES = ("m.room.join_rules", "")


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
