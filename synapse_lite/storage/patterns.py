"""Patterns for LIKE."""

_GLOBS = str.maketrans({"*": "%", "?": "_"})


def containing(term: str) -> str:
    """Matches lowered text that holds the term, whatever its case."""
    return f"%{_escaped(term.lower())}%"


def like_glob(pattern: str) -> str:
    """Matches what the glob does: `*` is any text, `?` one character."""
    return _escaped(pattern).translate(_GLOBS)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
