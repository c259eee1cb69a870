"""Glob patterns, held against a slow reading of their definition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synapse_lite.matrix.globs import compile_glob

WORD = "abcdefghijklmnopqrstuvwxyz0123456789_"
SMALL = st.text("ab_ .?*", max_size=7)


def slow_match(pattern: str, text: str) -> bool:
    """By the definition: `*` is nothing, or one character and more; `?` is one character."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return slow_match(pattern[1:], text) or (bool(text) and slow_match(pattern, text[1:]))
    return bool(text) and pattern[0] in {"?", text[0]} and slow_match(pattern[1:], text[1:])


@given(SMALL, SMALL)
def test_whole_texts(pattern: str, text: str) -> None:
    """A pattern fits a text exactly when the definition says so."""
    assert compile_glob(pattern).matches(text) == slow_match(pattern, text)


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("ex*ple", "An example event.", True),
        ("exple", "exple", True),
        ("exam?le", "exciting example", True),
        ("foo", "foobar", False),
        ("foo", "a-foo-b", True),
        ("foo", "a_foo", False),
        ("foo", "foo9", False),
        ("test", "testü", True),
        ("検索", "全文検索する", True),
        ("d'angelo", "ask d'angelo now", True),
        ("foo*bar", "xfoo foo bar", True),
        ("foo*bar", "foo barx bar", True),
        ("foo*bar", "xfoo bar", False),
        ("*bar", "x foobar y", True),
        ("foo*", "x foobar y", True),
        ("[a]", "[a]", True),
        ("[a]", "a", False),
        ("?", "", False),
        ("a.c", "abc", False),
        ("cat\ndog", "my cat\ndog", True),
        ("cat*dog", "cat\ndog", True),
    ],
)
def test_words(pattern: str, text: str, fits: bool) -> None:
    """Within a text, a match begins and ends where a word of Latin letters, digits and _ does."""
    assert compile_glob(pattern).occurs_in(text) is fits


@given(SMALL.filter(lambda pattern: pattern.strip("*")), SMALL)
def test_words_by_the_definition(pattern: str, text: str) -> None:
    """A pattern occurs where some part between boundaries fits it; stars at its ends reach to anywhere."""
    ends = range(len(text) + 1)
    expected = any(
        slow_match(pattern, text[start:end])
        for start in ends
        for end in ends
        if start <= end and _bounded(pattern, text, start, end)
    )
    assert compile_glob(pattern).occurs_in(text) == expected


def _bounded(pattern: str, text: str, start: int, end: int) -> bool:
    before = start == 0 or text[start - 1] not in WORD
    after = end == len(text) or text[end] not in WORD
    return before and after


def test_case_does_not_matter() -> None:
    """The pattern's case does not matter; the text comes in lower case."""
    assert compile_glob("FOO*Ä").matches("foo bar ä")


@pytest.mark.parametrize("pattern", ["*a" * 40 + "*b", "a*" * 40 + "b", "?*" * 60 + "b", "*" * 5000 + "b"])
def test_no_pattern_goes_back(pattern: str) -> None:
    """Patterns on which a backtracking search would not come to an end within the limit of a test."""
    assert not compile_glob(pattern).matches("a" * 20_000)
    assert not compile_glob(pattern).occurs_in("a" * 20_000)
