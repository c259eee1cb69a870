"""Rules on creating rooms, on auth events, and on everything that is no membership."""

from typing import Any

import pytest

from synapse_lite.matrix.auth_rules import (
    AuthError,
    auth_keys,
    check_auth_events,
    check_event,
    check_redaction_request,
    may_redact,
    needed_keys,
)
from synapse_lite.matrix.event import Draft, build_event
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from tests.matrix.builders import ALICE, BOB, CAROL, DAVE, KEY, Room

VERSIONS = list(ROOM_VERSIONS)
CREATE = ("m.room.create", "")
LEVELS = ("m.room.power_levels", "")
RULES = ("m.room.join_rules", "")
BEFORE_12 = [version for version in VERSIONS if version != "12"]


def member(user_id: str) -> tuple[str, str]:
    return ("m.room.member", user_id)


def refuses(room: Room, *event: Any, match: str = ".", **options: Any) -> None:
    with pytest.raises(AuthError, match=match) as caught:
        room.allows(room.build(*event, **options))
    assert (caught.value.status, caught.value.errcode) == (403, "M_FORBIDDEN")


# Create events


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("content", "refused_in"),
    [
        ({}, set()),
        ({"room_version": "banana"}, set(VERSIONS)),
        ({"room_version": []}, set(VERSIONS)),
        ({"additional_creators": [BOB]}, set()),
        ({"additional_creators": []}, set()),
        ({"additional_creators": BOB}, {"12"}),
        ({"additional_creators": ["bob"]}, {"12"}),
        ({"additional_creators": [[]]}, {"12"}),
    ],
)
def test_create_content(version: str, content: dict[str, object], refused_in: set[str]) -> None:
    """Unknown versions are refused, in version 12 also creators that are no users."""
    if version in refused_in:
        with pytest.raises(AuthError):
            Room(version, content)
    else:
        Room(version, content)


@pytest.mark.parametrize("version", VERSIONS)
def test_create_must_be_the_first(version: str) -> None:
    """A create event with previous events is refused."""
    room = Room(version)
    refuses(room, ALICE, "m.room.create", room.create.content, "", prev=["$p"], match="first")


@pytest.mark.parametrize("version", VERSIONS)
def test_creator_is_named_up_to_version_10(version: str) -> None:
    """The key `creator` is required in versions 1 to 10 only."""
    room = Room(version)
    if int(version) <= 10:
        refuses(room, ALICE, "m.room.create", {}, "", prev=[], match="creator")
    else:
        room.allows(room.build(ALICE, "m.room.create", {}, "", prev=[]))


@pytest.mark.parametrize("version", BEFORE_12)
def test_room_id_is_of_the_senders_server(version: str) -> None:
    """Nobody creates a room in the name of another server."""
    room = Room(version)
    refuses(room, BOB, "m.room.create", room.create.content, "", prev=[], match="sender's server")


def test_create_of_version_12_has_no_room_id() -> None:
    """A create event that names its room is refused where the name is its hash."""
    room = Room("12")
    draft = Draft("m.room.create", ALICE, {"room_version": "12"}, 1, "")
    with pytest.raises(AuthError, match="room_id"):
        check_event(build_event(draft, room.version, room.room_id, [], [], 1, KEY), {})


@pytest.mark.parametrize("version", VERSIONS)
def test_create_event_of_this_room(version: str) -> None:
    """Without the create event of its room nothing happens."""
    room, other = Room(version), Room(version, {"x": 1})
    event = room.build(ALICE, "m.room.message", {})
    with pytest.raises(AuthError, match="no create event"):
        check_event(event, {member(ALICE): room.state[member(ALICE)]})
    if version == "12":
        with pytest.raises(AuthError, match="is not of the room"):
            check_event(event, room.state | {CREATE: other.create})


@pytest.mark.parametrize("version", VERSIONS)
def test_room_without_federation(version: str) -> None:
    """`m.federate: false` keeps other servers out, and only that value does."""
    room = Room(version, {"m.federate": False})
    room.open()
    refuses(room, BOB, "m.room.member", {"membership": "join"}, BOB, match="federation")
    room.join(DAVE)
    for value in (True, 0):
        federated = Room(version, {"m.federate": value})
        federated.open()
        federated.join(BOB)


# Auth events


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("event_type", "state_key", "content", "further"),
    [
        ("m.room.message", None, {}, []),
        ("m.room.name", "", {}, []),
        ("m.room.message", None, {"membership": "join"}, []),
        ("m.room.member", ALICE, {"membership": "leave"}, []),
        ("m.room.member", ALICE, {"membership": "join"}, [RULES]),
        ("m.room.member", ALICE, {"membership": "knock"}, [RULES]),
        ("m.room.member", BOB, {"membership": "invite"}, [member(BOB), RULES]),
        ("m.room.member", BOB, {"membership": "ban"}, [member(BOB)]),
        ("m.room.member", BOB, {"membership": []}, [member(BOB)]),
        ("m.room.member", None, {"membership": "join"}, []),
        (
            "m.room.member",
            BOB,
            {"membership": "invite", "third_party_invite": {"signed": {"token": "t"}}},
            [member(BOB), RULES, ("m.room.third_party_invite", "t")],
        ),
        ("m.room.member", BOB, {"membership": "invite", "third_party_invite": []}, [member(BOB), RULES]),
        (
            "m.room.member",
            ALICE,
            {"membership": "join", "join_authorised_via_users_server": CAROL},
            [RULES, member(CAROL)],
        ),
    ],
)
def test_selection(
    version: str,
    event_type: str,
    state_key: str | None,
    content: dict[str, Any],
    further: list[tuple[str, str]],
) -> None:
    """The selection of the specification; version 12 leaves the create event out, but needs it."""
    first = [] if version == "12" else [CREATE]
    if content.get("membership") == "knock" and int(version) < 7:
        further = []
    if int(version) < 8:
        further = [key for key in further if key != member(CAROL)]
    arguments = (event_type, ALICE, state_key, content, ROOM_VERSIONS[version])
    assert auth_keys(*arguments) == [*first, LEVELS, member(ALICE), *further]
    assert needed_keys(*arguments) == [CREATE, LEVELS, member(ALICE), *further]


def test_create_selects_nothing() -> None:
    """A create event stands on nothing."""
    assert auth_keys("m.room.create", ALICE, "", {}, ROOM_VERSIONS["11"]) == []
    assert needed_keys("m.room.create", ALICE, "", {}, ROOM_VERSIONS["12"]) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_auth_events_of_an_event(version: str) -> None:
    """The selected events pass; doubles, strangers, other rooms and messages do not."""
    room = Room(version)
    room.open()
    levels = room.levels({BOB: 50})
    name = room.build(ALICE, "m.room.name", {"name": "x"}, "")
    chosen = [room.events[event_id] for event_id in name.auth_events]
    assert (room.create in chosen) == (version != "12")
    check_auth_events(name, chosen)
    for wrong in (levels, room.state[RULES], room.build(ALICE, "m.room.message", {})):
        with pytest.raises(AuthError):
            check_auth_events(name, [*chosen, wrong])
    other = Room(version, {"x": 1})
    other.room_id = "!other:a.example"
    with pytest.raises(AuthError, match="another room"):
        check_auth_events(
            name, [*chosen[:-1], other.build(ALICE, "m.room.member", {"membership": "join"}, ALICE)]
        )


def test_create_among_the_auth_events() -> None:
    """The create event must be there before version 12 and must not be from then on."""
    old, new = Room("11"), Room("12")
    joined = member(ALICE)
    with pytest.raises(AuthError, match="no create event"):
        check_auth_events(old.build(ALICE, "m.room.message", {}), [old.state[joined]])
    with pytest.raises(AuthError, match="must not be among"):
        check_auth_events(new.build(ALICE, "m.room.message", {}), [new.create, new.state[joined]])
    check_auth_events(old.create, [])


# Messages and state


@pytest.mark.parametrize("version", VERSIONS)
def test_only_members_speak(version: str) -> None:
    """Whoever is not joined cannot send anything, in the words that Synapse uses."""
    room = Room(version)
    refuses(room, BOB, "m.room.message", {}, match=f"User {BOB} not in room {room.room_id}")
    for membership in ("invite", "knock", "leave", "ban"):
        room.put(ALICE, membership, BOB)
        refuses(room, BOB, "m.room.message", {}, match="not in room")
    room.put(BOB, "join", BOB)
    room.allows(room.build(BOB, "m.room.message", {}))


@pytest.mark.parametrize("version", VERSIONS)
def test_required_level(version: str) -> None:
    """State needs `state_default`, messages `events_default`, named types their own level."""
    room = Room(version)
    room.open()
    room.join(BOB)
    room.join(CAROL)
    room.levels({BOB: 49}, state_default=50, events_default=10, events={"m.room.topic": 49, "m.dice": 60})
    refuses(room, BOB, "m.room.name", {}, "", match=r"user_level \(49\) < send_level \(50\)")
    room.allows(room.build(BOB, "m.room.topic", {}, ""))
    room.allows(room.build(BOB, "m.room.message", {}))
    refuses(room, CAROL, "m.room.message", {}, match=r"user_level \(0\) < send_level \(10\)")
    refuses(room, BOB, "m.dice", {}, match="permission")
    room.allows(room.build(ALICE, "m.dice", {}))


@pytest.mark.parametrize("version", VERSIONS)
def test_state_of_users(version: str) -> None:
    """State under a user's id is theirs, whatever the level."""
    room = Room(version)
    room.allows(room.build(ALICE, "x.note", {}, ALICE))
    room.allows(room.build(ALICE, "x.note", {}, "bob"))
    refuses(room, ALICE, "x.note", {}, BOB, match="others state")
    refuses(room, ALICE, "x.note", {}, "@", match="others state")


@pytest.mark.parametrize("version", VERSIONS)
def test_third_party_invites_need_the_invite_level(version: str) -> None:
    """Inviting by e-mail needs the level to invite, not the one to set state."""
    room = Room(version)
    room.open()
    room.join(BOB)
    room.join(CAROL)
    room.levels({BOB: 10}, invite=10)
    room.allows(room.build(BOB, "m.room.third_party_invite", {}, "token"))
    refuses(room, CAROL, "m.room.third_party_invite", {}, "token", match="invite users")


@pytest.mark.parametrize("version", ["1", "2", "3", "4", "5"])
def test_aliases_rule_of_old_versions(version: str) -> None:
    """Up to version 5 a server sets its own aliases without being in the room."""
    room = Room(version)
    room.allows(room.build(BOB, "m.room.aliases", {"aliases": []}, "b.example"))
    refuses(room, BOB, "m.room.aliases", {"aliases": []}, "a.example", match="server")
    refuses(room, BOB, "m.room.aliases", {"aliases": []}, match="server")


@pytest.mark.parametrize("version", [version for version in VERSIONS if int(version) >= 6])
def test_aliases_are_state_like_others_since_version_6(version: str) -> None:
    """Whoever is not in the room sets no aliases."""
    room = Room(version)
    refuses(room, BOB, "m.room.aliases", {"aliases": []}, "b.example", match="not in room")


# Redactions


@pytest.mark.parametrize("version", VERSIONS)
def test_redactions(version: str) -> None:
    """From version 3 on others apply what the level or the sender's server lets through, before it the
    rules have decided; our users need an own event or the level.
    """
    room = Room(version)
    room.levels({BOB: 50, CAROL: 49}, redact=50)
    table = [
        (BOB, CAROL, True, True),
        (CAROL, BOB, False, False),
        (CAROL, CAROL, True, True),
        (CAROL, "@other:c.example", True, False),
        (ALICE, BOB, True, True),
    ]
    for sender, author, applied, may_ask in table:
        target = room.build(author, "m.room.message", {})
        redaction = room.build(sender, "m.room.redaction", {}, redacts=target.event_id)
        assert may_redact(redaction, target, room.state) is (applied or int(version) <= 2)
        if may_ask:
            check_redaction_request(sender, author, room.state)
        else:
            with pytest.raises(AuthError, match="permission to redact"):
                check_redaction_request(sender, author, room.state)


@pytest.mark.parametrize("version", VERSIONS)
def test_redact_level_decides_who_may_send_in_versions_1_and_2(version: str) -> None:
    """There, others' events of another server need the level; later a redaction is a message like others."""
    room = Room(version)
    room.open()
    room.join(BOB)
    room.levels({}, redact=90)
    room.allows(room.build(ALICE, "m.room.redaction", {}, redacts="$x:b.example"))
    room.allows(
        room.build(BOB, "m.room.redaction", {}, redacts="$x:a.example")
    )  # both ids are of KEY's server
    for target in ("$x:b.example", "$x"):
        if int(version) <= 2:
            refuses(room, BOB, "m.room.redaction", {}, redacts=target, match="permission to redact")
        else:
            room.allows(room.build(BOB, "m.room.redaction", {}, redacts=target))
    if int(version) <= 2:
        refuses(room, ALICE, "m.room.redaction", {}, match="must name")
