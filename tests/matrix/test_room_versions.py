import attrs
import pytest

from synapse_lite.matrix.room_versions import DEFAULT_ROOM_VERSION, ROOM_VERSIONS

FLAGS = {
    "10": {"knock", "restricted", "knock_restricted", "integer_power_levels"},
    "11": {"implicit_creator", "redacts_in_content"},
    "12": {"room_id_is_hash", "privileged_creators"},
}
ALWAYS = {"enforce_key_validity", "strict_canonical_json", "check_notification_levels"}


@pytest.mark.parametrize("version", sorted(ROOM_VERSIONS))
def test_flags(version: str) -> None:
    """Each version has the flags of all versions up to it."""
    row = attrs.asdict(ROOM_VERSIONS[version], recurse=False)
    expected = ALWAYS.union(*(flags for since, flags in FLAGS.items() if since <= version))
    assert {name for name, value in row.items() if value is True} == expected
    assert row["identifier"] == version
    assert row["state_resolution"] == ("v2.1" if version == "12" else "v2")


def test_default_version_exists() -> None:
    """New rooms get a version that we know."""
    assert DEFAULT_ROOM_VERSION in ROOM_VERSIONS
