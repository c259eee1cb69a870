"""Server ACLs."""

from typing import Any

import pytest

from synapse_lite.matrix.server_acl import is_server_allowed

ALL = {"allow": ["*"]}


@pytest.mark.parametrize(
    ("content", "server", "allowed"),
    [
        (ALL, "good.example", True),
        ({}, "good.example", False),
        ({"allow": "*"}, "good.example", False),
        ({"allow": []}, "good.example", False),
        ({"allow": [5, None, "*"]}, "good.example", True),
        (ALL | {"deny": ["evil.example"]}, "evil.example", False),
        (ALL | {"deny": ["evil.example"]}, "EVIL.example", False),
        (ALL | {"deny": ["EVIL.example"]}, "evil.example", False),
        (ALL | {"deny": ["evil.example"]}, "evil.example:8448", False),
        (ALL | {"deny": ["evil.example"]}, "notevil.example", True),
        (ALL | {"deny": ["*.evil.example"]}, "a.b.evil.example", False),
        (ALL | {"deny": ["*.evil.example"]}, "evil.example", True),
        (ALL | {"deny": ["ev?l.example"]}, "evil.example", False),
        (ALL | {"deny": ["evil.example\n"]}, "evil.example", True),
        ({"allow": ["*.good.example"], "deny": ["bad.good.example"]}, "bad.good.example", False),
        (ALL | {"allow_ip_literals": False}, "1.2.3.4", False),
        (ALL | {"allow_ip_literals": False}, "1.2.3.4:80", False),
        (ALL | {"allow_ip_literals": False}, "[::1]:80", False),
        (ALL | {"allow_ip_literals": False}, "[::1]", False),
        (ALL | {"allow_ip_literals": False}, "1.example", True),
        (ALL | {"allow_ip_literals": "false"}, "1.2.3.4", True),
        (ALL | {"deny": ["[::1]"]}, "[::1]:8448", False),
    ],
)
def test_who_is_allowed(content: dict[str, Any], server: str, allowed: bool) -> None:
    """Deny beats allow, nothing listed is nobody, ports and case do not matter."""
    assert is_server_allowed(content, server) is allowed
