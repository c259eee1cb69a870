"""Glob patterns of users (appendices, "Glob-style matching"): `*` is any text, `?` any character.

A pattern is cut at its stars, and the parts are found one after the other: no pattern makes the
search go back, as a regular expression with several `.*` would.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

import attrs

_STARS = re.compile(r"\*+")
_MARKS = re.compile(r"(\?+)")
_WORD = "A-Za-z0-9_"


@attrs.frozen
class Glob:
    """A pattern, compared without regard to case. Texts must be given in lower case.

    `literal` occurs in every text that the pattern fits; to look for it first is much faster.
    """

    literal: str
    _whole: Sequence[re.Pattern[str]]
    _words: Sequence[re.Pattern[str]]

    def matches(self, lowered: str) -> bool:
        """Whether the pattern fits the whole text."""
        return self.literal in lowered and _follow_each_other(self._whole, lowered)

    def occurs_in(self, lowered: str) -> bool:
        """Whether the pattern fits a part of the text that begins and ends at a word boundary: the ends of
        the text, and wherever a character other than A-Z, a-z, 0-9 and _ stands outside.
        """
        return self.literal in lowered and _follow_each_other(self._words, lowered)


@lru_cache(maxsize=4096)
def compile_glob(pattern: str) -> Glob:
    texts = _STARS.split(pattern.lower())
    literals = [literal for text in texts for literal in text.split("?")]
    return _glob([_part(text) for text in texts], max(literals, key=len))


@lru_cache(maxsize=4096)
def compile_literal(text: str) -> Glob:
    """A pattern that fits this text alone, whatever stars it holds."""
    lowered = text.lower()
    return _glob([re.escape(lowered)], lowered)


def _glob(parts: Sequence[str], literal: str) -> Glob:
    words = _anchored(parts, f"(?<![{_WORD}])", f"(?![{_WORD}])")
    return Glob(literal, _anchored(parts, r"\A", r"\Z"), words)


def _part(text: str) -> str:
    """A run of question marks is one step of the search, however long it is."""
    runs = _MARKS.split(text)
    return "".join(f".{{{len(run)}}}" if run.startswith("?") else re.escape(run) for run in runs)


def _anchored(parts: Sequence[str], start: str, end: str) -> tuple[re.Pattern[str], ...]:
    """The first part is found at its leftmost place, which leaves the most room for the others."""
    first, last = (start if parts[0] else ""), (end if parts[-1] else "")
    if len(parts) == 1:
        return (re.compile(start + parts[0] + end, re.DOTALL),)
    bounded = (first + parts[0], *parts[1:-1], parts[-1] + last)
    return tuple(re.compile(part, re.DOTALL) for part in bounded if part)


def _follow_each_other(parts: Sequence[re.Pattern[str]], text: str) -> bool:
    position = 0
    for part in parts:
        found = part.search(text, position)
        if found is None:
            return False
        position = found.end()
    return True
