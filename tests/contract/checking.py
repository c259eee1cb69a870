"""What happens to each answer: it is compared, and the call is noted for the running test."""

import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tests.contract.condense import ANSWERS, ANY
from tests.contract.shapes import faults

OLD_VERSIONS = re.compile(r"^/_matrix/client/(?:r0|v1|v3|unstable)/")
VERSIONS = ("v3", "v1")
ERROR = {"errcode": "string", "error": "string"}
CHALLENGE = {"session": "string", "flows": [{"stages": ["string"]}], "params": {}, "completed?": ["string"]}
OWN_SHAPES = ("event_format", "event_fields", "org.matrix.msc4140.delay")
"""In queries: they ask for another shape than usual."""

AS_SYNAPSE = {
    "GET /_matrix/client/v3/voip/turnServer": re.compile(r": '(username|password|uris|ttl)' is missing"),
    "GET /_matrix/client/v3/devices": re.compile(
        r".*\.(display_name|last_seen_ip|last_seen_ts): None is no "
    ),
    "GET /_matrix/client/v3/devices/{deviceId}": re.compile(
        r"\.(display_name|last_seen_ip|last_seen_ts): None is no "
    ),
    "GET /_matrix/client/v3/rooms/{roomId}/joined_members": re.compile(
        r".*\.(display_name|avatar_url): None is no "
    ),
}
"""What clients of Synapse are used to, though the specification says otherwise: an empty object where there are no TURN servers, null for what is not known."""

CALLS_FILE = "CONTRACT_CALLS"
"""The environment variable that names a file: who calls what is written there."""

calls: set[str] = set()
"""The operations that were called since the running test began; after ! those that were refused."""

REFUSED = "!"


def check(method: str, target: str, status: int, content_type: str, body: bytes) -> None:
    """`AssertionError` for an answer to a client that is not as the specification says."""
    path, _, query = target.partition("?")
    operation = find(method, path)
    if operation is None:
        return
    is_success = status < 300
    calls.add(operation if is_success else REFUSED + operation)
    if not content_type.startswith("application/json") or any(one in unquote(query) for one in OWN_SHAPES):
        return
    value, shape = json.loads(body), ANY
    if is_success:
        shape = answers()[operation]
    elif status >= 400:
        shape = ERROR if "errcode" in value and "flows" not in value else CHALLENGE
    accepted = AS_SYNAPSE.get(operation)
    wrong = [one for one in faults(shape, value) if accepted is None or not accepted.match(one)]
    assert not wrong, f"{operation} answered {status}, and the specification says otherwise: {wrong}"


def find(method: str, path: str) -> str | None:
    """The operation of the specification that a request is one of."""
    for version in VERSIONS:
        node: Any = tree()
        for segment in OLD_VERSIONS.sub(f"/_matrix/client/{version}/", path).split("/"):
            node = node.get(segment) or node.get("{}")
            if node is None:
                break
        else:
            operation: str | None = node.get(("GET" if method == "HEAD" else method,))
            if operation is not None:
                return operation
    return None


@cache
def answers() -> dict[str, Any]:
    """The shapes by operation."""
    found: dict[str, Any] = json.loads(ANSWERS.read_text())
    return found


@cache
def tree() -> dict[Any, Any]:
    """Operations by the segments of their paths, then the method in a tuple."""
    root: dict[Any, Any] = {}
    for operation in answers():
        method, path = operation.split(" ", 1)
        node = root
        for segment in path.split("/"):
            node = node.setdefault("{}" if segment.startswith("{") else segment, {})
        node[method,] = operation
    return root


def take_calls() -> list[str]:
    """What was noted; the next test begins anew."""
    found = sorted(calls)
    calls.clear()
    return found


def note_calls(test_id: str, made: list[str]) -> None:
    """For `python -m tests.contract`."""
    if CALLS_FILE in os.environ:
        with Path(os.environ[CALLS_FILE]).open("a") as file:
            file.writelines(f"{test_id}\t{operation}\n" for operation in made or [""])
