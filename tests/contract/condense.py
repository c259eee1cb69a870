"""From an OpenAPI document to the shapes of answers: `python -m tests.contract.condense DOCUMENT`.

A shape is the name of a type, `=` and the allowed words, a list of alternatives after `"|"`, `[shape]` for a list, or an object: the shapes of its keys, of
which those that may be missing end with `?`, and as `*` that of all other keys. `any` is anything.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ANSWERS = Path(__file__).with_name("answers.json")
ANY = "any"
SUCCESS = ("200", "201", "202")


def condense(document: Mapping[str, Any]) -> dict[str, Any]:
    """The shape of the answer to each operation, as far as it is JSON."""
    return dict(sorted(_operations(document)))


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status in SUCCESS:
                content = operation["responses"].get(status, {}).get("content", {})
                schema = content.get("application/json", {}).get("schema")
                yield f"{method.upper()} {path}", ANY if schema is None else shape(schema)
                break


def shape(schema: Mapping[str, Any]) -> Any:
    """Of one schema."""
    if "enum" in schema:
        return "=" + "|".join(str(one) for one in schema["enum"])
    if "oneOf" in schema or "anyOf" in schema:
        return ["|", *(shape(one) for one in (*schema.get("oneOf", ()), *schema.get("anyOf", ())))]
    kind = schema.get("type", "object" if {"properties", "allOf", "required"} & schema.keys() else ANY)
    if isinstance(kind, list):
        return ["|", *(shape({**schema, "type": one}) for one in kind)]
    if kind == "array":
        return [shape(schema.get("items", {}))]
    return _object(schema) if kind == "object" else kind


def _object(schema: Mapping[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required: set[str] = set()
    others: Any = ANY
    for part in _parts(schema):
        properties |= {name: shape(one) for name, one in part.get("properties", {}).items()}
        required |= set(part.get("required", ()))
        others = _others(part, others)
    keys = {(name if name in required else f"{name}?"): one for name, one in properties.items()}
    keys |= dict.fromkeys(required - properties.keys(), ANY)
    return keys if others == ANY else {**keys, "*": others}


def _parts(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Of what it is put together."""
    for part in schema.get("allOf", ()):
        yield from _parts(part)
    yield schema


def _others(schema: Mapping[str, Any], otherwise: Any) -> Any:
    found = list(schema.get("patternProperties", {}).values())
    more = schema.get("additionalProperties")
    if isinstance(more, dict) and more:
        found.append(more)
    return shape(found[0]) if len(found) == 1 else otherwise


if __name__ == "__main__":
    shapes = condense(json.loads(Path(sys.argv[1]).read_text()))
    ANSWERS.write_text(json.dumps(shapes, indent=0, sort_keys=True, ensure_ascii=False) + "\n")
