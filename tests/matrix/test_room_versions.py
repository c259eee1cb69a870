import attrs
import pytest

from synapse_lite.config.rooms import RoomOptions
from synapse_lite.matrix.room_versions import ROOM_VERSIONS

FLAGS = {
    "3": {"event_id_is_hash"},
    "4": {"event_id_is_url_safe"},
    "5": {"enforce_key_validity"},
    "6": {"strict_canonical_json", "check_notification_levels"},
    "7": {"knock"},
    "8": {"restricted"},
    "10": {"knock_restricted", "integer_power_levels"},
    "11": {"implicit_creator", "redacts_in_content"},
    "12": {"room_id_is_hash", "privileged_creators"},
}
GONE = {"redactions_by_auth_rules": 2, "aliases_rule": 5}
RESOLUTIONS = {"1": "v1", "12": "v2.1"}


@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
def test_flags(version: str) -> None:
    """Each version has the flags of all versions up to it, and those that no later version dropped."""
    row = attrs.asdict(ROOM_VERSIONS[version], recurse=False)
    gained = set().union(*(flags for since, flags in FLAGS.items() if int(since) <= int(version)))
    expected = gained | {flag for flag, last in GONE.items() if int(version) <= last}
    assert {name for name, value in row.items() if value is True} == expected
    assert row["identifier"] == version
    assert row["state_resolution"] == RESOLUTIONS.get(version, "v2")
    assert ROOM_VERSIONS[version].max_depth == (2**63 - 1 if int(version) < 6 else 2**53 - 1)


def test_all_stable_versions_are_known() -> None:
    """Versions 1 to 12, in this order."""
    assert list(ROOM_VERSIONS) == [str(number) for number in range(1, 13)]


def test_default_version_exists() -> None:
    """New rooms get a version that we know."""
    assert RoomOptions().default_room_version in ROOM_VERSIONS
