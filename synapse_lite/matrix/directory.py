"""By what users are found in the user directory."""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve, frozen

from synapse_lite.ids import domain_of, is_server_name, localpart_of
from synapse_lite.matrix.words import Term, normalised, terms, tokens

MAX_NAME = 256
"""Characters of a name: other servers may say anything."""


def shown_names(content: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Display name and avatar that a member event shows."""
    name, avatar = content.get("displayname"), content.get("avatar_url")
    return (
        name.replace("\0", " ")[:MAX_NAME] if isinstance(name, str) and name else None,
        avatar if isinstance(avatar, str) and "\0" not in avatar else None,
    )


def directory_text(user_id: str, name: str | None) -> str:
    """Localpart and name, a line each, normalised."""
    return "\n".join(normalised(text) for text in (localpart_of(user_id), name) if text)


def directory_tokens(user_id: str, name: str | None) -> list[str]:
    """Of the words in name and localpart, and the server, as a whole."""
    return [*tokens(directory_text(user_id, name)), _server(domain_of(user_id))]


@frozen
class DirectoryQuestion:
    """`readings`: what may be meant, one or two; all of its terms are asked for, and each may be the beginning of a word.

    Runs are in each of the readings. `exact`: who is called so comes first; normalised.
    """

    readings: Sequence[Sequence[Term]]
    exact: str


def read_question(text: str) -> DirectoryQuestion:
    """Of a user id, the server counts, too. `bob:example.com` may be one, or two words of a name."""
    words = text.split()
    as_words = [_terms(word, is_id=word.startswith("@")) for word in words]
    as_ids = [_terms(word, is_id=_is_id(word)) for word in words]
    readings = [[term for part in parts for term in part] for parts in (as_words, as_ids)]
    exact = words[0].partition(":")[0].removeprefix("@") if words and _is_id(text.strip()) else text.strip()
    return DirectoryQuestion(
        [one for number, one in enumerate(readings) if one and one not in readings[:number]],
        normalised(exact),
    )


def matches(question: DirectoryQuestion, user_id: str, name: str | None) -> bool:
    """Whether the index would find the user by this name."""
    text, found = directory_text(user_id, name), directory_tokens(user_id, name)
    return any(
        all(
            (not term.is_run or term.text in text)
            and all(any(one.startswith(token) for one in found) for token in term.tokens)
            for term in asked
        )
        for asked in question.readings
    )


def _is_id(word: str) -> bool:
    local, _, server = word.partition(":")
    return word.startswith("@") or (bool(local) and is_server_name(server))


def _terms(word: str, *, is_id: bool) -> list[Term]:
    local, _, server = word.partition(":") if is_id else (word, "", "")
    asked = [evolve(term, is_prefix=True) for term in terms(normalised(local))]
    if asked and server:
        asked.append(Term("", (_server(server),), is_run=False, is_prefix=True))
    return asked


def _server(name: str) -> str:
    return f":{name.lower()}"
