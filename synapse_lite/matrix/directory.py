"""By what users are found in the user directory."""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve

from synapse_lite.ids import domain_of, localpart_of
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


def directory_terms(text: str) -> list[Term]:
    """What a question asks for; every word may be the beginning of one. Of a user id, the server counts, too."""
    local, _, server = text.partition(":") if text.startswith("@") else (text, "", "")
    asked = [evolve(term, is_prefix=True) for term in terms(normalised(local))]
    if asked and server:
        asked.append(Term("", (_server(server),), is_run=False, is_prefix=True))
    return asked


def matches(asked: Sequence[Term], user_id: str, name: str | None) -> bool:
    """Whether the index would find the user by this name."""
    text, found = directory_text(user_id, name), directory_tokens(user_id, name)
    return all(
        (not term.is_run or term.text in text)
        and all(any(one.startswith(token) for one in found) for token in term.tokens)
        for term in asked
    )


def _server(name: str) -> str:
    return f":{name.lower()}"
