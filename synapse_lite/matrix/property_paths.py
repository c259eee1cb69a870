"""Dotted names of properties of events, in push rules and filters (appendices, "Dot-separated property paths")."""

from typing import Any

from synapse_lite.canonical_json import JsonObject

Path = tuple[str, ...]

MISSING: Any = object()
"""What `find` returns where there is nothing: JSON's null is something."""


def split_path(text: str) -> Path:
    """The names between the dots; a backslash before a dot or a backslash makes it part of a name."""
    names, name, rest = [], "", iter(text)
    for character in rest:
        if character == ".":
            names.append(name)
            name = ""
        elif character == "\\":
            escaped = next(rest, "")
            name += escaped if escaped in {".", "\\"} else character + escaped
        else:
            name += character
    return (*names, name)


def find(value: JsonObject, path: Path) -> Any:
    """What stands at the path, or `MISSING`."""
    found: Any = value
    for name in path:
        if not isinstance(found, dict) or name not in found:
            return MISSING
        found = found[name]
    return found
