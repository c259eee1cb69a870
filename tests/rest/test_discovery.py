"""What the server says of itself."""

import pytest
from pytest_twisted import ensureDeferred

from synapse_lite.rest.client.discovery import VERSIONS
from tests.rest.conftest import BuildServer
from tests.server import OPEN, TestServer


@ensureDeferred
async def test_versions_are_told_to_anybody(server: TestServer) -> None:
    """From the oldest one, which old clients look for, to the newest one that is whole; tools for operators read the version of Synapse."""
    answer = await server.ok("GET", "/_matrix/client/versions")
    assert answer["unstable_features"]["org.matrix.msc3814"] is True
    assert answer["versions"][0] == "r0.0.1"
    assert "r0.5.0" in answer["versions"]
    assert answer["versions"][-1] == VERSIONS[-1]
    told = await server.ok("GET", "/_synapse/admin/v1/server_version")
    assert told["server_version"].split()[0] == "1.163.2"
    assert "synapse_lite" in told["server_version"]


@ensureDeferred
async def test_versions_are_kept_on_the_way(server: TestServer) -> None:
    """What anybody is told, for ten minutes; what a user is told is theirs."""
    token = await server.user("alice")
    anybody = await server.call("GET", "/_matrix/client/versions")
    user = await server.call("GET", "/_matrix/client/versions", token=token)
    assert anybody.headers["Cache-Control"].startswith("public, max-age=600,")
    assert user.headers["Cache-Control"] == "no-store"
    assert {one.headers["Vary"] for one in (anybody, user)} == {"Authorization"}


CAME_WITH = {
    "v1.11": ("GET", "v1/media/download/{server_name}/{media_id}"),
    "v1.13": ("POST", "v3/rooms/{room_id}/report"),
    "v1.14": ("POST", "v3/users/{user_id}/report"),
    "v1.15": ("GET", "v1/room_summary/{room_id_or_alias}"),
}
IS_THERE = {
    "org.matrix.msc2432": ("GET", "v3/rooms/{room_id}/aliases"),
    "org.matrix.msc3030": ("GET", "v1/rooms/{room_id}/timestamp_to_event"),
    "org.matrix.msc3391": ("DELETE", "unstable/org.matrix.msc3391/user/{user_id}/account_data/{data_type}"),
    "org.matrix.msc3814": ("PUT", "unstable/org.matrix.msc3814.v1/dehydrated_device"),
    "org.matrix.msc3856": ("GET", "v1/rooms/{room_id}/threads"),
    "org.matrix.msc3916.stable": ("GET", "v1/media/download/{server_name}/{media_id}"),
    "org.matrix.msc3981": ("GET", "v1/rooms/{room_id}/relations/{event_id}"),
    "org.matrix.msc4151": ("POST", "v3/rooms/{room_id}/report"),
    "uk.half-shot.msc2666.query_mutual_rooms": (
        "GET",
        "unstable/uk.half-shot.msc2666/user/mutual_rooms",
    ),
    "uk.half-shot.msc2666.query_mutual_rooms.stable": ("GET", "v1/mutual_rooms"),
    "uk.tcpip.msc4133.stable": ("PUT", "v3/profile/{user_id}/{name}"),
}


@ensureDeferred
async def test_what_is_promised_is_there(server: TestServer) -> None:
    """Each version and each feature has the route by which clients use it."""
    answer = await server.ok("GET", "/_matrix/client/versions")
    routes = {(route.method, route.pattern.removeprefix("/_matrix/client/")) for route in server.routes}
    promised = [CAME_WITH[version] for version in answer["versions"] if version in CAME_WITH]
    promised += [
        IS_THERE[name] for name, is_on in answer["unstable_features"].items() if is_on and name in IS_THERE
    ]
    assert len(promised) == len(CAME_WITH) + len(IS_THERE)
    assert [one for one in promised if one not in routes] == []


@pytest.mark.parametrize(
    ("default", "forced"),
    [
        ("off", set()),
        ("invite", {"private", "trusted_private"}),
        ("all", {"public", "private", "trusted_private"}),
    ],
)
@ensureDeferred
async def test_where_rooms_are_encrypted_is_told(
    build_server: BuildServer, default: str, forced: set[str]
) -> None:
    """Clients make rooms as the operator wants them."""
    server = await build_server(encryption_enabled_by_default_for_room_type=default)
    features = (await server.ok("GET", "/_matrix/client/versions"))["unstable_features"]
    prefix = "io.element.e2ee_forced."
    assert {
        name.removeprefix(prefix) for name, is_on in features.items() if is_on and name.startswith(prefix)
    } == forced


@ensureDeferred
async def test_the_address_is_told_when_it_is_known(build_server: BuildServer, server: TestServer) -> None:
    """In the well-known file and to who logs in; otherwise 404."""
    assert await server.refusal("GET", "/.well-known/matrix/client") == (404, "M_NOT_FOUND")
    public = await build_server(
        **OPEN, public_baseurl="https://matrix.hs.test", extra_well_known_client_content={"x.y": {"z": 1}}
    )
    document = {"m.homeserver": {"base_url": "https://matrix.hs.test/"}, "x.y": {"z": 1}}
    assert await public.ok("GET", "/.well-known/matrix/client") == document
    await public.register("name")
    login = {"type": "m.login.password", "user": "name", "password": "secret"}
    assert (await public.ok("POST", "login", login))["well_known"] == document
    assert "well_known" not in await server.ok("POST", "login", login)


@ensureDeferred
async def test_capabilities_follow_the_configuration(build_server: BuildServer, server: TestServer) -> None:
    """They need a token; room versions are those that the server knows."""
    assert await server.refusal("GET", "capabilities") == (401, "M_MISSING_TOKEN")
    token = await server.register("name")
    answer = (await server.ok("GET", "capabilities", token=token))["capabilities"]
    stable = {str(number): "stable" for number in range(1, 13)}
    assert answer["m.room_versions"] == {"default": "12", "available": stable}
    assert answer["m.change_password"] == {"enabled": True}
    assert answer["m.profile_fields"] == {"enabled": True}
    assert answer["org.matrix.msc4140.delayed_events"]["max_delay_ms"] == 0
    strict = await build_server(
        default_room_version="11",
        enable_set_displayname=False,
        forget_rooms_on_leave=True,
        max_event_delay_duration="1h",
        password_config={"enabled": False},
    )
    answer = (await strict.ok("GET", "capabilities", token=token))["capabilities"]
    assert answer["m.room_versions"]["default"] == "11"
    assert answer["m.set_displayname"] == {"enabled": False}
    assert answer["m.set_avatar_url"] == {"enabled": True}
    assert answer["m.profile_fields"] == {"enabled": True, "disallowed": ["displayname"]}
    assert answer["m.forget_forced_upon_leave"] == {"enabled": True}
    assert answer["m.change_password"] == {"enabled": False}
    assert answer["org.matrix.msc4140.delayed_events"] == {"max_delay_ms": 3_600_000, "max_scheduled": 100}


@ensureDeferred
async def test_administrators_may_moderate_accounts(server: TestServer) -> None:
    """Who may lock and suspend is told so; others are told nothing of it."""
    token = await server.register("name")
    told = (await server.ok("GET", "capabilities", token=token))["capabilities"]
    assert "m.account_moderation" not in told
    admin = await server.user("root", is_admin=True)
    told = (await server.ok("GET", "capabilities", token=admin))["capabilities"]
    assert told["m.account_moderation"] == {"suspend": True, "lock": True}


@ensureDeferred
async def test_there_is_no_delegated_login(server: TestServer) -> None:
    """Clients that ask for it, by the name of today or of before, are sent to /login, which offers passwords."""
    old = "unstable/org.matrix.msc2965"
    for name in ("v1/auth_metadata", f"{old}/auth_metadata", f"{old}/auth_issuer"):
        answer = await server.call("GET", f"/_matrix/client/{name}")
        assert (answer.status, answer.json()["errcode"]) == (404, "M_UNRECOGNIZED"), name
        assert "/login" in answer.json()["error"], name
    flows = (await server.ok("GET", "login"))["flows"]
    assert "m.login.password" in {flow["type"] for flow in flows}


@ensureDeferred
async def test_other_servers_are_sent_to_the_port_of_https(
    build_server: BuildServer, server: TestServer
) -> None:
    """When `serve_server_wellknown` is on; otherwise 404."""
    assert await server.refusal("GET", "/.well-known/matrix/server") == (404, "M_NOT_FOUND")
    telling = await build_server(serve_server_wellknown=True)
    name = telling.config.server_name
    assert await telling.ok("GET", "/.well-known/matrix/server") == {"m.server": f"{name}:443"}


@ensureDeferred
async def test_whom_to_turn_to(build_server: BuildServer, server: TestServer) -> None:
    """A page, an address or a user, as the configuration says; otherwise 404."""
    path = "/.well-known/matrix/support"
    assert await server.refusal("GET", path) == (404, "M_NOT_FOUND")
    for contact, answer in {
        "https://hs.test/help": {"support_page": "https://hs.test/help"},
        "mailto:a@hs.test": {"contacts": [{"role": "m.role.admin", "email_address": "a@hs.test"}]},
        "@a:hs.test": {"contacts": [{"role": "m.role.admin", "matrix_id": "@a:hs.test"}]},
    }.items():
        assert await (await build_server(admin_contact=contact)).ok("GET", path) == answer


@ensureDeferred
async def test_the_password_policy_is_told(build_server: BuildServer, server: TestServer) -> None:
    """To anybody: who registers has no token yet."""
    assert await server.ok("GET", "password_policy") == {}
    policy = {"enabled": True, "minimum_length": 9, "require_digit": True}
    strict = await build_server(password_config={"policy": policy})
    assert await strict.ok("GET", "password_policy") == {"m.minimum_length": 9, "m.require_digit": True}


@ensureDeferred
async def test_where_a_browser_is_sent(server: TestServer, build_server: BuildServer) -> None:
    """`/` leads to `web_client_location`, and nowhere without it."""
    assert (await server.call("GET", "/")).status == 404
    leading = await build_server(web_client_location="https://app.example.com/")
    answer = await leading.call("GET", "/")
    assert (answer.status, answer.headers["Location"]) == (302, "https://app.example.com/")


@ensureDeferred
async def test_the_servers_that_are_federated_with(server: TestServer, build_server: BuildServer) -> None:
    """Told to users where that is wanted: without a list they are all."""
    path = "/_synapse/client/v1/config/federation_whitelist"
    token = await server.user("alice")
    assert await server.refusal("GET", path, token=token) == (404, "M_UNRECOGNIZED")
    for listed, answer in (
        (None, {"whitelist_enabled": False, "whitelist": []}),
        (["a.test"], {"whitelist_enabled": True, "whitelist": ["a.test"]}),
    ):
        told = await build_server(
            **OPEN, federation_whitelist_endpoint_enabled=True, federation_domain_whitelist=listed
        )
        assert await told.refusal("GET", path) == (401, "M_MISSING_TOKEN")
        assert await told.ok("GET", path, token=token) == answer


@ensureDeferred
async def test_the_identity_server_is_named(build_server: BuildServer) -> None:
    """`default_identity_server`, unless other content of the file says so itself."""
    options = {"public_baseurl": "https://hs.test", "default_identity_server": "https://id.test"}
    server = await build_server(**options)
    told = await server.ok("GET", "/.well-known/matrix/client")
    assert told["m.identity_server"] == {"base_url": "https://id.test"}
    own = {"m.identity_server": {"base_url": "https://other.test"}}
    server = await build_server(**options, extra_well_known_client_content=own)
    assert (await server.ok("GET", "/.well-known/matrix/client"))["m.identity_server"] == own[
        "m.identity_server"
    ]
