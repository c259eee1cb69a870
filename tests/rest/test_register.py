"""Registration over HTTP: by the client API, and by shared secret."""

import hashlib
import hmac
from typing import Any

from pytest_twisted import ensureDeferred

from tests.rest.conftest import BuildHome
from tests.rest.home import OPEN, Home

DUMMY = {"type": "m.login.dummy"}
ADMIN = "/_synapse/admin/v1/register"
SECRET = "shared"


def _body(username: str = "name", **more: Any) -> dict[str, Any]:
    return {"username": username, "password": "secret", **more}


@ensureDeferred
async def test_registration_asks_and_then_makes_a_user(home: Home) -> None:
    """The first answer lists the flows, the second opens a session."""
    answer = await home.call("POST", "register", _body("Name"))
    assert answer.status == 401
    assert answer.json()["flows"] == [{"stages": ["m.login.dummy"]}]
    assert "errcode" not in answer.json()
    auth = {**DUMMY, "session": answer.json()["session"]}
    answer = await home.ok("POST", "register", _body("Name", auth=auth, device_id="D"))
    token = answer.pop("access_token")
    assert answer == {"user_id": "@name:hs.test", "home_server": "hs.test", "device_id": "D"}
    me = await home.ok("GET", "account/whoami", token=token)
    assert me == {"user_id": "@name:hs.test", "device_id": "D", "is_guest": False}


@ensureDeferred
async def test_registration_without_a_login(home: Home) -> None:
    """With `inhibit_login` there is no session; without a name one gets a number."""
    answer = await home.ok("POST", "register", {"password": "secret", "inhibit_login": True, "auth": DUMMY})
    assert answer == {"user_id": "@1:hs.test", "home_server": "hs.test"}
    devices = await home.database.read(lambda txn: txn.value("SELECT count(*) FROM devices"))
    assert devices == 0


@ensureDeferred
async def test_bad_registrations_are_refused(home: Home) -> None:
    """What can be known before is refused before the flows are shown; nothing is made."""
    await home.register("taken")
    refusals = [
        (_body("taken"), (400, "M_USER_IN_USE")),
        (_body("Taken", auth=DUMMY), (400, "M_USER_IN_USE")),
        (_body("no!"), (400, "M_INVALID_USERNAME")),
        (_body("12"), (400, "M_INVALID_USERNAME")),
        (_body("a\0"), (400, "M_INVALID_PARAM")),
        (_body(1), (400, "M_BAD_JSON")),  # type: ignore[arg-type]
        (_body(password=""), (400, "M_UNKNOWN")),
        (_body(device_id="x" * 513, auth=DUMMY), (400, "M_INVALID_PARAM")),
        (_body(inhibit_login="yes", auth=DUMMY), (400, "M_BAD_JSON")),
        (_body(auth="dummy"), (400, "M_BAD_JSON")),
        (_body(auth={"type": "m.login.password"}), (400, "M_UNRECOGNIZED")),
        (_body(auth={**DUMMY, "session": "never"}), (400, "M_UNKNOWN")),
        ({"username": "name", "auth": DUMMY}, (400, "M_MISSING_PARAM")),
        ([], (400, "M_BAD_JSON")),
    ]
    for body, refusal in refusals:
        assert await home.refusal("POST", "register", body) == refusal, body
    assert await home.refusal("POST", "register?kind=cat", {}) == (400, "M_INVALID_PARAM")
    assert await home.database.read(lambda txn: txn.rows("SELECT user_id FROM users")) == [
        ("@taken:hs.test",)
    ]


@ensureDeferred
async def test_closed_registration(build_home: BuildHome) -> None:
    """For users, guests, and who only asks for a name."""
    home = build_home()
    for method, path, body in (
        ("POST", "register", _body(auth=DUMMY)),
        ("POST", "register", {}),
        ("POST", "register?kind=guest", {}),
        ("GET", "register/available?username=name", None),
    ):
        assert await home.refusal(method, path, body) == (403, "M_FORBIDDEN")


@ensureDeferred
async def test_guests(build_home: BuildHome) -> None:
    """They get a number and a device of the server's choice, whatever they ask for."""
    home = build_home(allow_guest_access=True)
    answer = await home.ok("POST", "register?kind=guest", _body(device_id="D"))
    assert answer["user_id"] == "@1:hs.test"
    assert answer["device_id"] != "D"
    assert (await home.ok("GET", "account/whoami", token=answer["access_token"]))["is_guest"]


@ensureDeferred
async def test_names_can_be_asked_for(home: Home) -> None:
    """Free, taken, impossible, absent."""
    await home.register("taken")
    path = "register/available"
    assert await home.ok("GET", f"{path}?username=free") == {"available": True}
    assert await home.refusal("GET", f"{path}?username=Taken") == (400, "M_USER_IN_USE")
    assert await home.refusal("GET", f"{path}?username=no!") == (400, "M_INVALID_USERNAME")
    assert await home.refusal("GET", path) == (400, "M_MISSING_PARAM")


@ensureDeferred
async def test_registration_is_limited_per_address(build_home: BuildHome) -> None:
    """Accounts and questions each have the limit."""
    home = build_home(**OPEN, rc_registration={"per_second": 0.1, "burst_count": 2})
    for name in ("a", "b"):
        assert (await home.call("POST", "register", _body(name))).status == 401
        await home.register(name)
    for path, body in (("register", _body("c")), ("register", _body("c", auth=DUMMY))):
        assert await home.refusal("POST", path, body) == (429, "M_LIMIT_EXCEEDED")
    assert await home.refusal("GET", "register/available?username=c") == (429, "M_LIMIT_EXCEEDED")


async def _signed(home: Home, *parts: str, **more: Any) -> dict[str, Any]:
    nonce = (await home.ok("GET", ADMIN))["nonce"]
    mac = hmac.new(SECRET.encode(), "\0".join((nonce, *parts)).encode(), hashlib.sha1).hexdigest()
    return {"nonce": nonce, "username": parts[0], "password": parts[1], "mac": mac, **more}


@ensureDeferred
async def test_the_shared_secret_makes_admins(build_home: BuildHome) -> None:
    """Also when registration is closed; they are logged in unless they do not want to be."""
    home = build_home(registration_shared_secret=SECRET)
    body = await _signed(home, "Boss", "secret", "admin", admin=True, displayname="The boss", device_id="D")
    answer = await home.ok("POST", ADMIN, body)
    token = answer.pop("access_token")
    assert answer == {"user_id": "@boss:hs.test", "home_server": "hs.test", "device_id": "D"}
    assert (await home.sessions.authenticate(token)).is_admin
    assert (await home.ok("GET", "profile/@boss:hs.test")) == {"displayname": "The boss"}
    body = await _signed(home, "bot", "secret", "notadmin", "bot", user_type="bot", inhibit_login=True)
    assert await home.ok("POST", ADMIN, body) == {"user_id": "@bot:hs.test", "home_server": "hs.test"}


@ensureDeferred
async def test_bad_registrations_by_secret(build_home: BuildHome) -> None:
    """Each with the status and code of Synapse."""
    home = build_home(registration_shared_secret=SECRET)
    name = ("name", "secret", "notadmin")
    good = await _signed(home, *name)
    for field in ("nonce", "username", "password", "mac"):
        absent = {key: value for key, value in good.items() if key != field}
        assert await home.refusal("POST", ADMIN, absent) == (400, "M_BAD_JSON")
        for odd in (1, "", "nul\0", "x" * 513):
            assert await home.refusal("POST", ADMIN, {**good, field: odd}) == (400, "M_UNKNOWN")
    assert await home.refusal("POST", ADMIN, {**good, "admin": True}) == (403, "M_UNKNOWN")
    assert await home.refusal("POST", ADMIN, good) == (400, "M_UNKNOWN")
    symbols = await _signed(home, "na!me", "secret", "notadmin")
    assert await home.refusal("POST", ADMIN, symbols) == (400, "M_INVALID_USERNAME")
    await home.ok("POST", ADMIN, await _signed(home, *name))
    assert await home.refusal("POST", ADMIN, await _signed(home, *name)) == (400, "M_USER_IN_USE")
    cat = await _signed(home, "cat", "secret", "notadmin", "cat", user_type="cat")
    assert await home.refusal("POST", ADMIN, cat) == (400, "M_UNKNOWN")


@ensureDeferred
async def test_without_a_secret_nobody_is_made(home: Home) -> None:
    """A nonce is given, and is good for nothing."""
    assert len((await home.ok("GET", ADMIN))["nonce"]) == 128
    answer = await home.call("POST", ADMIN, {})
    assert answer.status == 400
    assert answer.json() == {"errcode": "M_UNKNOWN", "error": "Shared secret registration is not enabled"}
