"""The rule on memberships."""

from typing import Any

import pytest

from synapse_lite.canonical_json import JsonObject
from synapse_lite.matrix.auth_rules import AuthError, check_event
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.matrix.signing import SigningKey, encode_base64, generate_signing_key
from tests.matrix.builders import ALICE, BOB, CAROL, DAVE, KEY, Room

VERSIONS = list(ROOM_VERSIONS)
CURRENT = [None, "join", "invite", "knock", "leave", "ban"]


def move(room: Room, sender: str, membership: Any, target: str, **content: Any) -> None:
    room.allows(room.build(sender, "m.room.member", {"membership": membership, **content}, target))


def refuses(room: Room, sender: str, membership: Any, target: str, match: str = ".", **content: Any) -> None:
    with pytest.raises(AuthError, match=match):
        move(room, sender, membership, target, **content)


def expect(allowed: bool, room: Room, sender: str, membership: str, target: str, **content: Any) -> None:
    (move if allowed else refuses)(room, sender, membership, target, **content)


KNOWN_SINCE = {"invite": 1, "public": 1, "knock": 7, "restricted": 8, "knock_restricted": 10}


def is_known_rule(version: str, rule: str) -> bool:
    return int(version) >= KNOWN_SINCE.get(rule, 1000)


def room_with(version: str, membership: str | None, rule: str = "invite", who: str = BOB) -> Room:
    """A room of Alice, with the other user in the given state."""
    room = Room(version)
    room.rule(rule)
    if membership is not None:
        room.put(ALICE, membership, who)
    return room


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("content", [{}, {"membership": None}, {"membership": 5}, {"membership": "dance"}])
def test_unknown_memberships(version: str, content: JsonObject) -> None:
    """A membership is one of five words."""
    room = Room(version)
    with pytest.raises(AuthError):
        room.allows(room.build(ALICE, "m.room.member", content, ALICE))


@pytest.mark.parametrize("version", VERSIONS)
def test_member_events_are_state(version: str) -> None:
    """A member event without a state key is refused."""
    room = Room(version)
    with pytest.raises(AuthError, match="state_key"):
        room.allows(room.build(ALICE, "m.room.member", {"membership": "join"}))


# Join


@pytest.mark.parametrize("version", VERSIONS)
def test_first_join(version: str) -> None:
    """The creator joins an empty room; additional creators and others do not."""
    room = Room(version, {"additional_creators": [BOB]})
    del room.state["m.room.member", ALICE]
    first = {"prev": [room.create.event_id]}
    room.allows(room.build(ALICE, "m.room.member", {"membership": "join"}, ALICE, **first))
    for user_id, prev in (
        (BOB, [room.create.event_id]),
        (ALICE, ["$x"]),
        (ALICE, [room.create.event_id, "$x"]),
    ):
        with pytest.raises(AuthError, match="not invited"):
            room.allows(room.build(user_id, "m.room.member", {"membership": "join"}, user_id, prev=prev))


def test_first_join_of_version_10() -> None:
    """In version 10 the creator is the one that the content names."""
    room = Room("10")
    create = room.build(ALICE, "m.room.create", {"creator": DAVE}, "", prev=[])
    join = room.build(DAVE, "m.room.member", {"membership": "join"}, DAVE, prev=[create.event_id])
    check_event(join, {create.key: create})
    with pytest.raises(AuthError):
        check_event(
            room.build(ALICE, "m.room.member", {"membership": "join"}, ALICE, prev=[create.event_id]),
            {create.key: create},
        )


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "rule", ["public", "invite", "knock", "restricted", "knock_restricted", "private", "x"]
)
@pytest.mark.parametrize("current", CURRENT)
def test_joining(version: str, rule: str, current: str | None) -> None:
    """The invited and the joined may join by every known rule, others only a public room, the banned never."""
    room = room_with(version, current, rule)
    is_known = is_known_rule(version, rule)
    allowed = current != "ban" and (rule == "public" or (is_known and current in {"join", "invite"}))
    expect(allowed, room, BOB, "join", BOB)


@pytest.mark.parametrize("version", VERSIONS)
def test_nobody_joins_others(version: str) -> None:
    """A join is sent by the user who joins."""
    refuses(room_with(version, "invite", "public"), ALICE, "join", BOB, match="force another user")


@pytest.mark.parametrize("version", VERSIONS)
def test_without_join_rules_the_room_is_closed(version: str) -> None:
    """No join rules, or broken ones, mean `invite`."""
    room = Room(version)
    refuses(room, BOB, "join", BOB, match="not invited")
    room.put(ALICE, "invite", BOB)
    move(room, BOB, "join", BOB)
    room.send(ALICE, "m.room.join_rules", {"join_rule": ["public"]}, "")
    refuses(room, CAROL, "join", CAROL, match="not invited")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("rule", ["restricted", "knock_restricted"])
def test_restricted_joins(version: str, rule: str) -> None:
    """A restricted join needs a joined member who may invite; versions without the rule let nobody in."""
    room = room_with(version, None, rule)
    if not is_known_rule(version, rule):
        refuses(room, BOB, "join", BOB, match="not invited", join_authorised_via_users_server=ALICE)
        return
    room.put(CAROL, "join", CAROL)
    room.levels({CAROL: 49, DAVE: 50}, invite=50)
    move(room, BOB, "join", BOB, join_authorised_via_users_server=ALICE)
    refuses(room, BOB, "join", BOB, match="required rooms")
    refuses(room, BOB, "join", BOB, match="required rooms", join_authorised_via_users_server=[])
    refuses(room, BOB, "join", BOB, match="may not invite", join_authorised_via_users_server=CAROL)
    refuses(room, BOB, "join", BOB, match="is not in the room", join_authorised_via_users_server=DAVE)
    room.put(ALICE, "ban", BOB)
    refuses(room, BOB, "join", BOB, match="banned", join_authorised_via_users_server=ALICE)


# Invite


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("current", CURRENT)
def test_inviting(version: str, current: str | None) -> None:
    """Anybody but the joined and the banned can be invited."""
    expect(current not in {"join", "ban"}, room_with(version, current), ALICE, "invite", BOB)


@pytest.mark.parametrize("version", VERSIONS)
def test_who_may_invite(version: str) -> None:
    """Inviting needs membership and the level."""
    room = room_with(version, "invite")
    refuses(room, BOB, "invite", CAROL, match="not in room")
    room.put(BOB, "join", BOB)
    move(room, BOB, "invite", CAROL)
    room.levels({}, invite=1)
    refuses(room, BOB, "invite", CAROL, match="invite users")


TPI_KEY = SigningKey("id.example", "0", KEY.key)
PUBLIC_KEY = encode_base64(bytes(TPI_KEY.verify_key))
OTHER_KEY = encode_base64(bytes(generate_signing_key("x").verify_key))


def invitation(signed_by: SigningKey = TPI_KEY, **changes: Any) -> JsonObject:
    """The signed part of an invite by a third party, as an identity server makes it."""
    signed: JsonObject = {"mxid": BOB, "token": "abc", **changes}
    signed["signatures"] = {signed_by.server_name: {signed_by.key_id: signed_by.sign(signed)}}
    return {"display_name": "b", "signed": signed}


def room_of_third_party(version: str, content: JsonObject) -> Room:
    room = Room(version)
    room.send(ALICE, "m.room.third_party_invite", content, "abc")
    return room


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "keys",
    [
        {"public_key": PUBLIC_KEY},
        {"public_key": OTHER_KEY, "public_keys": [{"public_key": "?"}, 5, {"public_key": PUBLIC_KEY}]},
        {"public_keys": [{"public_key": PUBLIC_KEY}]},
    ],
)
def test_third_party_invite(version: str, keys: JsonObject) -> None:
    """A good signature by any key of the invite lets the user be invited, whatever the level."""
    room = room_of_third_party(version, keys)
    room.levels({}, invite=100)
    move(room, ALICE, "invite", BOB, third_party_invite=invitation())


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("invite", "match"),
    [
        (None, "token"),
        ({}, "token"),
        ({"signed": []}, "token"),
        ({"signed": {"mxid": BOB}}, "token"),
        ({"signed": {"token": "abc"}}, "somebody else"),
        (invitation(mxid=CAROL), "somebody else"),
        (invitation(token="other"), "no third party invite"),
        ({"signed": {"mxid": BOB, "token": "abc"}}, "No signature"),
        ({"signed": {"mxid": BOB, "token": "abc", "signatures": {"x": 5}}}, "No signature"),
        ({"signed": {"mxid": BOB, "token": "abc", "signatures": {"x": {"rsa:1": "A"}}}}, "No signature"),
        (invitation(generate_signing_key("id.example")), "No signature"),
        ({"signed": invitation()["signed"] | {"x": 1}}, "No signature"),
    ],
)
def test_bad_third_party_invite(version: str, invite: Any, match: str) -> None:
    """Every part of the invite must fit."""
    room = room_of_third_party(version, {"public_key": PUBLIC_KEY})
    refuses(room, ALICE, "invite", BOB, match=match, third_party_invite=invite)


@pytest.mark.parametrize("version", VERSIONS)
def test_third_party_invite_of_others(version: str) -> None:
    """Only who sent the invite to the third party completes it, and never for the banned."""
    room = room_of_third_party(version, {"public_key": PUBLIC_KEY})
    room.put(CAROL, "join", CAROL)
    refuses(room, CAROL, "invite", BOB, match="of the sender", third_party_invite=invitation())
    room.put(ALICE, "ban", BOB)
    refuses(room, ALICE, "invite", BOB, match="banned", third_party_invite=invitation())


def test_third_party_invite_checks_a_bounded_number_of_signatures() -> None:
    """An event full of signatures costs no more than a hundred checks."""
    room = room_of_third_party("12", {"public_key": PUBLIC_KEY})
    signed = invitation()["signed"]
    good = signed["signatures"]["id.example"]
    wrong = {f"ed25519:{number}_": "A" * 86 for number in range(100)}
    few = signed | {"signatures": {"id.example": dict(list(wrong.items())[:99]) | good}}
    many = signed | {"signatures": {"id.example": wrong | good}}
    move(room, ALICE, "invite", BOB, third_party_invite={"signed": few})
    refuses(room, ALICE, "invite", BOB, match="No signature", third_party_invite={"signed": many})


# Leave, kick, ban


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("current", CURRENT)
def test_leaving(version: str, current: str | None) -> None:
    """Whoever is joined or invited may leave; from version 7 on whoever knocks, too."""
    allowed = current in {"join", "invite"} or (current == "knock" and int(version) >= 7)
    expect(allowed, room_with(version, current), BOB, "leave", BOB)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("current", CURRENT)
def test_kicking(version: str, current: str | None) -> None:
    """A member with the level removes any lesser user, whatever their membership."""
    room = room_with(version, current)
    room.put(CAROL, "join", CAROL)
    room.levels({BOB: 49, CAROL: 50, DAVE: 49}, kick=50, ban=50)
    move(room, CAROL, "leave", BOB)
    refuses(room, DAVE, "leave", BOB, match="not in room")
    room.put(DAVE, "join", DAVE)
    refuses(room, DAVE, "leave", BOB)


@pytest.mark.parametrize("version", VERSIONS)
def test_limits_of_kicking(version: str) -> None:
    """Kicking needs the kick level and more power than the target; unbanning also the ban level."""
    room = room_with(version, "join")
    room.put(CAROL, "join", CAROL)
    room.put(DAVE, "join", DAVE)
    room.levels({BOB: 50, CAROL: 60, DAVE: 60}, kick=55, ban=70)
    move(room, CAROL, "leave", BOB)
    refuses(room, CAROL, "leave", DAVE, match="cannot kick")
    refuses(room, BOB, "leave", "@x:b.example", match="cannot kick")
    room.put(ALICE, "ban", BOB)
    refuses(room, CAROL, "leave", BOB, match="cannot unban")
    move(room, ALICE, "leave", BOB)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("current", CURRENT)
def test_banning(version: str, current: str | None) -> None:
    """A member with the level bans any lesser user, also strangers and the banned."""
    room = room_with(version, current)
    room.put(CAROL, "join", CAROL)
    room.put(DAVE, "join", DAVE)
    room.levels({BOB: 49, CAROL: 50, DAVE: 49}, ban=50)
    move(room, CAROL, "ban", BOB)
    refuses(room, DAVE, "ban", BOB, match="permission to ban")
    refuses(room, CAROL, "ban", CAROL, match="permission to ban")
    refuses(room, "@x:a.example", "ban", BOB, match="not in room")


@pytest.mark.parametrize("version", VERSIONS)
def test_creators_and_moderation(version: str) -> None:
    """In version 12 no creator can be removed, not even by another, and they may remove anybody else."""
    room = Room(version, {"additional_creators": [BOB]})
    for user_id in (BOB, CAROL):
        room.put(user_id, "join", user_id)
    highest = 2**53 - 1 if version == "12" else 100
    room.levels({CAROL: highest})
    for membership in ("leave", "ban"):
        expect(version == "12", room, ALICE, membership, CAROL)
        expect(version == "12", room, BOB, membership, CAROL)
        expect(version != "12", room, ALICE, membership, BOB)
        refuses(room, CAROL, membership, ALICE)


# Knock


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("rule", ["public", "invite", "knock", "restricted", "knock_restricted"])
@pytest.mark.parametrize("current", CURRENT)
def test_knocking(version: str, rule: str, current: str | None) -> None:
    """Where the rule says so, whoever is not banned, invited or joined may knock."""
    is_rule = rule in {"knock", "knock_restricted"} and is_known_rule(version, rule)
    allowed = is_rule and current in {None, "knock", "leave"}
    expect(allowed, room_with(version, current, rule), BOB, "knock", BOB)


@pytest.mark.parametrize("version", VERSIONS)
def test_nobody_knocks_for_others(version: str) -> None:
    """A knock is sent by the user who knocks."""
    refuses(room_with(version, None, "knock"), ALICE, "knock", BOB)


@pytest.mark.parametrize("version", ["1", "2", "3", "4", "5", "6"])
def test_knocking_in_old_versions(version: str) -> None:
    """Before version 7 a knock is an unknown membership, and cannot be taken back."""
    room = room_with(version, "knock", "knock")
    refuses(room, BOB, "knock", BOB, match="Unknown membership")
    refuses(room, BOB, "leave", BOB)
