"""Canonical JSON, as the signatures rely on it."""

import canonicaljson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synapse_lite import canonical_json

INTEGERS = st.integers(-canonical_json.MAX_SAFE_INTEGER, canonical_json.MAX_SAFE_INTEGER)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("{}", "{}"),
        ('{ "one": 1, "two": "Two" }', '{"one":1,"two":"Two"}'),
        ('{ "b": "2", "a": "1" }', '{"a":"1","b":"2"}'),
        ('{"a": {"d": [ {"y": 1, "x": null} ], "c": true}}', '{"a":{"c":true,"d":[{"x":null,"y":1}]}}'),
        ('{"a": "日本語"}', '{"a":"日本語"}'),
        ('{"本": 2, "日": 1}', '{"日":1,"本":2}'),
        (r'{"a": "\u65E5"}', '{"a":"日"}'),
        ('{"a": null}', '{"a":null}'),
    ],
)
def test_examples_of_the_specification(text: str, canonical: str) -> None:
    """The examples of the appendix come out as it says."""
    assert canonical_json.encode(canonical_json.decode(text)).decode() == canonical


@settings(deadline=None)
@given(VALUES)
def test_same_bytes_as_canonicaljson(value: object) -> None:
    """Every legal value is encoded as the reference library does."""
    canonical_json.check_canonical(value)
    assert canonical_json.encode(value) == canonicaljson.encode_canonical_json(value)
