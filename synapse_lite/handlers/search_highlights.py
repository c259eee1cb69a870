"""The words that clients mark in what a search has found."""

from collections.abc import Sequence

from synapse_lite.matrix.words import Term, normalised, spellings
from synapse_lite.storage.events import View
from synapse_lite.storage.search import KEYS

MAX_HIGHLIGHTS = 100
MAX_CHARACTERS = 100_000
"""Of the results together, in which the words are looked for."""


def highlights(asked: Sequence[Term], results: Sequence[View] = ()) -> list[str]:
    """What the terms find in the results, as it stands there; terms that find nothing there as they are compared.

    Clients mark what is literally so, in any case.
    """
    # At once: what many results say, is looked at for all of them.
    text = " ".join(_text_of(view) for view in results)[:MAX_CHARACTERS]
    found: dict[str, str] = {}
    for word in spellings(text, asked):
        found.setdefault(word.lower(), word)
    known = [normalised(word) for word in found]
    missing = [term.text for term in asked if not any(term.text in word for word in known)]
    return list(dict.fromkeys([*found.values(), *missing]))[:MAX_HIGHLIGHTS]


def _text_of(view: View) -> str:
    event = view.stored.event
    text = event.content.get(KEYS[event.type].removeprefix("content."))
    return text if isinstance(text, str) else ""
