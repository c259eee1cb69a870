"""What the server says of itself."""

from pytest_twisted import ensureDeferred

from tests.rest.conftest import BuildHome
from tests.rest.home import OPEN, Home


@ensureDeferred
async def test_versions_are_told_to_anybody(home: Home) -> None:
    """From r0.6.1 to v1.12; tools for operators read the version of Synapse."""
    answer = await home.ok("GET", "/_matrix/client/versions")
    assert answer["unstable_features"] == {}
    assert answer["versions"][0] == "r0.6.1"
    assert answer["versions"][-1] == "v1.12"
    server = await home.ok("GET", "/_synapse/admin/v1/server_version")
    assert server["server_version"].split()[0] == "1.163.2"
    assert "synapse_lite" in server["server_version"]


@ensureDeferred
async def test_the_address_is_told_when_it_is_known(build_home: BuildHome, home: Home) -> None:
    """In the well-known file and to who logs in; otherwise 404."""
    assert await home.refusal("GET", "/.well-known/matrix/client") == (404, "M_NOT_FOUND")
    public = build_home(
        **OPEN, public_baseurl="https://matrix.hs.test", extra_well_known_client_content={"x.y": {"z": 1}}
    )
    document = {"m.homeserver": {"base_url": "https://matrix.hs.test/"}, "x.y": {"z": 1}}
    assert await public.ok("GET", "/.well-known/matrix/client") == document
    await public.register("name")
    login = {"type": "m.login.password", "user": "name", "password": "secret"}
    assert (await public.ok("POST", "login", login))["well_known"] == document
    assert "well_known" not in await home.ok("POST", "login", login)


@ensureDeferred
async def test_capabilities_follow_the_configuration(build_home: BuildHome, home: Home) -> None:
    """They need a token; room versions are those that the server knows."""
    assert await home.refusal("GET", "capabilities") == (401, "M_MISSING_TOKEN")
    token = await home.register("name")
    answer = (await home.ok("GET", "capabilities", token=token))["capabilities"]
    stable = {"10": "stable", "11": "stable", "12": "stable"}
    assert answer["m.room_versions"] == {"default": "12", "available": stable}
    assert answer["m.change_password"] == {"enabled": True}
    assert answer["m.profile_fields"] == {"enabled": True}
    strict = build_home(
        default_room_version="11",
        enable_set_displayname=False,
        forget_rooms_on_leave=True,
        password_config={"enabled": False},
    )
    answer = (await strict.ok("GET", "capabilities", token=token))["capabilities"]
    assert answer["m.room_versions"]["default"] == "11"
    assert answer["m.set_displayname"] == {"enabled": False}
    assert answer["m.set_avatar_url"] == {"enabled": True}
    assert answer["m.profile_fields"] == {"enabled": True, "disallowed": ["displayname"]}
    assert answer["m.forget_forced_upon_leave"] == {"enabled": True}
    assert answer["m.change_password"] == {"enabled": False}


@ensureDeferred
async def test_there_is_no_delegated_login(home: Home) -> None:
    """Clients that ask for it fall back to passwords."""
    assert await home.refusal("GET", "/_matrix/client/v1/auth_metadata") == (404, "M_UNRECOGNIZED")
