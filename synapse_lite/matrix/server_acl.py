"""Which servers may take part in a room ("m.room.server_acl")."""

import re
from typing import Any

from synapse_lite.canonical_json import JsonObject
from synapse_lite.matrix.globs import compile_glob

_PORT = re.compile(r":[0-9]+\Z")
_IP_LITERAL = re.compile(r"\[.*\]|[0-9]{1,3}(\.[0-9]{1,3}){3}")


def is_server_allowed(content: JsonObject, server_name: str) -> bool:
    """Whether the ACL lets the server take part; a missing or broken `allow` lets nobody."""
    host = _PORT.sub("", server_name).lower()
    if content.get("allow_ip_literals") is False and _IP_LITERAL.fullmatch(host):
        return False
    return not _is_listed(content.get("deny"), host) and _is_listed(content.get("allow"), host)


def _is_listed(patterns: Any, host: str) -> bool:
    if not isinstance(patterns, list):
        return False
    return any(isinstance(pattern, str) and compile_glob(pattern).matches(host) for pattern in patterns)
