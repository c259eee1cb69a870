"""Registration over HTTP: by the client API, and by shared secret."""

import hashlib
import hmac
from typing import Any

from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.storage.registration_tokens import add_token, find_token
from synapse_lite.storage.uia import SESSION_LIFETIME_MS
from tests.rest.conftest import BuildServer
from tests.server import OPEN, TestServer

DUMMY = {"type": "m.login.dummy"}
ADMIN = "/_synapse/admin/v1/register"
SECRET = "shared"


def _body(username: str = "name", **more: Any) -> dict[str, Any]:
    return {"username": username, "password": "secret", **more}


@ensureDeferred
async def test_registration_asks_and_then_makes_a_user(server: TestServer) -> None:
    """The first answer lists the flows, the second opens a session."""
    answer = await server.call("POST", "register", _body("Name"))
    assert answer.status == 401
    assert answer.json()["flows"] == [{"stages": ["m.login.dummy"]}]
    assert "errcode" not in answer.json()
    auth = {**DUMMY, "session": answer.json()["session"]}
    without = await server.ok("POST", "register", _body("beside", auth={**DUMMY, "session": ""}))
    assert without["user_id"] == "@beside:hs.test"
    answer = await server.ok("POST", "register", _body("Name", auth=auth, device_id="D"))
    token = answer.pop("access_token")
    assert answer == {"user_id": "@name:hs.test", "home_server": "hs.test", "device_id": "D"}
    me = await server.ok("GET", "account/whoami", token=token)
    assert me == {"user_id": "@name:hs.test", "device_id": "D", "is_guest": False}


@ensureDeferred
async def test_a_registration_whose_answer_was_lost(server: TestServer) -> None:
    """Asked for again in its session it is answered as the first time, to who knows the password."""
    session = (await server.call("POST", "register", _body())).json()["session"]
    auth = {**DUMMY, "session": session}
    first = await server.ok("POST", "register", _body(auth=auth))
    again = await server.ok("POST", "register", _body(auth=auth))
    alone = await server.ok("POST", "register", {"password": "secret", "auth": {"session": session}})
    assert {one["user_id"] for one in (first, again, alone)} == {"@name:hs.test"}
    assert len({one["access_token"] for one in (first, again, alone)}) == 3
    for body, refusal in (
        (_body("other", auth=auth), (400, "M_UNKNOWN")),
        ({"username": "name", "password": "wrong", "auth": auth}, (403, "M_FORBIDDEN")),
        ({"username": "name", "auth": auth}, (400, "M_MISSING_PARAM")),
        (_body(), (400, "M_USER_IN_USE")),
    ):
        assert await server.refusal("POST", "register", body) == refusal


@ensureDeferred
async def test_a_registration_that_is_asked_for_again_while_it_goes_on(server: TestServer) -> None:
    """Whichever makes the user, both are answered."""
    session = (await server.call("POST", "register", _body())).json()["session"]
    body = _body(auth={**DUMMY, "session": session})
    answers = await gatherResults(
        [Deferred.fromCoroutine(server.ok("POST", "register", body)) for _ in range(2)]
    )
    assert [answer["user_id"] for answer in answers] == ["@name:hs.test"] * 2
    assert answers[0]["access_token"] != answers[1]["access_token"]


@ensureDeferred
async def test_a_proof_without_a_password(server: TestServer) -> None:
    """It is not used up: the client may add what it forgot."""
    session = (await server.call("POST", "register", {"username": "name"})).json()["session"]
    auth = {**DUMMY, "session": session}
    refused = await server.refusal("POST", "register", {"username": "name", "auth": auth})
    assert refused == (400, "M_MISSING_PARAM")
    assert (await server.ok("POST", "register", _body(auth=auth)))["user_id"] == "@name:hs.test"


@ensureDeferred
async def test_registration_without_a_login(server: TestServer) -> None:
    """With `inhibit_login` there is no session; without a name one gets a number."""
    answer = await server.ok("POST", "register", {"password": "secret", "inhibit_login": True, "auth": DUMMY})
    assert answer == {"user_id": "@1:hs.test", "home_server": "hs.test"}
    devices = await server.database.read(lambda txn: txn.value("SELECT count(*) FROM devices"))
    assert devices == 0


@ensureDeferred
async def test_bad_registrations_are_refused(server: TestServer) -> None:
    """What can be known before is refused before the flows are shown; nothing is made."""
    await server.register("taken")
    refusals = [
        (_body("taken"), (400, "M_USER_IN_USE")),
        (_body("Taken", auth=DUMMY), (400, "M_USER_IN_USE")),
        (_body("no!"), (400, "M_INVALID_USERNAME")),
        (_body("12"), (400, "M_INVALID_USERNAME")),
        (_body("a\0"), (400, "M_INVALID_USERNAME")),
        (_body(1), (400, "M_BAD_JSON")),  # type: ignore[arg-type]
        (_body(password=""), (400, "M_UNKNOWN")),
        (_body(device_id="x" * 513, auth=DUMMY), (400, "M_INVALID_PARAM")),
        (_body(inhibit_login="yes", auth=DUMMY), (400, "M_BAD_JSON")),
        (_body(auth="dummy"), (400, "M_BAD_JSON")),
        (_body(auth={"type": "m.login.password"}), (400, "M_INVALID_PARAM")),
        (_body(auth={**DUMMY, "session": "never"}), (400, "M_UNKNOWN")),
        ({"username": "name", "auth": DUMMY}, (400, "M_MISSING_PARAM")),
        ([], (400, "M_BAD_JSON")),
    ]
    for body, refusal in refusals:
        assert await server.refusal("POST", "register", body) == refusal, body
    assert await server.refusal("POST", "register?kind=cat", {}) == (400, "M_INVALID_PARAM")
    assert await server.database.read(lambda txn: txn.rows("SELECT user_id FROM users")) == [
        ("@taken:hs.test",)
    ]


@ensureDeferred
async def test_closed_registration(build_server: BuildServer) -> None:
    """For users, guests, and who only asks for a name."""
    server = await build_server()
    for method, path, body in (
        ("POST", "register", _body(auth=DUMMY)),
        ("POST", "register", {}),
        ("POST", "register?kind=guest", {}),
        ("GET", "register/available?username=name", None),
    ):
        assert await server.refusal(method, path, body) == (403, "M_FORBIDDEN")


@ensureDeferred
async def test_guests(build_server: BuildServer) -> None:
    """They get a number and a device of the server's choice, whatever they ask for."""
    server = await build_server(allow_guest_access=True)
    answer = await server.ok("POST", "register?kind=guest", _body(device_id="D"))
    assert answer["user_id"] == "@1:hs.test"
    assert answer["device_id"] != "D"
    assert (await server.ok("GET", "account/whoami", token=answer["access_token"]))["is_guest"]


@ensureDeferred
async def test_names_can_be_asked_for(server: TestServer) -> None:
    """Free, taken, impossible, absent; with capitals it would become another name."""
    await server.register("taken")
    path = "register/available"
    assert await server.ok("GET", f"{path}?username=free") == {"available": True}
    assert await server.refusal("GET", f"{path}?username=taken") == (400, "M_USER_IN_USE")
    assert await server.refusal("GET", f"{path}?username=Free") == (400, "M_INVALID_USERNAME")
    assert await server.refusal("GET", f"{path}?username=no!") == (400, "M_INVALID_USERNAME")
    assert await server.refusal("GET", path) == (400, "M_MISSING_PARAM")


@ensureDeferred
async def test_registration_is_limited_per_address(build_server: BuildServer) -> None:
    """Accounts have the limit, questions twice as much."""
    server = await build_server(**OPEN, rc_registration={"per_second": 0.1, "burst_count": 2})
    for name in ("a", "b"):
        assert (await server.call("POST", "register", _body(name))).status == 401
        await server.register(name)
    assert await server.refusal("POST", "register", _body("c", auth=DUMMY)) == (429, "M_LIMIT_EXCEEDED")
    assert (await server.call("GET", "register/available?username=c")).status == 200
    assert await server.refusal("POST", "register", _body("c")) == (429, "M_LIMIT_EXCEEDED")
    assert await server.refusal("GET", "register/available?username=c") == (429, "M_LIMIT_EXCEEDED")


async def _signed(server: TestServer, *parts: str, **more: Any) -> dict[str, Any]:
    nonce = (await server.ok("GET", ADMIN))["nonce"]
    mac = hmac.new(SECRET.encode(), "\0".join((nonce, *parts)).encode(), hashlib.sha1).hexdigest()
    return {"nonce": nonce, "username": parts[0], "password": parts[1], "mac": mac, **more}


@ensureDeferred
async def test_the_shared_secret_makes_admins(build_server: BuildServer) -> None:
    """Also when registration is closed; they are logged in unless they do not want to be."""
    server = await build_server(registration_shared_secret=SECRET)
    body = await _signed(server, "Boss", "secret", "admin", admin=True, displayname="The boss", device_id="D")
    answer = await server.ok("POST", ADMIN, body)
    token = answer.pop("access_token")
    assert answer == {"user_id": "@boss:hs.test", "home_server": "hs.test", "device_id": "D"}
    assert (await server.core.accounts.access_tokens.authenticate(token)).is_admin
    assert (await server.ok("GET", "profile/@boss:hs.test")) == {"displayname": "The boss"}
    body = await _signed(server, "bot", "secret", "notadmin", "bot", user_type="bot", inhibit_login=True)
    assert await server.ok("POST", ADMIN, body) == {"user_id": "@bot:hs.test", "home_server": "hs.test"}


@ensureDeferred
async def test_bad_registrations_by_secret(build_server: BuildServer) -> None:
    """Each with the status and code of Synapse."""
    server = await build_server(registration_shared_secret=SECRET)
    name = ("name", "secret", "notadmin")
    good = await _signed(server, *name)
    for field in ("nonce", "username", "password", "mac"):
        absent = {key: value for key, value in good.items() if key != field}
        assert await server.refusal("POST", ADMIN, absent) == (400, "M_BAD_JSON")
        for odd in (1, "", "nul\0", "x" * 513):
            assert await server.refusal("POST", ADMIN, {**good, field: odd}) == (400, "M_UNKNOWN")
    assert await server.refusal("POST", ADMIN, {**good, "admin": True}) == (403, "M_UNKNOWN")
    assert (await server.call("POST", ADMIN, good)).status == 200
    assert await server.refusal("POST", ADMIN, good) == (400, "M_UNKNOWN")
    symbols = await _signed(server, "na!me", "secret", "notadmin")
    assert await server.refusal("POST", ADMIN, symbols) == (400, "M_INVALID_USERNAME")
    assert await server.refusal("POST", ADMIN, await _signed(server, *name)) == (400, "M_USER_IN_USE")
    cat = await _signed(server, "cat", "secret", "notadmin", "cat", user_type="cat")
    assert await server.refusal("POST", ADMIN, cat) == (400, "M_UNKNOWN")


@ensureDeferred
async def test_who_is_made_by_the_secret_is_in_the_audit_trail(build_server: BuildServer) -> None:
    """With what came of it, without what is secret; whoever does not know the secret leaves no trace."""
    server = await build_server(registration_shared_secret=SECRET)
    good = await _signed(server, "boss", "secret", "admin", admin=True)
    assert await server.refusal("POST", ADMIN, {**good, "mac": "x"}) == (403, "M_UNKNOWN")
    made = await server.ok("POST", ADMIN, good)
    assert await server.refusal("POST", ADMIN, good) == (400, "M_UNKNOWN")
    answer = await server.ok("GET", "/_synapse/admin/v1/audit_log", token=made["access_token"])
    again, first = answer["entries"]
    hidden = {"password": "(hidden)", "mac": "(hidden)", "nonce": "(hidden)"}
    assert first["request"] == {"username": "boss", "admin": True, **hidden}
    assert first["response"] == {**made, "access_token": "(hidden)"}
    assert (first["user_id"], first["path"]) == ("registration_shared_secret", ADMIN)
    assert [entry["status"] for entry in (first, again)] == [200, 400]


@ensureDeferred
async def test_without_a_secret_nobody_is_made(server: TestServer) -> None:
    """A nonce is given, and is good for nothing."""
    assert len((await server.ok("GET", ADMIN))["nonce"]) == 128
    answer = await server.call("POST", ADMIN, {})
    assert answer.status == 400
    assert answer.json() == {"errcode": "M_UNKNOWN", "error": "Shared secret registration is not enabled"}


@ensureDeferred
async def test_a_registration_that_was_given_up_holds_no_token(build_server: BuildServer) -> None:
    """Its use is free again when the session ends."""
    server = await build_server(enable_registration=True, registration_requires_token=True)
    await server.database.transact(add_token, "abc", 1, None)
    asked = (await server.call("POST", "register", _body())).json()
    auth = {"type": "m.login.registration_token", "token": "abc", "session": asked["session"]}
    assert (await server.call("POST", "register", _body(auth=auth))).status == 401
    for pending in (1, 0):
        token = await server.database.read(find_token, "abc", server.clock.now_ms())
        assert token is not None
        assert (token.pending, token.completed) == (pending, 0)
        assert token.is_valid(server.clock.now_ms()) == (pending == 0)
        server.clock.advance(SESSION_LIFETIME_MS / 1000 + 1)


@ensureDeferred
async def test_registration_with_a_token(build_server: BuildServer) -> None:
    """It counts one use with each account, and no other; used up, it is refused, and no account is made."""
    server = await build_server(enable_registration=True, registration_requires_token=True)
    await server.database.transact(add_token, "abc", 1, None)
    asked = (await server.call("POST", "register", _body())).json()
    assert asked["flows"] == [{"stages": ["m.login.registration_token", "m.login.dummy"]}]

    def auth(token: object) -> dict[str, Any]:
        return {"auth": {"type": "m.login.registration_token", "token": token, "session": asked["session"]}}

    validity = "/_matrix/client/v1/register/m.login.registration_token/validity"
    assert await server.ok("GET", f"{validity}?token=abc") == {"valid": True}
    assert await server.ok("GET", f"{validity}?token=xyz") == {"valid": False}
    assert await server.refusal("GET", validity) == (400, "M_MISSING_PARAM")
    assert await server.refusal("POST", "register", _body(**auth("xyz"))) == (401, "M_UNAUTHORIZED")
    assert await server.refusal("POST", "register", _body(**auth(1))) == (400, "M_BAD_JSON")
    for _ in range(2):  # an answer was lost: what the session holds it has
        held = await server.call("POST", "register", _body(**auth("abc")))
        assert (held.status, held.json()["completed"]) == (401, ["m.login.registration_token"])
    assert await server.ok("GET", f"{validity}?token=abc") == {"valid": False}
    rest = {**DUMMY, "session": asked["session"]}
    assert (await server.ok("POST", "register", _body(auth=rest)))["user_id"] == "@name:hs.test"
    used = await server.database.read(find_token, "abc", server.clock.now_ms())
    assert used is not None
    assert (used.pending, used.completed) == (0, 1)
    assert await server.ok("GET", f"{validity}?token=abc") == {"valid": False}
    asked = (await server.call("POST", "register", _body("other"))).json()
    assert await server.refusal("POST", "register", _body("other", **auth("abc"))) == (401, "M_UNAUTHORIZED")
    assert await server.ok("GET", "register/available?username=other") == {"available": True}


@ensureDeferred
async def test_a_token_is_used_once_by_many_at_once(build_server: BuildServer) -> None:
    """The account and the use of its token are one commit."""
    server = await build_server(enable_registration=True, registration_requires_token=True)
    await server.database.transact(add_token, "abc", 2, None)
    sessions = [(await server.call("POST", "register", _body(auth=DUMMY))).json() for _ in range(5)]
    auth = {"type": "m.login.registration_token", "token": "abc"}
    answers = await gatherResults(
        [
            Deferred.fromCoroutine(
                server.call(
                    "POST", "register", _body(f"user{number}", auth={**auth, "session": one["session"]})
                )
            )
            for number, one in enumerate(sessions)
        ]
    )
    assert sorted(answer.status for answer in answers) == [200, 200, 401, 401, 401]
    made = await server.database.read(lambda txn: txn.value("SELECT count(*) FROM users"))
    assert made == 2


@ensureDeferred
async def test_a_token_is_held_once_by_many_at_once(build_server: BuildServer) -> None:
    """Its last use is one session's, and the others are told so before they go on."""
    server = await build_server(enable_registration=True, registration_requires_token=True)
    await server.database.transact(add_token, "abc", 1, None)
    auth = {"type": "m.login.registration_token", "token": "abc"}
    answers = await gatherResults(
        [
            Deferred.fromCoroutine(server.call("POST", "register", _body(f"user{number}", auth=auth)))
            for number in range(4)
        ]
    )
    told = [(answer.status, answer.json().get("errcode")) for answer in answers]
    assert sorted(told, key=str) == [(401, "M_UNAUTHORIZED")] * 3 + [(401, None)]
    (held,) = [answer.json() for answer in answers if "errcode" not in answer.json()]
    await server.ok("POST", "register", _body("held", auth={**DUMMY, "session": held["session"]}))


@ensureDeferred
async def test_names_that_are_taken_are_told_late(build_server: BuildServer) -> None:
    """`inhibit_user_in_use_error`: nobody finds out without proving what is asked."""
    server = await build_server(**OPEN, inhibit_user_in_use_error=True)
    await server.register("name")
    assert await server.ok("GET", "register/available?username=name") == {"available": True}
    asked = await server.call("POST", "register", _body())
    assert asked.status == 401
    auth = {**DUMMY, "session": asked.json()["session"]}
    assert await server.refusal("POST", "register", _body(auth=auth)) == (400, "M_USER_IN_USE")


@ensureDeferred
async def test_names_that_begin_with_an_underscore(server: TestServer, build_server: BuildServer) -> None:
    """Only where the operator lets them."""
    path = "register/available?username=_name"
    assert await server.refusal("GET", path) == (400, "M_INVALID_USERNAME")
    free = await build_server(**OPEN, allow_underscore_prefixed_registration=True)
    assert await free.ok("GET", path) == {"available": True}
