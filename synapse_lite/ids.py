"""Identifiers of Matrix: users, rooms, events, aliases, servers (appendices, "Identifier Grammar")."""

import re
import secrets
import string

from synapse_lite.errors import MatrixError, invalid_param

MAX_ID_BYTES = 255
_LOCALPART = re.compile(r"[a-z0-9._=\-/+]+")
_ROOM_HASH = re.compile(r"![A-Za-z0-9_\-]{43}")
_SERVER_NAME = re.compile(r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[0-9A-Za-z\-.]{1,255})(?::[0-9]{1,5})?")


def domain_of(identifier: str) -> str:
    """The server name of `@user:server`, `!room:server` or `#alias:server`; "" when there is none."""
    return identifier.partition(":")[2]


def localpart_of(identifier: str) -> str:
    return identifier[1:].partition(":")[0]


def is_server_name(text: str) -> bool:
    return _SERVER_NAME.fullmatch(text) is not None


def _is_id(text: str, sigil: str) -> bool:
    return (
        text.startswith(sigil)
        and len(text.encode()) <= MAX_ID_BYTES
        and "\0" not in text
        and is_server_name(domain_of(text))
    )


def is_user_id(text: str) -> bool:
    """Historical localparts count too: anything but NUL and ":"."""
    return _is_id(text, "@")


def is_room_alias(text: str) -> bool:
    return _is_id(text, "#") and len(localpart_of(text)) > 0


def is_room_id(text: str) -> bool:
    """`!opaque:server` (room versions 1 to 11) or `!` and a hash of 43 characters (version 12)."""
    return _is_id(text, "!") or _ROOM_HASH.fullmatch(text) is not None


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


def check_room_id(text: str) -> str:
    if not is_room_id(text):
        raise MatrixError(400, "M_UNKNOWN", f"{text[:80]} is not a legal room ID")
    return text


def random_text(length: int, alphabet: str = string.ascii_letters) -> str:
    """Unguessable text, for tokens, device ids, task ids."""
    return "".join(secrets.choice(alphabet) for _ in range(length))
