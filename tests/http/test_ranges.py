"""Ranges of a file of ten bytes."""

import pytest

from synapse_lite.http.ranges import Span, choose_span, matches

WHOLE = (200, 0, 10)
NOTHING = (416, 0, 0)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", WHOLE), ("bytes=0-1", (206, 0, 2)), ("bytes=0-", (206, 0, 10)), ("bytes=5-", (206, 5, 5)),
        ("bytes=-3", (206, 7, 3)), ("bytes=-99", (206, 0, 10)), ("bytes=9-9", (206, 9, 1)),
        ("bytes=2-999", (206, 2, 8)), ("bytes=10-", NOTHING), ("bytes=10-12", NOTHING), ("bytes=-0", NOTHING),
        ("bytes=5-4", WHOLE), ("bytes=-", WHOLE), ("bytes=0-1,4-5", WHOLE), ("items=0-1", WHOLE),
        ("bytes=a-b", WHOLE), ("bytes=0-99999999999999999999", WHOLE), (" bytes=0-1 ", (206, 0, 2)),
    ],
)  # fmt: skip
def test_spans(header: str, expected: tuple[int, int, int]) -> None:
    """One range is answered with exactly its bytes, what cannot be understood with the whole file."""
    span = choose_span(header, "", 10, '"x"')
    assert (span.status, span.start, span.length) == expected


def test_if_range() -> None:
    """A range of a file that has changed is answered with the whole new file."""
    assert choose_span("bytes=0-1", '"x"', 10, '"x"').status == 206
    assert choose_span("bytes=0-1", '"old"', 10, '"x"') == Span(200, 0, 10, 10)


def test_content_range() -> None:
    """The header says which bytes of how many; nothing for the whole file."""
    assert choose_span("bytes=2-3", "", 10, "").content_range == "bytes 2-3/10"
    assert choose_span("bytes=10-", "", 10, "").content_range == "bytes */10"
    assert choose_span("", "", 10, "").content_range is None


def test_empty_file() -> None:
    """No range of an empty file can be satisfied; the whole of it can."""
    assert choose_span("bytes=0-", "", 0, "").status == 416
    assert choose_span("", "", 0, "").status == 200


def test_what_the_client_has() -> None:
    """Tags are compared one by one, weak ones too; a star is any."""
    assert matches('"a", W/"b"', '"b"')
    assert matches("*", '"b"')
    assert not matches('"a"', '"b"')
    assert not matches("", '"b"')
