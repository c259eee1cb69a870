import pytest
from hypothesis import given
from hypothesis import strategies as st

from synapse_lite.config.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        (0, 0),
        (1500, 1500),
        ("1500", 1500),
        ("200ms", 200),
        ("90s", 90_000),
        ("5m", 300_000),
        ("1h", 3_600_000),
        ("7d", 604_800_000),
        ("2w", 1_209_600_000),
        ("1y", 31_536_000_000),
    ],
)
def test_duration(text, milliseconds):
    """Durations are milliseconds, or a number with a unit."""
    assert parse_duration(text) == milliseconds


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (7, 7),
        ("7", 7),
        ("1K", 1024),
        ("50M", 52_428_800),
        ("500MiB", 524_288_000),
        ("2G", 2**31),
        ("1T", 2**40),
    ],
)
def test_size(text, size):
    """Sizes are bytes, or a number with a power of 1024."""
    assert parse_size(text) == size


@pytest.mark.parametrize("value", ["", "d", "1 day", "1.5h", "-1s", -1, True, 1.5, None, [], "1d1h"])
def test_no_duration(value):
    """Anything else is refused, with the form that is wanted."""
    with pytest.raises(ValueError, match="should be a duration"):
        parse_duration(value)


@pytest.mark.parametrize("value", ["", "M", "1m", "1KB", -1, False, 1.5, None, {}])
def test_no_size(value):
    """Anything else is refused, with the form that is wanted."""
    with pytest.raises(ValueError, match="should be a size"):
        parse_size(value)


@given(st.integers(min_value=0, max_value=10**15))
def test_durations_survive_printing(milliseconds):
    """A printed duration means exactly what it was."""
    assert parse_duration(format_duration(milliseconds)) == milliseconds


@given(st.integers(min_value=0, max_value=2**60))
def test_sizes_survive_printing(size):
    """A printed size means exactly what it was."""
    assert parse_size(format_size(size)) == size


def test_largest_unit():
    """Printing takes the largest exact unit."""
    assert [format_duration(n) for n in (604_800_000, 86_400_000, 1500)] == ["1w", "1d", "1500ms"]
    assert [format_size(n) for n in (52_428_800, 1025)] == ["50M", "1025"]
