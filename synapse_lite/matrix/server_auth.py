"""Requests between servers: the `X-Matrix` scheme (server-server API, "Request Authentication")."""

import re

from attrs import frozen

from synapse_lite import canonical_json
from synapse_lite.canonical_json import JsonObject
from synapse_lite.errors import Errcode, MatrixError
from synapse_lite.ids import is_server_name
from synapse_lite.matrix.signing import ALGORITHM, SigningKey

SCHEME = "X-Matrix"
MAX_HEADER = 4096
_SCHEME = re.compile(r"x-matrix[ \t]+", re.IGNORECASE)
_PARAMETER = re.compile(
    r"""[ \t]*(?P<name>[!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]*=[ \t]*"""
    r"""(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^",\\ \t]*))[ \t]*(?:,|\Z)"""
)
_ESCAPED = re.compile(r"\\(.)")


@frozen
class ServerAuthorization:
    """One header. `destination` is None where the sender leaves it out, as servers of old do."""

    origin: str
    destination: str | None
    key_id: str
    signature: str


def unauthorized(message: str) -> MatrixError:
    return MatrixError(401, Errcode.UNAUTHORIZED, message)


def parse_authorization(header: str) -> ServerAuthorization:
    """Any order and case of names, blanks around commas, values in quotes or bare (RFC 9110, 11.4).

    Raises 401 `M_UNAUTHORIZED` for anything else, and for a parameter that is there twice.
    """
    scheme = _SCHEME.match(header)
    if scheme is None or len(header) > MAX_HEADER:
        raise unauthorized("Missing or malformed X-Matrix authorization")
    values = _parameters(header[scheme.end() :])
    try:
        found = ServerAuthorization(values["origin"], values.get("destination"), values["key"], values["sig"])
    except KeyError as missing:
        raise unauthorized(f"The X-Matrix authorization has no {missing}") from None
    if not is_server_name(found.origin):
        raise unauthorized("The X-Matrix authorization names no valid origin")
    if not found.key_id.startswith(f"{ALGORITHM}:"):
        raise unauthorized(f"Only keys of {ALGORITHM} sign requests")
    return found


def _parameters(text: str) -> dict[str, str]:
    values: dict[str, str] = {}
    position = 0
    while position < len(text.rstrip()):
        found = _PARAMETER.match(text, position)
        name = found["name"].lower() if found else ""
        if found is None or name in values:
            raise unauthorized("Malformed X-Matrix authorization")
        quoted = found["quoted"]
        values[name] = found["bare"] if quoted is None else _ESCAPED.sub(r"\1", quoted)
        position = found.end()
    return values


def signed_request(method: str, target: str, origin: str, destination: str, content: bytes | None) -> bytes:
    """The bytes that a signature covers. `target` is the path with its query, as it is sent.

    `content` is the body as canonical JSON; None: there is none.
    """
    request: JsonObject = {"method": method, "uri": target, "origin": origin, "destination": destination}
    rest = canonical_json.encode_exact(request)
    return rest if content is None else b'{"content":%b,%b' % (content, rest[1:])  # in the order of the names


def sign_request(
    key: SigningKey, method: str, target: str, destination: str, content: bytes | None = None
) -> str:
    """The value of the `Authorization` header. `content` as of `signed_request`."""
    signature = key.sign_bytes(signed_request(method, target, key.server_name, destination, content))
    return f'{SCHEME} origin="{key.server_name}",destination="{destination}",key="{key.key_id}",sig="{signature}"'
