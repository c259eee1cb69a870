"""Whether a value has a shape: see `condense`."""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.contract.condense import ANY

KINDS: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


def faults(shape: Any, value: Any, place: str = "") -> Iterator[str]:
    """What is wrong with the value, each with its place in it."""
    match shape:
        case "any":
            return
        case ["|", *alternatives]:
            found = [list(faults(one, value, place)) for one in alternatives]
            if all(found):
                yield from min(found, key=len)
        case [items]:
            yield from _of_list(items, value, place)
        case dict():
            yield from _of_object(shape, value, place)
        case str() if shape.startswith("="):
            if str(value) not in shape[1:].split("|"):
                yield f"{place}: {value!r} is none of {shape[1:]}"
        case str():
            is_kind = isinstance(value, KINDS[shape])
            if not is_kind or (isinstance(value, bool) and shape != "boolean"):
                yield f"{place}: {value!r} is no {shape}"


def _of_list(items: Any, value: Any, place: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{place}: {value!r} is no list"
        return
    if items != ANY:
        for index, one in enumerate(value):
            yield from faults(items, one, f"{place}[{index}]")


def _of_object(shape: Mapping[str, Any], value: Any, place: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{place}: {value!r} is no object"
        return
    for key, of_key in shape.items():
        name = key.removesuffix("?")
        if name in value and key != "*":
            yield from faults(of_key, value[name], f"{place}.{name}")
        elif key == name and key != "*":
            yield f"{place}: {name!r} is missing"
    if "*" in shape:
        for name in value.keys() - {key.removesuffix("?") for key in shape}:
            yield from faults(shape["*"], value[name], f"{place}.{name}")
