"""What the comparison with the specification sees, and that its page is whole."""

import ast
from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from tests import status
from tests.contract import table
from tests.contract.checking import answers, check, find
from tests.contract.condense import condense, shape
from tests.contract.shapes import faults

JSON = "application/json"


def test_every_operation_that_has_a_route_is_called_by_a_test() -> None:
    """A new route is on the page, with the test that calls it; nothing is there that has none."""
    served = status.served()
    there = {one for one in answers() if status.normal(one) in served}
    assert set(table.read()) == there


def test_the_tests_that_are_named_exist() -> None:
    """Each is a function of the file; the fixture of all tests sees that it calls what it is named for."""
    for named in set(table.read().values()):
        file, _, name = named.partition("::")
        assert name in set(_functions(file)), named


def _functions(file: str) -> Iterator[str]:
    for node in ast.walk(ast.parse((table.ROOT / file).read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name


@pytest.mark.parametrize(
    ("body", "is_right"),
    [
        (b'{"user_id": "@a:b"}', True),
        (b'{"user_id": "@a:b", "device_id": "X", "is_guest": false, "org.example": 1}', True),
        (b"{}", False),
        (b'{"user_id": 1}', False),
        (b'{"user_id": "@a:b", "is_guest": "no"}', False),
        (b"[]", False),
    ],
)
def test_answers_are_compared(body: bytes, *, is_right: bool) -> None:
    """What is missing, and what is of another type."""
    refused = nullcontext() if is_right else pytest.raises(AssertionError)
    with refused:
        check("GET", "/_matrix/client/r0/account/whoami?x=y", 200, JSON, body)


def test_errors_are_compared() -> None:
    """An error has a code and words; what is asked for in more steps says so."""
    path = "/_matrix/client/v3/account/password"
    check("POST", path, 403, JSON, b'{"errcode": "M_FORBIDDEN", "error": "no"}')
    check("POST", path, 401, JSON, b'{"session": "x", "flows": [{"stages": []}], "params": {}}')
    for wrong in (b"{}", b'{"errcode": "M_FORBIDDEN"}', b'{"session": "x"}'):
        with pytest.raises(AssertionError):
            check("POST", path, 401, JSON, wrong)


def test_operations_are_found_by_their_paths() -> None:
    """In whatever version a client asks."""
    assert find("GET", "/_matrix/client/v3/rooms/!r:x/state/m.room.name/") == (
        "GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}"
    )
    assert find("GET", "/_matrix/client/r0/sync") == "GET /_matrix/client/v3/sync"
    assert find("GET", "/_matrix/client/v1/rooms/!r:x/hierarchy") is not None
    assert find("POST", "/_matrix/client/v3/sync") is None
    assert find("GET", "/_synapse/admin/v1/server_version") is None


def test_condensing() -> None:
    """Parts are put together, and what may be missing is marked."""
    part = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a", "c"]}
    whole = {
        "allOf": [part],
        "type": "object",
        "properties": {
            "b": {"type": "array", "items": {"type": ["integer", "null"]}},
            "d": {"oneOf": [{"enum": ["x", "y"]}, {"type": "boolean"}]},
        },
        "additionalProperties": {"type": "number"},
    }
    condensed = {
        "a": "string",
        "c": "any",
        "b?": [["|", "integer", "null"]],
        "d?": ["|", "=x|y", "boolean"],
        "*": "number",
    }
    assert shape(whole) == condensed
    answer = {"200": {"content": {JSON: {"schema": part}}}}
    document = {"paths": {"/p": {"get": {"responses": answer}, "put": {"responses": {"201": {}}}}}}
    assert condense(document) == {"GET /p": {"a": "string", "c": "any"}, "PUT /p": "any"}
    assert list(faults(condensed, {"a": "", "c": {}, "b": [1, None], "d": "x", "z": 1.5})) == []
    wrong = {"a": "", "c": 0, "b": [True], "d": "z", "z": ""}
    assert [one.partition(":")[0] for one in faults(condensed, wrong)] == [".b[0]", ".d", ".z"]
