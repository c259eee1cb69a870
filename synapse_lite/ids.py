"""Identifiers of Matrix: users, rooms, events, aliases, servers (appendices, "Identifier Grammar")."""

import re
import secrets
import string
from functools import lru_cache

from synapse_lite.errors import Errcode, MatrixError, bad_json, invalid_param, too_large

MAX_ID_BYTES = 255
MAX_SERVER_NAME = MAX_ID_BYTES + len(":65535")
_NAMESPACED = re.compile(r"[a-z][a-z0-9._\-]{0,254}")
_LOCALPART = re.compile(r"[a-z0-9._=\-/+]+")
_ROOM_HASH = re.compile(r"![A-Za-z0-9_\-]{43}")
_SERVER_NAME = re.compile(r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[0-9A-Za-z\-.]{1,255})(?::[0-9]{1,5})?")


def domain_of(identifier: str) -> str:
    """The server name of `@user:server`, `!room:server` or `#alias:server`; "" when there is none."""
    return identifier.partition(":")[2]


def is_local(identifier: str, server_name: str) -> bool:
    """Whether `@user:server`, `#alias:server` or `!room:server` is of this server."""
    return domain_of(identifier) == server_name


def localpart_of(identifier: str) -> str:
    return identifier[1:].partition(":")[0]


def is_server_name(text: str) -> bool:
    return len(text) <= MAX_SERVER_NAME and _is_server_name(text)


@lru_cache(maxsize=1024)
def _is_server_name(text: str) -> bool:
    """Remembered, as the ids in one request name few servers."""
    return _SERVER_NAME.fullmatch(text) is not None


def is_same_server(name: str, other: str) -> bool:
    """Whether requests to the two reach one server: to DNS letters have no case. As parts of ids they are different."""
    return name.lower() == other.lower()


def split_server_name(server_name: str) -> tuple[str, int | None]:
    """Its host, an IPv6 address in brackets, and its port if it has one."""
    host, colon, port = server_name.rpartition(":")
    if colon and port.isdecimal() and not host.endswith(":"):
        return host, int(port)
    return server_name, None


def _is_id(text: str, sigil: str) -> bool:
    """One request may hold ten thousand ids: few calls for each."""
    return (
        text[:1] == sigil
        and len(text) <= MAX_ID_BYTES
        and _is_server_name(text.partition(":")[2])
        and "\0" not in text
        and (text.isascii() or len(text.encode()) <= MAX_ID_BYTES)
    )


def is_user_id(text: str) -> bool:
    """Historical localparts count too: anything but NUL and ":"."""
    return _is_id(text, "@")


def is_room_alias(text: str) -> bool:
    return _is_id(text, "#") and len(localpart_of(text)) > 0


def is_room_id(text: str) -> bool:
    """`!opaque:server` (room versions 1 to 11) or `!` and a hash of 43 characters (version 12)."""
    return _is_id(text, "!") or _ROOM_HASH.fullmatch(text) is not None


def is_given_event_id(text: str) -> bool:
    """`$opaque:server`: an event id of room versions 1 and 2, where the sender's server chooses it."""
    return _is_id(text, "$")


def is_event_id(text: str) -> bool:
    """The id of an event of any room version, as far as its form tells."""
    return text.startswith("$") and len(text.encode()) <= MAX_ID_BYTES and "\0" not in text


def is_namespaced(text: str) -> bool:
    """See "Common Namespaced Identifier Grammar"."""
    return _NAMESPACED.fullmatch(text) is not None


def is_localpart(text: str) -> bool:
    """Allowed for new users; see "User Identifiers"."""
    return _LOCALPART.fullmatch(text) is not None


def check_user_id(text: str) -> str:
    """The text itself; 400 `M_INVALID_PARAM` in Synapse's words when it is no user id."""
    if not text.startswith("@"):
        raise invalid_param(f"Expected UserID string to start with '@': {text[:80]!r}")
    if not is_user_id(text):
        raise invalid_param(f"Invalid user ID: {text[:80]!r}")
    return text


def check_length(name: str, text: str) -> None:
    """413 `M_TOO_LARGE` above 255 bytes, 400 `M_BAD_JSON` for NUL, which PostgreSQL's text cannot hold."""
    if len(text.encode()) > MAX_ID_BYTES:
        raise too_large(f"{name!r} is longer than {MAX_ID_BYTES} bytes")
    if "\0" in text:
        raise bad_json(f"{name!r} must not hold a NUL character")


def check_room_id(text: str) -> str:
    if not is_room_id(text):
        raise MatrixError(400, Errcode.UNKNOWN, f"{text[:80]} is not a legal room ID")
    return text


def random_text(length: int, alphabet: str = string.ascii_letters) -> str:
    """Unguessable text, for tokens, device ids, task ids."""
    return "".join(secrets.choice(alphabet) for _ in range(length))
