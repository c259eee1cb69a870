"""A room whose history forks, for tests of state resolution."""

from collections.abc import Collection

from synapse_lite.matrix.auth_rules import check_event
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.matrix.state_resolution import resolve
from tests.matrix.builders import ALICE, BOB, CAROL, DAVE, Room, StateDict

VERSIONS = [version for version in ROOM_VERSIONS if version != "1"]
TOPIC = ("m.room.topic", "")
LEVELS = ("m.room.power_levels", "")


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
