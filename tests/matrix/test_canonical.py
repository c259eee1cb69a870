"""Canonical JSON, as the signatures rely on it."""

from collections.abc import Callable

import canonicaljson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synapse_lite import canonical_json
from synapse_lite.errors import MatrixError

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


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**30, -(10**30)])
def test_integers_that_cannot_be_kept(number: int) -> None:
    """An integer beyond 64 bits is refused, not rounded; also deep inside. The exact reading keeps it."""
    text = f'{{"a": [{{"b": {number}}}]}}'
    with pytest.raises(MatrixError) as caught:
        canonical_json.decode(text)
    assert (caught.value.status, caught.value.errcode) == (400, "M_BAD_JSON")
    assert canonical_json.decode_exact(text.encode()) == {"a": [{"b": number}]}


@pytest.mark.parametrize("read", [canonical_json.decode, canonical_json.decode_exact])
def test_endless_digits(read: Callable[[str], object]) -> None:
    """An integer of thousands of digits, which would take long to read, is refused by both."""
    with pytest.raises(MatrixError) as caught:
        read("[" + "9" * 5000 + "]")
    assert caught.value.status == 400


@pytest.mark.parametrize("value", [2**64 - 1, -(2**63), "1" * 40, {"0" * 40: 1.5}, 1e300])
def test_long_digits_that_can_be_kept(value: object) -> None:
    """Digits in texts, and every integer of 64 bits, come back as they were."""
    assert canonical_json.decode(canonical_json.dump([value])) == [value]


@pytest.mark.parametrize(
    "text", ['{"a": NaN}', "[Infinity]", "[1e999]", r'["\ud800"]', '{"a": 1', b'"\xff"', ""]
)
def test_what_is_no_json(text: str | bytes) -> None:
    """What RFC 8259 does not know is refused, lone surrogates too."""
    for read in (canonical_json.decode, canonical_json.decode_exact):
        with pytest.raises(MatrixError) as caught:
            read(text)
        assert caught.value.errcode == "M_NOT_JSON"


@settings(deadline=None)
@given(VALUES)
def test_same_bytes_as_canonicaljson(value: object) -> None:
    """Every legal value is encoded as the reference library does."""
    canonical_json.check_canonical(value)
    assert canonical_json.encode(value) == canonicaljson.encode_canonical_json(value)
    assert canonical_json.encode_exact(value) == canonical_json.encode(value)
