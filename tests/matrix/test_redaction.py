import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synapse_lite.matrix.redaction import redact
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from tests.matrix.test_canonical import TEXTS, VALUES

VERSIONS = list(ROOM_VERSIONS)
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
    ("m.room.member", {"membership", "reason", "displayname"}, {1: {"membership"}}),
    (
        "m.room.member",
        {"join_authorised_via_users_server"},
        {1: set(), 9: {"join_authorised_via_users_server"}},
    ),
    ("m.room.create", {"creator", "room_version"}, {1: {"creator"}, 11: {"creator", "room_version"}}),
    ("m.room.join_rules", {"join_rule", "allow", "x"}, {1: {"join_rule"}, 8: {"join_rule", "allow"}}),
    ("m.room.power_levels", ALL_LEVELS, {1: LEVELS, 11: LEVELS | {"invite"}}),
    ("m.room.aliases", {"aliases", "x"}, {1: {"aliases"}, 6: set()}),
    ("m.room.history_visibility", {"history_visibility", "x"}, {1: {"history_visibility"}}),
    ("m.room.redaction", {"redacts", "reason"}, {1: set(), 11: {"redacts"}}),
    ("m.room.message", {"body", "msgtype"}, {1: set()}),
]


@pytest.mark.parametrize("version", VERSIONS)
def test_top_level_keys(version: str) -> None:
    """Version 11 drops `origin`, `membership` and `prev_state`; none keeps unknown keys or `unsigned`."""
    old = {"origin", "membership", "prev_state"}
    pdu = dict.fromkeys(COMMON | old | {"unsigned", "redacts", "x"}, 1) | {"type": "x", "content": {"a": 1}}
    kept = redact(pdu, ROOM_VERSIONS[version])
    assert kept.keys() == (COMMON | old if int(version) <= 10 else COMMON)
    assert kept["content"] == {}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("event_type", "keys", "kept_since"), CONTENT)
def test_content_keys(version: str, event_type: str, keys: set[str], kept_since: dict[int, set[str]]) -> None:
    """Each type keeps exactly the keys of the table, by the version since which it does."""
    pdu = {"type": event_type, "content": dict.fromkeys(keys, 1)}
    kept = redact(pdu, ROOM_VERSIONS[version])["content"]
    assert kept.keys() == kept_since[max(since for since in kept_since if since <= int(version))]


@pytest.mark.parametrize(
    ("value", "before", "since_11"),
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
def test_third_party_invite(version: str, value: object, before: object, since_11: object) -> None:
    """Version 11 keeps the signed part of an invite by a third party."""
    pdu = {"type": "m.room.member", "content": {"third_party_invite": value}}
    assert redact(pdu, ROOM_VERSIONS[version])["content"] == (since_11 if int(version) >= 11 else before)


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
