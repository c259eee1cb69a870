"""Text in bodies: what goes into the database has a limit and no NUL."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import invalid_param
from synapse_lite.http.request import parameter

MAX_USERNAME = 512
MAX_PASSWORD = 512
MAX_DEVICE_ID = 512
MAX_DEVICE_NAME = 255


def text(body: JsonObject, name: str, longest: int) -> str:
    """400 `M_MISSING_PARAM`, `M_BAD_JSON` for another type, `M_INVALID_PARAM` for its length or NUL."""
    value = parameter(body, name, str)
    _check(name, value, longest)
    return value


def optional_text(body: JsonObject, name: str, longest: int) -> str | None:
    """As `text`; None when it is absent or null."""
    value = parameter(body, name, str, None)
    if value is not None:
        _check(name, value, longest)
    return value


def _check(name: str, value: str, longest: int) -> None:
    if len(value) > longest:
        raise invalid_param(f"Parameter {name!r} is longer than {longest} characters")
    if "\0" in value:
        raise invalid_param(f"Parameter {name!r} holds a NUL character")
