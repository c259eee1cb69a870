import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synapse_lite.matrix.redaction import redact
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from tests.matrix.test_canonical import TEXTS, VALUES

VERSIONS = sorted(ROOM_VERSIONS)
COMMON = {
    "event_id",
    "type",
    "room_id",
    "sender",
    "state_key",
    "content",
    "hashes",
    "signatures",
    "depth",
    "prev_events",
    "auth_events",
    "origin_server_ts",
}
LEVELS = {"ban", "events", "events_default", "kick", "redact", "state_default", "users", "users_default"}
ALL_LEVELS = LEVELS | {"invite", "notifications", "other"}
CONTENT = [
    ("m.room.member", {"membership", "reason", "displayname"}, {"membership"}, {"membership"}),
    ("m.room.member", {"join_authorised_via_users_server"}, *[{"join_authorised_via_users_server"}] * 2),
    ("m.room.create", {"creator", "room_version"}, {"creator"}, {"creator", "room_version"}),
    ("m.room.join_rules", {"join_rule", "allow", "x"}, *[{"join_rule", "allow"}] * 2),
    ("m.room.power_levels", ALL_LEVELS, LEVELS, LEVELS | {"invite"}),
    ("m.room.aliases", {"aliases"}, set(), set()),
    ("m.room.history_visibility", {"history_visibility", "x"}, *[{"history_visibility"}] * 2),
    ("m.room.redaction", {"redacts", "reason"}, set(), {"redacts"}),
    ("m.room.message", {"body", "msgtype"}, set(), set()),
]


@pytest.mark.parametrize("version", VERSIONS)
def test_top_level_keys(version: str) -> None:
    """Version 11 drops `origin`, `membership` and `prev_state`; none keeps unknown keys or `unsigned`."""
    old = {"origin", "membership", "prev_state"}
    pdu = dict.fromkeys(COMMON | old | {"unsigned", "redacts", "x"}, 1) | {"type": "x", "content": {"a": 1}}
    kept = redact(pdu, ROOM_VERSIONS[version])
    assert kept.keys() == (COMMON | old if version == "10" else COMMON)
    assert kept["content"] == {}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("event_type", "keys", "in_10", "since_11"), CONTENT)
def test_content_keys(
    version: str, event_type: str, keys: set[str], in_10: set[str], since_11: set[str]
) -> None:
    """Each type keeps exactly the keys of the table."""
    pdu = {"type": event_type, "content": dict.fromkeys(keys, 1)}
    kept = redact(pdu, ROOM_VERSIONS[version])["content"]
    assert kept.keys() == (in_10 if version == "10" else since_11)


@pytest.mark.parametrize(
    ("value", "in_10", "since_11"),
    [
        (
            {"display_name": "x", "signed": {"token": "t"}},
            {},
            {"third_party_invite": {"signed": {"token": "t"}}},
        ),
        ({"display_name": "x"}, {}, {"third_party_invite": {}}),
        ("x", {}, {}),
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_third_party_invite(version: str, value: object, in_10: object, since_11: object) -> None:
    """Version 11 keeps the signed part of an invite by a third party."""
    pdu = {"type": "m.room.member", "content": {"third_party_invite": value}}
    assert redact(pdu, ROOM_VERSIONS[version])["content"] == (in_10 if version == "10" else since_11)


def test_original_stays() -> None:
    """The redacted event is left as it was."""
    pdu = {"type": "m.room.message", "content": {"body": "x"}, "unsigned": {}}
    redact(pdu, ROOM_VERSIONS["11"])
    assert pdu == {"type": "m.room.message", "content": {"body": "x"}, "unsigned": {}}


@settings(deadline=None)
@given(
    st.sampled_from(VERSIONS),
    st.sampled_from([row[0] for row in CONTENT]),
    st.dictionaries(
        TEXTS | st.sampled_from(["membership", "third_party_invite", "redacts"]), VALUES, max_size=4
    ),
    st.dictionaries(TEXTS | st.sampled_from(["origin", "depth", "unsigned"]), VALUES, max_size=4),
)
def test_redacting_twice_changes_nothing(
    version: str, event_type: str, content: dict[str, object], other: dict[str, object]
) -> None:
    """Redaction is idempotent."""
    once = redact(other | {"type": event_type, "content": content}, ROOM_VERSIONS[version])
    assert redact(once, ROOM_VERSIONS[version]) == once
