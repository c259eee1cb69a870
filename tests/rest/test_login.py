"""Logging in and out over HTTP."""

from typing import Any

from pytest_twisted import ensureDeferred

from synapse_lite.storage.user_admin import replace_threepids
from tests.rest.conftest import BuildServer
from tests.server import OPEN, TestServer


def _login(user: str = "name", password: str = "secret", **more: Any) -> dict[str, Any]:
    identifier = {"type": "m.id.user", "user": user}
    return {"type": "m.login.password", "identifier": identifier, "password": password, **more}


@ensureDeferred
async def test_a_login_opens_a_session(server: TestServer) -> None:
    """With the device asked for, under its name; with the old field `user` as well."""
    await server.register("name")
    assert await server.ok("GET", "login") == {"flows": [{"type": "m.login.password"}]}
    wanted = _login(device_id="D", initial_device_display_name="Phone")
    answer = await server.ok("POST", "login", wanted)
    token = answer.pop("access_token")
    assert answer == {"user_id": "@name:hs.test", "home_server": "hs.test", "device_id": "D"}
    assert token.startswith("syt_")
    me = await server.ok("GET", "account/whoami", token=token)
    assert me == {"user_id": "@name:hs.test", "device_id": "D", "is_guest": False}
    name = await server.database.read(
        lambda txn: txn.value("SELECT display_name FROM devices WHERE device_id = 'D'")
    )
    assert name == "Phone"
    old = {"type": "m.login.password", "user": "@NAME:hs.test", "password": "secret"}
    answer = await server.ok("POST", "/_matrix/client/r0/login", old)
    assert answer["user_id"] == "@name:hs.test"
    assert answer["device_id"]


@ensureDeferred
async def test_bad_logins_are_refused(server: TestServer) -> None:
    """Each with its status and code."""
    await server.register("name")
    unheard = {"type": "org.other.id", "country": "DE"}
    refusals = [
        (_login(password="wrong"), (403, "M_FORBIDDEN")),
        (_login("nobody"), (403, "M_FORBIDDEN")),
        (_login(type="m.login.token", token="x"), (400, "M_UNKNOWN")),
        (_login(identifier=unheard), (400, "M_UNKNOWN")),
        (_login(identifier="name"), (400, "M_BAD_JSON")),
        (_login(user="a\0b"), (400, "M_INVALID_PARAM")),
        (_login(password=1), (400, "M_BAD_JSON")),  # type: ignore[arg-type]
        (_login(password="x" * 513), (400, "M_INVALID_PARAM")),
        (_login(device_id="x" * 513), (400, "M_INVALID_PARAM")),
        (_login(device_id="nul\0"), (400, "M_INVALID_PARAM")),
        (_login(initial_device_display_name="x" * 256), (400, "M_INVALID_PARAM")),
        ({"type": "m.login.password", "user": "name"}, (400, "M_MISSING_PARAM")),
        ({"type": "m.login.password", "password": "secret"}, (400, "M_MISSING_PARAM")),
        ({}, (400, "M_MISSING_PARAM")),
        ([], (400, "M_BAD_JSON")),
        (b"{", (400, "M_NOT_JSON")),
    ]
    for body, refusal in refusals:
        assert await server.refusal("POST", "login", body) == refusal, body


@ensureDeferred
async def test_users_log_in_with_their_addresses(server: TestServer) -> None:
    """An e-mail address in whatever case, a telephone number; in the old form, too. Others learn nothing from it."""
    await server.register("name")
    threepids = [("email", "name@mail.test"), ("msisdn", "441234567890")]
    await server.database.transact(replace_threepids, "@name:hs.test", threepids, 5)
    for medium, address in (("email", "Name@Mail.test"), ("msisdn", "441234567890")):
        known = {"medium": medium, "address": address}
        by_address = {"type": "m.id.thirdparty", **known}
        for body in (
            _login(identifier=by_address),
            {"type": "m.login.password", "password": "secret"} | known,
        ):
            assert (await server.ok("POST", "login", body))["user_id"] == "@name:hs.test"
        refused = (403, "M_FORBIDDEN")
        assert await server.refusal("POST", "login", _login(identifier=by_address, password="x")) == refused
    for address in ("other@mail.test", "@name:hs.test"):
        unknown = {"type": "m.id.thirdparty", "medium": "email", "address": address}
        assert await server.refusal("POST", "login", _login(identifier=unknown)) == (403, "M_FORBIDDEN")
    incomplete = {"type": "m.id.thirdparty", "medium": "email"}
    assert await server.refusal("POST", "login", _login(identifier=incomplete)) == (400, "M_MISSING_PARAM")


@ensureDeferred
async def test_users_log_in_with_their_telephone(server: TestServer) -> None:
    """As it is dialled in a country; as a proof, too."""
    token = await server.register("name")
    await server.database.transact(replace_threepids, "@name:hs.test", [("msisdn", "447700900123")], 5)

    def phone(country: object, number: object, key: str = "phone") -> dict[str, Any]:
        return {"type": "m.id.phone", "country": country, key: number}

    for known in (
        phone("GB", "07700 900-123"),
        phone("GB", "07700900123", "number"),
        phone("DE", "+44 7700 900123"),
    ):
        assert (await server.ok("POST", "login", _login(identifier=known)))["user_id"] == "@name:hs.test"
        assert await server.ok("DELETE", "devices/none", {"auth": _login(identifier=known)}, token) == {}
    for other, refusal in (
        (phone("GB", "07700900124"), (403, "M_FORBIDDEN")),
        (phone("GB", "12"), (403, "M_FORBIDDEN")),
        (phone("GB", "abc"), (400, "M_INVALID_PARAM")),
        (phone("GB", "0" * 400), (400, "M_INVALID_PARAM")),
        (phone("XX", "07700900123"), (400, "M_INVALID_PARAM")),
        (phone("GB", 7700900123), (400, "M_BAD_JSON")),
        ({"type": "m.id.phone", "phone": "+447700900123"}, (400, "M_MISSING_PARAM")),
        ({"type": "m.id.phone", "country": "GB"}, (400, "M_MISSING_PARAM")),
    ):
        assert await server.refusal("POST", "login", _login(identifier=other)) == refusal, other


@ensureDeferred
async def test_passwords_can_be_switched_off(build_server: BuildServer) -> None:
    """No flow is offered or accepted."""
    server = await build_server(password_config={"enabled": False})
    assert await server.ok("GET", "login") == {"flows": []}
    assert await server.refusal("POST", "login", _login()) == (400, "M_UNKNOWN")


@ensureDeferred
async def test_logins_from_one_address_are_limited(build_server: BuildServer) -> None:
    """The answer says when to come again."""
    limit = {"per_second": 0.5, "burst_count": 1}
    server = await build_server(**OPEN, rc_login={"address": limit})
    await server.register("name")
    await server.ok("POST", "login", _login())
    answer = await server.call("POST", "login", _login())
    assert (answer.status, answer.json()["errcode"]) == (429, "M_LIMIT_EXCEEDED")
    assert 1900 < answer.json()["retry_after_ms"] <= 2000
    server.clock.advance(2)
    await server.ok("POST", "login", _login())


@ensureDeferred
async def test_logging_out_ends_one_session_or_all(server: TestServer) -> None:
    """Their tokens are unknown at once, remembered or not; a body is not needed."""
    await server.register("name")
    tokens = [(await server.ok("POST", "login", _login()))["access_token"] for _ in range(3)]
    for token in tokens:
        await server.ok("GET", "account/whoami", token=token)
    assert await server.ok("POST", "logout", token=tokens[0]) == {}
    unknown = (401, "M_UNKNOWN_TOKEN")
    assert await server.refusal("GET", "account/whoami", token=tokens[0]) == unknown
    assert await server.refusal("POST", "logout", token=tokens[0]) == unknown
    assert await server.refusal("POST", "logout") == (401, "M_MISSING_TOKEN")
    await server.ok("GET", "account/whoami", token=tokens[1])
    assert await server.ok("POST", "logout/all", {}, tokens[1]) == {}
    for token in tokens:
        assert await server.refusal("GET", "account/whoami", token=token) == unknown


@ensureDeferred
async def test_locked_users_can_log_out(server: TestServer) -> None:
    """And nothing else."""
    token = await server.register("name")
    await server.database.transact(lambda txn: txn.execute("UPDATE users SET locked = true"))
    assert await server.refusal("GET", "account/whoami", token=token) == (401, "M_USER_LOCKED")
    assert await server.refusal("POST", "login", _login()) == (401, "M_USER_LOCKED")
    assert await server.ok("POST", "logout", token=token) == {}
