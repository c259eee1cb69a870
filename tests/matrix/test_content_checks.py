"""What users may write into the events that everybody reads."""

from typing import Any

import attrs
import pytest

from synapse_lite.canonical_json import check_no_nul
from synapse_lite.errors import MatrixError
from synapse_lite.matrix.content_checks import check_content, check_draft, check_redactable
from synapse_lite.matrix.event import Draft, build_event
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from tests.matrix.builders import ALICE, KEY

ROOM = "!room:a.example"
HASH = "!" + "x" * 43
EVENT = "$" + "x" * 43

GOOD: list[tuple[str, dict[str, Any]]] = [
    ("x.anything", {"name": 5, "url": [], "users": "x"}),
    ("m.room.name", {}),
    ("m.room.name", {"name": "", "x": 5}),
    ("m.room.topic", {"topic": "t", "m.topic": {"m.text": [{"body": "t"}]}}),
    ("m.room.avatar", {}),
    ("m.room.avatar", {"url": "mxc://a/b", "info": {"w": 1}}),
    ("m.room.avatar", {"url": None, "info": None}),
    ("m.room.message", {"msgtype": "m.text", "body": "", "m.mentions": {}}),
    ("m.room.message", {"msgtype": "x", "body": "x", "m.mentions": {"user_ids": [ALICE], "room": True}}),
    ("m.room.message", {"msgtype": "m.text", "body": "x", "m.mentions": None, "m.relates_to": None}),
    ("m.room.join_rules", {"join_rule": "public"}),
    ("m.room.join_rules", {"join_rule": "some.msc"}),
    (
        "m.room.join_rules",
        {
            "join_rule": "restricted",
            "allow": [
                {"type": "m.room_membership", "room_id": ROOM},
                {"type": "m.room_membership", "room_id": HASH},
                {"type": "some.msc", "room_id": 5},
            ],
        },
    ),
    *(
        ("m.room.history_visibility", {"history_visibility": word})
        for word in ("invited", "joined", "shared", "world_readable")
    ),
    ("m.room.guest_access", {"guest_access": "can_join"}),
    ("m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2", "rotation_period_ms": 5}),
    ("m.room.tombstone", {"body": "gone", "replacement_room": HASH}),
    ("m.room.pinned_events", {"pinned": [EVENT, "$x:a.example"]}),
    ("m.room.third_party_invite", {"display_name": "a", "public_key": "k", "public_keys": [{}]}),
    ("m.room.third_party_invite", {}),
    ("m.room.power_levels", {}),
    ("m.room.power_levels", {"users": {ALICE: 100}, "events": {"x": -1}, "ban": 0, "custom": "x"}),
    ("m.room.server_acl", {"allow": ["*"], "deny": [], "allow_ip_literals": False}),
    ("m.room.retention", {"max_lifetime": 0, "min_lifetime": None}),
    ("m.space.child", {"via": ["a.example"], "order": "a", "suggested": True}),
    ("m.space.child", {}),
    ("m.space.parent", {"via": ["a.example:8448"], "canonical": True}),
    ("m.room.member", {"membership": "join", "displayname": None, "avatar_url": None}),
    (
        "m.room.member",
        {"membership": "invite", "third_party_invite": {"signed": {"token": "t"}}, "is_direct": True},
    ),
    ("m.room.create", {"predecessor": {"room_id": ROOM}, "type": "m.space", "m.federate": False}),
    ("m.room.create", {"predecessor": {"room_id": HASH, "event_id": EVENT}}),
    ("m.reaction", {"m.relates_to": {"rel_type": "m.annotation", "event_id": EVENT, "key": "x"}}),
]

BAD: list[tuple[str, dict[str, Any]]] = [
    *(("m.room.name", {"name": value}) for value in (None, 5, [], {}, True, "a\0b")),
    *(("m.room.topic", {"topic": value}) for value in (None, 5, ["x"])),
    ("m.room.topic", {"topic": "t", "m.topic": "t"}),
    ("m.room.avatar", {"url": 5}),
    ("m.room.avatar", {"url": "mxc://a/b", "info": []}),
    ("m.room.message", {}),
    ("m.room.message", {"body": "x"}),
    ("m.room.message", {"msgtype": "m.text"}),
    ("m.room.message", {"msgtype": 5, "body": "x"}),
    ("m.room.message", {"msgtype": "m.text", "body": {}}),
    ("m.room.message", {"msgtype": "m.text", "body": "x", "m.mentions": []}),
    ("m.room.message", {"msgtype": "m.text", "body": "x", "m.mentions": {"user_ids": ALICE}}),
    ("m.room.message", {"msgtype": "m.text", "body": "x", "m.mentions": {"user_ids": [5]}}),
    ("m.room.message", {"msgtype": "m.text", "body": "x", "m.mentions": {"room": 1}}),
    ("m.room.message", {"msgtype": "m.text", "body": "x", "m.relates_to": [EVENT]}),
    ("m.room.join_rules", {}),
    ("m.room.join_rules", {"join_rule": ["public"]}),
    ("m.room.join_rules", {"join_rule": "restricted", "allow": {}}),
    ("m.room.join_rules", {"join_rule": "restricted", "allow": ["x"]}),
    ("m.room.join_rules", {"join_rule": "restricted", "allow": [{"room_id": ROOM}]}),
    ("m.room.join_rules", {"join_rule": "restricted", "allow": [{"type": "m.room_membership"}]}),
    (
        "m.room.join_rules",
        {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": "!a\0:a.example"}]},
    ),
    ("m.room.join_rules", {"join_rule": "restricted", "allow": [{"type": "x"}] * 1001}),
    ("m.room.history_visibility", {"history_visibility": "public"}),
    ("m.room.history_visibility", {"history_visibility": ["shared"]}),
    ("m.room.guest_access", {"guest_access": True}),
    ("m.room.encryption", {}),
    ("m.room.encryption", {"algorithm": None}),
    ("m.room.encryption", {"algorithm": "x", "rotation_period_ms": "5"}),
    ("m.room.tombstone", {"replacement_room": "#a:b"}),
    ("m.room.tombstone", {}),
    ("m.room.tombstone", {"body": 5, "replacement_room": HASH}),
    ("m.room.pinned_events", {"pinned": EVENT}),
    ("m.room.pinned_events", {"pinned": [5]}),
    ("m.room.pinned_events", {"pinned": ["$" + "x" * 255]}),
    ("m.room.third_party_invite", {"public_keys": "k"}),
    ("m.room.third_party_invite", {"display_name": 5}),
    ("m.room.power_levels", {"users": []}),
    ("m.room.power_levels", {"users": {"alice": 5}}),
    ("m.room.power_levels", {"users": {ALICE: "5"}}),
    ("m.room.power_levels", {"users": {ALICE: True}}),
    ("m.room.power_levels", {"users": {ALICE: 2**53}}),
    ("m.room.power_levels", {"events": {"x": None}}),
    ("m.room.power_levels", {"notifications": 5}),
    *(
        ("m.room.power_levels", {name: value})
        for name in ("ban", "events_default", "invite", "kick", "redact", "state_default", "users_default")
        for value in ("50", None, 5.5)
    ),
    ("m.room.server_acl", {"allow": "*"}),
    ("m.room.server_acl", {"allow": ["*"], "deny": [5]}),
    ("m.room.server_acl", {"allow": ["*"], "allow_ip_literals": 0}),
    ("m.room.retention", {"max_lifetime": -1}),
    ("m.room.retention", {"min_lifetime": "5"}),
    ("m.space.child", {"via": "a.example"}),
    ("m.space.child", {"via": ["a b"]}),
    ("m.space.child", {"via": ["a.example"], "order": 5}),
    ("m.space.parent", {"canonical": "yes"}),
    ("m.room.member", {}),
    ("m.room.member", {"membership": ["join"]}),
    ("m.room.member", {"membership": "joined"}),
    ("m.room.member", {"membership": "join", "displayname": 5}),
    ("m.room.member", {"membership": "join", "displayname": "a\0"}),
    ("m.room.member", {"membership": "join", "avatar_url": {}}),
    ("m.room.member", {"membership": "join", "reason": []}),
    ("m.room.member", {"membership": "invite", "is_direct": 1}),
    ("m.room.member", {"membership": "join", "join_authorised_via_users_server": "a\0"}),
    ("m.room.member", {"membership": "invite", "third_party_invite": "x"}),
    ("m.room.member", {"membership": "invite", "third_party_invite": {"signed": {"token": "\0"}}}),
    ("m.room.member", {"membership": "invite", "third_party_invite": {"signed": {"token": "x" * 256}}}),
    ("m.room.create", {"predecessor": "x"}),
    ("m.room.create", {"predecessor": {}}),
    ("m.room.create", {"predecessor": {"room_id": "x"}}),
    ("m.room.create", {"predecessor": {"room_id": ROOM, "event_id": "x"}}),
    ("m.room.create", {"type": 5}),
    ("m.room.create", {"m.federate": "no"}),
    ("m.room.create", {"room_version": 12}),
    ("m.reaction", {"m.relates_to": "x"}),
]


def refusal(draft: Draft) -> tuple[int, str]:
    with pytest.raises(MatrixError) as caught:
        check_draft(draft)
    return caught.value.status, caught.value.errcode


@pytest.mark.parametrize(("event_type", "content"), GOOD)
def test_good_content(event_type: str, content: dict[str, Any]) -> None:
    """What the specification allows passes, and so does whatever nobody interprets."""
    check_content(event_type, content)


@pytest.mark.parametrize(("event_type", "content"), BAD)
def test_bad_content(event_type: str, content: dict[str, Any]) -> None:
    """A field of the wrong shape is refused, and the message names it."""
    with pytest.raises(MatrixError, match=r"must be|is missing") as caught:
        check_content(event_type, content)
    assert (caught.value.status, caught.value.errcode) == (400, "M_BAD_JSON")


MESSAGE = Draft("m.room.message", ALICE, {"msgtype": "m.text", "body": "x"}, 1)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"type": "x" * 256}, (413, "M_TOO_LARGE")),
        ({"type": "ü" * 128}, (413, "M_TOO_LARGE")),
        ({"type": "a\0b"}, (400, "M_BAD_JSON")),
        ({"state_key": "x" * 256}, (413, "M_TOO_LARGE")),
        ({"state_key": "\0"}, (400, "M_BAD_JSON")),
        ({"redacts": "x"}, (400, "M_INVALID_PARAM")),
        ({"redacts": "$a\0"}, (400, "M_INVALID_PARAM")),
        ({"redacts": "$" + "x" * 255}, (400, "M_INVALID_PARAM")),
        ({"type": "m.room.create", "state_key": ""}, (400, "M_INVALID_PARAM")),
        ({"content": {"body": "x"}}, (400, "M_BAD_JSON")),
        ({"type": "m.room.name", "content": {"name": "x"}}, (400, "M_BAD_JSON")),
        ({"type": "m.room.topic", "content": {"topic": "x"}}, (400, "M_BAD_JSON")),
    ],
)
def test_drafts(changes: dict[str, Any], expected: tuple[int, str]) -> None:
    """Ids have at most 255 bytes and no NUL, a room has one create event, and names are state."""
    check_draft(MESSAGE)
    check_draft(attrs.evolve(MESSAGE, type="x" * 255, state_key="x" * 255, redacts=EVENT))
    assert refusal(attrs.evolve(MESSAGE, **changes)) == expected


def test_nobody_shuts_their_own_server_out() -> None:
    """A server ACL that denies the sender's server, or allows nobody, is refused."""
    acl = Draft("m.room.server_acl", ALICE, {"allow": ["*"], "deny": ["b.example"]}, 1, "")
    check_draft(acl)
    for content in ({}, {"allow": ["*"], "deny": ["A.EXAMPLE"]}, {"allow": ["*.example.org"]}):
        assert refusal(attrs.evolve(acl, content=content)) == (400, "M_INVALID_PARAM")
    check_draft(attrs.evolve(acl, content={}, state_key="other"))  # means nothing to anybody


@pytest.mark.parametrize(
    ("event_type", "allowed"), [("m.room.create", 0), ("m.room.server_acl", 0), ("x", 1)]
)
def test_what_can_be_redacted(event_type: str, allowed: bool) -> None:
    """Not the create event, not the server ACL: a room would not survive that."""
    if allowed:
        check_redactable(event_type)
    else:
        with pytest.raises(MatrixError) as caught:
            check_redactable(event_type)
        assert (caught.value.status, caught.value.errcode) == (403, "M_FORBIDDEN")


@pytest.mark.parametrize("content", [{"a": "x\0"}, {"a\0": 1}, {"a": [{"b": ["\0"]}]}])
def test_nul_anywhere(content: dict[str, Any]) -> None:
    """No event of ours holds a NUL; a text that only looks like its escape passes."""
    version = ROOM_VERSIONS["12"]
    with pytest.raises(MatrixError, match="NUL"):
        build_event(Draft("x", ALICE, content, 1), version, ROOM, [], [], 1, KEY)
    build_event(Draft("x", ALICE, {"a": "\\u0000"}, 1), version, ROOM, [], [], 1, KEY)
    check_no_nul({"a": [1, None, {"b": "\\u0000"}]})
