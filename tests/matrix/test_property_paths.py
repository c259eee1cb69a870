"""Dotted names of properties."""

import pytest

from synapse_lite.matrix.property_paths import MISSING, find, split_path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("type", ("type",)),
        ("content.body", ("content", "body")),
        (r"content.m\.relates_to.rel_type", ("content", "m.relates_to", "rel_type")),
        (r"a\\.b", ("a\\", "b")),
        (r"a\\\.b", ("a\\.b",)),
        (r"a\xb", (r"a\xb",)),
        ("a\\", ("a\\",)),
        ("", ("",)),
        ("a..b.", ("a", "", "b", "")),
    ],
)
def test_splitting(text: str, path: tuple[str, ...]) -> None:
    """Dots separate, unless a backslash takes their meaning away; it does so to itself, too."""
    assert split_path(text) == path


def test_finding() -> None:
    """Null is found; what is not there, or lies below a text or a list, is missing."""
    value = {"a": {"b": None, "c.d": [1], "": "x"}}
    assert find(value, ("a", "b")) is None
    assert find(value, ("a", "c.d")) == [1]
    assert find(value, ("a", "")) == "x"
    assert find(value, ()) is value
    for path in (("b",), ("a", "c"), ("a", "b", "c"), ("a", "c.d", "0"), ("a", "", "x")):
        assert find(value, path) is MISSING
