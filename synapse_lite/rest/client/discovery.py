"""What the server is and can do."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.config.model import Config
from synapse_lite.errors import not_found
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route, client_routes
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.rest.gate import Gate

VERSIONS = ("r0.6.1", *(f"v1.{minor}" for minor in range(1, 13)))


class DiscoveryApi:
    """`well_known` is None when the server has no public address."""

    def __init__(self, gate: Gate, capabilities: JsonObject, well_known: JsonObject | None) -> None:
        self._gate = gate
        self._capabilities = capabilities
        self._well_known = well_known

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/_matrix/client/versions", self.versions),
            Route("GET", "/.well-known/matrix/client", self.well_known),
            *client_routes("GET", "/capabilities", self.capabilities),
        ]

    async def versions(self, _request: Request) -> JsonObject:
        """`GET /_matrix/client/versions`"""
        return {"versions": list(VERSIONS), "unstable_features": {}}

    async def well_known(self, _request: Request) -> JsonObject:
        """`GET /.well-known/matrix/client`"""
        if self._well_known is None:
            raise not_found(".well-known not available")
        return self._well_known

    async def capabilities(self, request: Request) -> JsonObject:
        """`GET /_matrix/client/v3/capabilities`"""
        await self._gate.requester(request, allow_guest=True)
        return {"capabilities": self._capabilities}


def client_well_known(config: Config) -> JsonObject | None:
    """Also a part of the answer to a login; None unless `public_baseurl` is set."""
    if config.public_baseurl is None:
        return None
    return {"m.homeserver": {"base_url": config.public_baseurl}, **config.extra_well_known_client_content}


def capabilities(config: Config) -> JsonObject:
    """See "Capabilities negotiation"."""
    passwords = config.password_config
    fixed = sorted(fixed_profile_fields(config))
    return {
        "m.room_versions": {
            "default": config.default_room_version,
            "available": dict.fromkeys(ROOM_VERSIONS, "stable"),
        },
        "m.change_password": {"enabled": bool(passwords.enabled) and passwords.localdb_enabled},
        "m.set_displayname": {"enabled": config.enable_set_displayname},
        "m.set_avatar_url": {"enabled": config.enable_set_avatar_url},
        "m.profile_fields": {"enabled": True, **({"disallowed": fixed} if fixed else {})},
        "m.3pid_changes": {"enabled": False},
        "m.get_login_token": {"enabled": False},
        "m.forget_forced_upon_leave": {"enabled": config.forget_rooms_on_leave},
    }


def fixed_profile_fields(config: Config) -> frozenset[str]:
    """The fields that only administrators may change."""
    allowed = {"displayname": config.enable_set_displayname, "avatar_url": config.enable_set_avatar_url}
    return frozenset(name for name, may_change in allowed.items() if not may_change)
