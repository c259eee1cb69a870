"""Patterns for LIKE."""

TRIGRAM = 3
_GLOBS = str.maketrans({"*": "%", "?": "_"})


def containing(term: str) -> str:
    """Matches text that holds the term. Both want to be lowered by the database, which may know fewer capitals than Python."""
    return f"%{_escaped(term)}%"


def spellings(term: str) -> list[str]:
    """The term in the cases in which names are written, for a database that knows the capitals of English only."""
    if term.isascii():
        return [term]
    return list(dict.fromkeys([term, term.lower(), term.upper(), term.capitalize(), term.title()]))


def has_trigrams(searched: str, argument: str, text: str) -> str | None:
    """A condition by which an index on `trigrams(searched)` tells what may hold the text, the argument of that name.

    None for a text that is too short.
    """
    return f"trigrams({searched}) @> trigrams(%({argument})s)" if len(text) >= TRIGRAM else None


def has_short_parts(searched: str, argument: str, text: str) -> str | None:
    """As `has_trigrams`, by an index on `short_parts(searched)`: for a text that is too short for the other one."""
    return f"short_parts({searched}) @> short_parts(%({argument})s)" if 0 < len(text) < TRIGRAM else None


def like_glob(pattern: str) -> str:
    """Matches what the glob does: `*` is any text, `?` one character."""
    return _escaped(pattern).translate(_GLOBS)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
