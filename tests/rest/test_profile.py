"""Profiles over HTTP."""

from pytest_twisted import ensureDeferred

from tests.rest.conftest import BuildHome
from tests.rest.home import OPEN, Home

MINE = "profile/@name:hs.test"


@ensureDeferred
async def test_a_profile_is_public_and_its_owners(home: Home) -> None:
    """Anybody reads it, only the owner and administrators write it."""
    token, other = await home.register("name"), await home.register("other")
    assert await home.ok("PUT", f"{MINE}/displayname", {"displayname": "Name \u2603"}, token) == {}
    assert await home.ok("PUT", f"{MINE}/avatar_url", {"avatar_url": "mxc://hs.test/a"}, token) == {}
    await home.ok("PUT", f"{MINE}/m.tz", {"m.tz": "UTC"}, token)
    assert await home.ok("GET", MINE) == {
        "displayname": "Name \u2603",
        "avatar_url": "mxc://hs.test/a",
        "m.tz": "UTC",
    }
    assert await home.ok("GET", "profile/%40name%3Ahs.test/displayname") == {"displayname": "Name \u2603"}
    assert await home.ok("DELETE", f"{MINE}/m.tz", token=token) == {}
    assert await home.refusal("GET", f"{MINE}/m.tz") == (404, "M_NOT_FOUND")
    body = {"displayname": "Not me"}
    assert await home.refusal("PUT", f"{MINE}/displayname", body, other) == (403, "M_FORBIDDEN")
    assert await home.refusal("DELETE", f"{MINE}/displayname", None, other) == (403, "M_FORBIDDEN")
    assert await home.refusal("PUT", f"{MINE}/displayname", body) == (401, "M_MISSING_TOKEN")
    boss = await home.register("boss")
    await home.make_admin("@boss:hs.test")
    await home.ok("PUT", f"{MINE}/displayname", body, boss)
    assert await home.ok("GET", f"{MINE}/displayname") == body


@ensureDeferred
async def test_bad_profile_requests(home: Home) -> None:
    """Of users who are not, and of bodies that do not fit."""
    token = await home.register("name")
    assert await home.refusal("GET", "profile/@nobody:hs.test") == (404, "M_NOT_FOUND")
    assert await home.refusal("GET", "profile/nobody") == (400, "M_INVALID_PARAM")
    put = f"{MINE}/displayname"
    assert await home.refusal("PUT", put, {"name": "x"}, token) == (400, "M_MISSING_PARAM")
    assert await home.refusal("PUT", put, {"displayname": 1}, token) == (400, "M_BAD_JSON")
    assert await home.refusal("PUT", put, {"displayname": "x" * 257}, token) == (400, "M_INVALID_PARAM")
    assert await home.refusal("PUT", put, b"", token) == (400, "M_NOT_JSON")
    assert await home.refusal("PUT", f"{MINE}/{'k' * 256}", {"k" * 256: 1}, token) == (400, "M_KEY_TOO_LARGE")


@ensureDeferred
async def test_profiles_can_be_for_users_only_and_fixed(build_home: BuildHome) -> None:
    """By configuration: reading needs a token, names stay as they are."""
    home = build_home(**OPEN, require_auth_for_profile_requests=True, enable_set_displayname=False)
    token = await home.register("name")
    for path in (MINE, f"{MINE}/displayname"):
        assert await home.refusal("GET", path) == (401, "M_MISSING_TOKEN")
        assert await home.ok("GET", path, token=token) == {"displayname": "name"}
    body = {"displayname": "Other"}
    assert await home.refusal("PUT", f"{MINE}/displayname", body, token) == (403, "M_FORBIDDEN")
