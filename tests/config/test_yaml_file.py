"""Configuration files with mistakes that YAML itself lets pass."""

from pathlib import Path

import pytest

from synapse_lite.config.yaml_file import read_yaml
from synapse_lite.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [("a: 1\nb: 2\na: 3\n", 3, "a"), ("a:\n  b: 1\n  b: 1\n", 3, "b"), ("a: [{b: 1, b: 2}]\n", 1, "b")],
)
def test_a_key_that_is_given_twice_is_refused(tmp_path: Path, text: str, line: int, key: str) -> None:
    """Which of the two is meant, only the operator knows; the second one is named."""
    file = tmp_path / "homeserver.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        read_yaml(file)
    assert str(refused.value) == f"{file}:{line}: {key} is given twice"


def test_a_key_may_replace_one_that_is_merged(tmp_path: Path) -> None:
    """That is what `<<` is for."""
    file = tmp_path / "homeserver.yaml"
    file.write_text(
        "limit: &limit {per_second: 1, burst_count: 2}\nrc_message: {<<: *limit, burst_count: 3}\n"
    )
    assert read_yaml(file)["rc_message"] == {"per_second": 1, "burst_count": 3}
