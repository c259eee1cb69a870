"""How text is cut into what can be searched for: the same for what is stored and for what is asked.

Chinese, Japanese, Korean, Thai, Lao, Khmer and Burmese do without spaces between words, or fasten particles to
them. Runs of these scripts become overlapping pairs of characters (with their marks), so that any part of a
sentence is found; everything else becomes words. See docs/decisions/040-search.md.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator

from attrs import frozen

MAX_TOKENS = 2000
MAX_WORD = 64
MAX_MARKS = 30
"""So many combining marks in a row are no more than anybody writes (UAX 15, "Stream-Safe Text Format")."""

# Hangul (with its letters alone), kana, ideographs with their marks of repetition; then Thai to Lao, Burmese, Khmer.
_RUN_CHARACTERS = (
    "\u1100-\u11ff\u3130-\u318f\uac00-\ud7ff\u3005-\u3007\u303b\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
    "\u0e01-\u0e2e\u0e30\u0e32\u0e33\u0e40-\u0e46\u0e50-\u0e59\u0e80-\u0eaf\u0eb0\u0eb2\u0eb3\u0ebd\u0ec0-\u0ec6"
    "\u0ed0-\u0edf\u1000-\u102a\u103f-\u1055\u1780-\u17b3"
)
_RUN = re.compile(f"[{_RUN_CHARACTERS}]")


@frozen
class Term:
    """A part of what is asked for. `is_run`: its `tokens` must stand together in the text, as `text` says."""

    text: str
    tokens: tuple[str, ...]
    is_run: bool
    is_prefix: bool = False


def normalised(text: str) -> str:
    """Without differences of width, composition and case; of marks in a row, the first `MAX_MARKS` remain."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", _safe(text)).casefold())


def _safe(text: str) -> str:
    """Marks are put into their order in the square of the time: 64 KiB of them would hold up the whole process for seconds."""
    if text.isascii() or not any(map(unicodedata.combining, text)):
        return text
    kept, marks = [], 0
    for character in text:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks <= MAX_MARKS:
            kept.append(character)
    return "".join(kept)


def tokens(text: str) -> list[str]:
    """The tokens of a normalised text, each once, at most `MAX_TOKENS`."""
    found: dict[str, None] = {}
    for clusters, is_run in _pieces(text):
        found.update(dict.fromkeys(_pairs(clusters) if is_run else ("".join(clusters)[:MAX_WORD],)))
        if len(found) >= MAX_TOKENS:
            break
    return [*found][:MAX_TOKENS]


def terms(text: str) -> list[Term]:
    """What a question in normalised text asks for: all of it. Its last word may be the beginning of one."""
    found = []
    for clusters, is_run in _pieces(text):
        piece = "".join(clusters)
        if is_run:
            pairs = _pairs(clusters)
            found.append(Term(piece, tuple(pairs[:-1] or pairs), is_run=True, is_prefix=True))
        else:
            found.append(Term(piece[:MAX_WORD], (piece[:MAX_WORD],), is_run=False))
    if found and not found[-1].is_run:
        last = found[-1]
        found[-1] = Term(last.text, last.tokens, is_run=False, is_prefix=True)
    return found


def spellings(text: str, asked: Collection[Term]) -> list[str]:
    """What the terms find in a text, as it stands there, each once: "Straße" for `strasse`. Of words the whole."""
    found: dict[str, None] = {}
    for part in dict.fromkeys(_safe(text).split()):
        folded = normalised(part)
        if any(term.text in folded for term in asked):
            found.update(dict.fromkeys(_written(part, asked)))
    return [*found]


def _written(text: str, asked: Collection[Term]) -> Iterator[str]:
    units = _units(text)
    folded = [normalised(unit) for unit in units]
    unit_of = [number for number, characters in enumerate(folded) for _ in characters]
    whole, end = "".join(folded), 0
    for clusters, is_run in _pieces(whole):
        piece = "".join(clusters)
        start = whole.index(piece, end)
        end = start + len(piece)
        for term in asked:
            if term.is_run is is_run and _finds(term, piece):
                first = start + piece.index(term.text) if is_run else start
                last = first + len(term.text) if is_run else end
                yield "".join(units[unit_of[first] : unit_of[last - 1] + 1])


def _finds(term: Term, piece: str) -> bool:
    if term.is_run:
        return term.text in piece
    word = piece[:MAX_WORD]
    return word.startswith(term.text) if term.is_prefix else word == term.text


def _units(text: str) -> list[str]:
    """The shortest parts of a text that are normalised each by itself."""
    if unicodedata.is_normalized("NFKC", text):
        return [*text]
    units: list[str] = []
    for character in text:
        if units and normalised(units[-1] + character) != normalised(units[-1]) + normalised(character):
            units[-1] += character
        else:
            units.append(character)
    return units


def tsquery(asked: Iterable[Term], *more: str) -> str:
    """PostgreSQL's tsquery for all the terms, and whatever else must be true."""
    parts = [
        f"{lexeme(token)}{':*' if term.is_prefix and number == len(term.tokens) else ''}"
        for term in asked
        for number, token in enumerate(term.tokens, 1)
    ]
    return " & ".join([*parts, *more])


def lexeme(token: str) -> str:
    escaped = token.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"


def _pairs(clusters: list[str]) -> list[str]:
    """Neighbours, and the last one alone."""
    return [first + second for first, second in zip(clusters, [*clusters[1:], ""], strict=True)]


def _pieces(text: str) -> Iterator[tuple[list[str], bool]]:
    """Words and runs, as characters with their marks; whether it is a run."""
    clusters: list[str] = []
    in_run = False
    for character in text:
        is_mark = unicodedata.category(character).startswith("M")
        if is_mark and clusters:
            clusters[-1] += character
            continue
        is_run = _RUN.match(character) is not None
        is_part = is_run or is_mark or character.isalnum()
        if clusters and (not is_part or is_run != in_run):
            yield clusters, in_run
            clusters = []
        if is_part:
            clusters.append(character)
            in_run = is_run
    if clusters:
        yield clusters, in_run
