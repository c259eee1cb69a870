"""Fields of JSON bodies, typed and checked: text that goes into the database has a limit and no NUL."""

from typing import Any, TypeVar, overload

from pydantic import BaseModel, ConfigDict, ValidationError

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import bad_json, invalid_param, missing_param
from synapse_lite.http.request import REQUIRED

T = TypeVar("T")
D = TypeVar("D")
B = TypeVar("B", bound="Body")

MAX_USERNAME = 512
MAX_PASSWORD = 512
MAX_DEVICE_ID = 512
MAX_DEVICE_NAME = 255


class Body(BaseModel):
    """A body for `read_body`: of the very types of its fields; unknown ones are ignored."""

    model_config = ConfigDict(strict=True, defer_build=True)


@overload
def parameter(body: JsonObject, name: str, kind: type[T]) -> T: ...
@overload
def parameter(body: JsonObject, name: str, kind: type[T], default: D) -> T | D: ...
@overload
def parameter(body: JsonObject, name: str, kind: tuple[type, ...], default: Any = REQUIRED) -> Any: ...
def parameter(body: JsonObject, name: str, kind: type | tuple[type, ...], default: Any = REQUIRED) -> Any:
    """A field of a body; null counts as absent when the default is None.

    Raises 400 `M_MISSING_PARAM` when it is absent and has no default, 400 `M_BAD_JSON` when it is
    of another type. A boolean is not an integer.
    """
    value = body.get(name)
    if name not in body or (value is None and default is None):
        if default is REQUIRED:
            raise missing_param(name)
        return default
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise bad_json(f"Parameter {name!r} must be of type {' or '.join(k.__name__ for k in kinds)}")
    return value


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


def text_list(body: JsonObject, name: str, *, longest: int, most: int) -> list[str]:
    """A list of at most `most` texts; the same errors as `text`."""
    values: list[Any] = parameter(body, name, list)
    if len(values) > most:
        raise invalid_param(f"Parameter {name!r} holds more than {most} values")
    for value in values:
        if not isinstance(value, str):
            raise bad_json(f"Parameter {name!r} must be a list of strings")
        _check(name, value, longest)
    return values


def read_body(model: type[B], body: JsonObject) -> B:
    """400 `M_MISSING_PARAM` when a missing field is all that is wrong, else `M_BAD_JSON`, as Synapse answers."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_context=False, include_input=False)
        if [mistake["type"] for mistake in mistakes] == ["missing"]:
            raise missing_param(str(mistakes[0]["loc"][0])) from None
        raise bad_json("; ".join(f"{'.'.join(map(str, m['loc']))}: {m['msg']}" for m in mistakes)) from None


def _check(name: str, value: str, longest: int) -> None:
    if len(value) > longest:
        raise invalid_param(f"Parameter {name!r} is longer than {longest} characters")
    if "\0" in value:
        raise invalid_param(f"Parameter {name!r} holds a NUL character")
