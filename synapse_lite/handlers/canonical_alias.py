"""The aliases that an `m.room.canonical_alias` event lists."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, invalid_param
from synapse_lite.handlers.rooms import check_alias

CANONICAL_ALIAS = "m.room.canonical_alias"
MAX_ALIASES = 1000


def listed_aliases(content: JsonObject) -> list[str]:
    """`alias` and `alt_aliases`. 400 `M_INVALID_PARAM` when one of them is no alias."""
    alias = content.get("alias")
    alternatives = content.get("alt_aliases")
    listed = [] if alternatives is None else alternatives
    if not isinstance(listed, list) or len(listed) > MAX_ALIASES:
        raise invalid_param(f"'alt_aliases' must be a list of at most {MAX_ALIASES} room aliases")
    listed = [*listed] if alias in (None, "") else [alias, *listed]
    for text in listed:
        if not isinstance(text, str):
            raise invalid_param("A room alias must be a string")
        check_alias(text)
    return listed


def without_alias(content: JsonObject, alias: str) -> JsonObject:
    """The content that lists the alias no more."""
    rest = {key: value for key, value in content.items() if not (key == "alias" and value == alias)}
    alternatives = rest.get("alt_aliases")
    if isinstance(alternatives, list):
        kept = [other for other in alternatives if other != alias]
        rest.pop("alt_aliases")
        if kept:
            rest["alt_aliases"] = kept
    return rest


def bad_alias(alias: str) -> MatrixError:
    return MatrixError(400, Errcode.BAD_ALIAS, f"Room alias {alias} does not point to the room")
