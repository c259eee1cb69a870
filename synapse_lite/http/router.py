"""From method and path to the handler: a tree of path segments, walked once per request."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import cached_property
from urllib.parse import unquote_to_bytes

import attrs

from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError, invalid_param
from synapse_lite.http.access import Access
from synapse_lite.http.response import Response

Handler = Callable[..., Awaitable[JsonObject | Response]]
"""Called as `handler(request, requester, **path_params)`; without `requester` where access is `NONE`."""

CLIENT_VERSIONS = ("r0", "v1", "v3")

_OLD_PREFIXES = (["", "_matrix", "client", "unstable"], ["", "_matrix", "client", "api", "v1"])

MAX_BODY = 256 * 1024
"""Bytes: an event of 64 KiB, in whatever way its client escapes it."""

CREDENTIALS_BODY = 16 * 1024
"""Bytes: enough for names, passwords and proofs, for routes that anybody may call."""

MAX_PATH_PART = 512
"""Characters of a variable segment; identifiers of Matrix have at most 255 bytes."""


@attrs.frozen
class Route:
    """`pattern` is a path whose variable segments are named in braces: `/rooms/{room_id}/state`.

    A body beyond `max_body` bytes is 413. The handler of a route that `streams` is called before the body has
    arrived, and reads it from `request.stream`; else the whole body is in `request.body`. `error_headers` go along
    with every error. Answers of a route that `is_probe` are asked for all the time, by machines: the log tells only
    those that fail.
    """

    method: str
    pattern: str
    handler: Handler
    access: Access
    max_body: int = MAX_BODY
    streams: bool = False
    is_probe: bool = False
    error_headers: Mapping[str, str] = attrs.field(factory=dict)

    @cached_property
    def variables(self) -> tuple[tuple[int, str], ...]:
        """The places of the variable segments, and their names."""
        segments = enumerate(self.pattern.split("/"))
        return tuple((place, segment[1:-1]) for place, segment in segments if _is_variable(segment))


@attrs.frozen
class Match:
    route: Route
    params: dict[str, str]


@attrs.define
class _Node:
    literals: dict[str, "_Node"] = attrs.field(factory=dict)
    variable: "_Node | None" = None
    routes: dict[str, Route] = attrs.field(factory=dict)


class Router:
    """The routes of one listener.

    A literal segment is preferred to a variable one. A variable matches an empty segment only at the
    end of a path, as in `/rooms/{room_id}/state/{event_type}/`, where the state key is "".

    Raises `ValueError` when two routes have the same method and the same path but for names.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Node()
        for route in routes:
            self._add(route)

    def match(self, method: str, path: bytes) -> Match:
        """`path` is percent-encoded, without a query. HEAD is served by the GET route.

        Raises `MatrixError`: 404 `M_UNRECOGNIZED` for an unknown path, 405 for a method that the
        path does not have, 400 `M_INVALID_PARAM` for invalid UTF-8, NUL or a very long part.
        """
        segments = _decode_segments(path)
        leaves = _leaves(self._root, segments)
        if not leaves:
            segments = _stable(segments)
            leaves = _leaves(self._root, segments)
        for leaf in leaves:
            route = leaf.routes.get("GET" if method == "HEAD" else method)
            if route is not None:
                return Match(route, {name: segments[place] for place, name in route.variables})
        if leaves:
            raise MatrixError(405, Errcode.UNRECOGNIZED, "Unrecognized request: method not allowed")
        raise MatrixError(404, Errcode.UNRECOGNIZED, "Unrecognized request")

    def _add(self, route: Route) -> None:
        node = self._root
        for segment in route.pattern.split("/"):
            if _is_variable(segment):
                node.variable = node.variable or _Node()
                node = node.variable
            else:
                below = node.literals.get(segment)
                if below is None:
                    below = node.literals[segment] = _Node()
                node = below
        if route.method in node.routes:
            raise ValueError(f"Duplicate route: {route.method} {route.pattern}")
        node.routes[route.method] = route


def client_routes(
    method: str,
    path: str,
    handler: Handler,
    access: Access,
    *,
    versions: Sequence[str] = CLIENT_VERSIONS,
    max_body: int = MAX_BODY,
) -> list[Route]:
    """The same endpoint of the client-server API under each version prefix."""
    return [
        Route(method, f"/_matrix/client/{version}{path}", handler, access, max_body) for version in versions
    ]


def _stable(segments: list[str]) -> list[str]:
    """Under `unstable` and `api/v1` old clients ask for what is stable by now."""
    for old in _OLD_PREFIXES:
        if segments[: len(old)] == old:
            return ["", "_matrix", "client", "v3", *segments[len(old) :]]
    return segments


def _is_variable(segment: str) -> bool:
    return segment.startswith("{") and segment.endswith("}")


def _leaves(root: _Node, segments: list[str]) -> list[_Node]:
    """The nodes with routes that the segments lead to, the most literal first."""
    nodes = [root]
    last = len(segments) - 1
    for index, segment in enumerate(segments):
        below = []
        for node in nodes:
            literal = node.literals.get(segment)
            if literal is not None:
                below.append(literal)
            if node.variable is not None and (segment or index == last):
                below.append(node.variable)
        if not below:
            return []
        nodes = below
    return [node for node in nodes if node.routes]


def _decode_segments(path: bytes) -> list[str]:
    """Split first, then decode: an identifier may hold `%2F`."""
    try:
        segments = [
            (unquote_to_bytes(segment) if b"%" in segment else segment).decode()
            for segment in path.split(b"/")
        ]
    except UnicodeDecodeError:
        raise invalid_param("Path is not valid UTF-8") from None
    if "\0" in "".join(segments):
        raise invalid_param("Path holds a NUL character")
    if max(map(len, segments)) > MAX_PATH_PART:
        raise invalid_param(f"A part of the path is longer than {MAX_PATH_PART} characters")
    return segments
