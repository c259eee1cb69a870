"""What the server is and can do."""

from synapse_lite.canonical_json import JsonObject
from synapse_lite.config.accounts import PasswordPolicy
from synapse_lite.config.model import Config
from synapse_lite.errors import Errcode, MatrixError, not_found
from synapse_lite.handlers.delayed_events import MAX_WAITING
from synapse_lite.handlers.requester import Requester
from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.response import Response
from synapse_lite.http.router import Route, client_routes
from synapse_lite.matrix.experimental_features import (
    FEATURES_OF_MOST,
    PUSHERS_FROM_AFAR,
    SLIDING_SYNC,
    STATE_AFTER,
)
from synapse_lite.matrix.room_versions import ROOM_VERSIONS

VERSIONS = (
    # Clients look for one in the list, older ones for one of the oldest: r0.5.0 tells them to load members lazily.
    *("r0.0.1", "r0.1.0", "r0.2.0", "r0.3.0", "r0.4.0", "r0.5.0", "r0.6.0", "r0.6.1"),
    *(f"v1.{minor}" for minor in range(1, 19)),
)
"""Up to the newest one of which nothing is missing that a server must have."""

_UNSTABLE_FEATURES = {
    "org.matrix.e2e_cross_signing": True,
    "org.matrix.msc2285.stable": True,  # private read receipts
    "org.matrix.msc2432": True,  # aliases of a room
    "org.matrix.msc3026.busy_presence": True,
    "org.matrix.msc3030": True,  # the event at a time
    "org.matrix.msc3391": True,  # account data is deleted
    "org.matrix.msc3440.stable": True,  # threads
    "org.matrix.msc3773": True,  # unread counts of threads
    "org.matrix.msc3814": True,  # dehydrated devices
    "org.matrix.msc3827.stable": True,  # rooms of a type in the directory
    "org.matrix.msc3856": True,  # the threads of a room
    "org.matrix.msc3916.stable": True,  # media with a token
    "org.matrix.msc3981": True,  # relations of relations
    "org.matrix.msc4151": True,  # rooms are reported
    "org.matrix.msc4293": True,  # a ban redacts
    "org.matrix.msc4380.stable": True,  # nobody may invite
    "fi.mau.msc2659.stable": True,  # application services are pinged
    "com.beeper.msc4169": True,  # a redaction is sent like any event
    "uk.half-shot.msc2666.query_mutual_rooms": True,
    "uk.half-shot.msc2666.query_mutual_rooms.stable": True,
    "uk.tcpip.msc4133.stable": True,  # fields of profiles
}


FEATURES_OF_USERS = {
    "org.matrix.simplified_msc3575": SLIDING_SYNC,
    "org.matrix.msc3881": PUSHERS_FROM_AFAR,
    "org.matrix.msc4222": STATE_AFTER,
}
"""Not the same for everybody: names here, and of what."""


_DELEGATED = (
    "v1/auth_metadata",
    "unstable/org.matrix.msc2965/auth_metadata",
    "unstable/org.matrix.msc2965/auth_issuer",
)


_OF_ADMINISTRATORS = {"m.account_moderation": {"suspend": True, "lock": True}}
"""Who may do neither is not told of it."""

FOR_USERS = {"Vary": "Authorization"}
FOR_ANYBODY = {
    "Cache-Control": "public, max-age=600, s-maxage=3600, stale-while-revalidate=600",
    **FOR_USERS,
}


class DiscoveryApi:
    """`well_known` is None when the server has no public address, `server_well_known` when it is not to be told,
    `support` when nobody is named to turn to.
    """

    def __init__(
        self,
        capabilities: JsonObject,
        well_known: JsonObject | None,
        server_well_known: JsonObject | None,
        support: JsonObject | None,
        password_policy: JsonObject,
        features: JsonObject,
    ) -> None:
        self._features = features
        self._capabilities = capabilities
        self._support = support
        self._password_policy = password_policy
        self._well_known = well_known
        self._server_well_known = server_well_known

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/_matrix/client/versions", self.versions, Access.OPTIONAL),
            Route("GET", "/.well-known/matrix/client", self.well_known, Access.NONE),
            Route("GET", "/.well-known/matrix/server", self.server_well_known, Access.NONE),
            Route("GET", "/.well-known/matrix/support", self.support, Access.NONE),
            *(Route("GET", f"/_matrix/client/{name}", self.delegated, Access.NONE) for name in _DELEGATED),
            *client_routes("GET", "/password_policy", self.password_policy, Access.NONE),
            *client_routes("GET", "/capabilities", self.capabilities, Access.GUEST),
        ]

    async def versions(self, _request: Request, requester: Requester | None) -> Response:
        """`GET /_matrix/client/versions`; what everybody is told may be kept on the way."""
        features = FEATURES_OF_MOST if requester is None else requester.features
        own = {name: feature in features for name, feature in FEATURES_OF_USERS.items()}
        body: JsonObject = {"versions": list(VERSIONS), "unstable_features": self._features | own}
        return Response(200, body, FOR_ANYBODY if requester is None else FOR_USERS)

    async def well_known(self, _request: Request) -> JsonObject:
        """`GET /.well-known/matrix/client`"""
        if self._well_known is None:
            raise not_found(".well-known not available")
        return self._well_known

    async def server_well_known(self, _request: Request) -> JsonObject:
        """`GET /.well-known/matrix/server` (server-server API, "Resolving server names")"""
        if self._server_well_known is None:
            raise not_found(".well-known not available")
        return self._server_well_known

    async def support(self, _request: Request) -> JsonObject:
        """`GET /.well-known/matrix/support`"""
        if self._support is None:
            raise not_found("Nobody is named to turn to")
        return self._support

    async def delegated(self, _request: Request) -> JsonObject:
        """`GET /_matrix/client/v1/auth_metadata`, and what MSC2965 called it before: accounts are those of this server."""
        raise MatrixError(404, Errcode.UNRECOGNIZED, "This server has no authorisation server: use /login")

    async def password_policy(self, _request: Request) -> JsonObject:
        """`GET /_matrix/client/v3/password_policy` (MSC2000)"""
        return self._password_policy

    async def capabilities(self, _request: Request, requester: Requester) -> JsonObject:
        """`GET /_matrix/client/v3/capabilities`; administrators may moderate accounts."""
        own = _OF_ADMINISTRATORS if requester.is_admin else {}
        return {"capabilities": self._capabilities | own}


def unstable_features(config: Config) -> JsonObject:
    """What is the same for everybody."""
    encrypted = config.encryption_enabled_by_default_for_room_type
    private, everywhere = encrypted in {"invite", "all"}, encrypted == "all"
    return {
        **_UNSTABLE_FEATURES,
        "org.matrix.msc4108": config.experimental_features.msc4108_enabled
        or config.experimental_features.msc4108_delegation_endpoint is not None,
        "org.matrix.msc4306": config.experimental_features.msc4306_enabled,
        "org.matrix.msc4140": config.max_event_delay_duration is not None,
        "io.element.e2ee_forced.public": everywhere,
        "io.element.e2ee_forced.private": private,
        "io.element.e2ee_forced.trusted_private": private,
    }


def client_well_known(config: Config) -> JsonObject | None:
    """Also a part of the answer to a login; None unless `public_baseurl` is set."""
    if config.public_baseurl is None:
        return None
    identity = config.default_identity_server
    return {
        "m.homeserver": {"base_url": config.public_baseurl},
        **({"m.identity_server": {"base_url": identity}} if identity else {}),
        **config.extra_well_known_client_content,
    }


def server_well_known(config: Config) -> JsonObject | None:
    """Other servers are sent to the port of HTTPS."""
    return {"m.server": f"{config.server_name}:443"} if config.serve_server_wellknown else None


def support(config: Config) -> JsonObject | None:
    """Whom to turn to about this server, from `admin_contact`."""
    contact = config.admin_contact
    if contact is None:
        return None
    if contact.startswith(("https://", "http://")):
        return {"support_page": contact}
    address = (
        {"matrix_id": contact}
        if contact.startswith("@")
        else {"email_address": contact.removeprefix("mailto:")}
    )
    return {"contacts": [{"role": "m.role.admin", **address}]}


def password_policy(policy: PasswordPolicy) -> JsonObject:
    """What a new password must have; empty when all are accepted."""
    if not policy.enabled:
        return {}
    required = ("require_digit", "require_symbol", "require_lowercase", "require_uppercase")
    return {
        "m.minimum_length": policy.minimum_length,
        **{f"m.{name}": True for name in required if getattr(policy, name)},
    }


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
        "m.get_login_token": {"enabled": config.login_via_existing_session.enabled},
        "m.forget_forced_upon_leave": {"enabled": config.forget_rooms_on_leave},
        "org.matrix.msc4140.delayed_events": {
            "max_delay_ms": config.max_event_delay_duration or 0,
            "max_scheduled": MAX_WAITING,
        },
    }


def fixed_profile_fields(config: Config) -> frozenset[str]:
    """The fields that only administrators may change."""
    allowed = {"displayname": config.enable_set_displayname, "avatar_url": config.enable_set_avatar_url}
    return frozenset(name for name, may_change in allowed.items() if not may_change)
