"""Pages for stages of user-interactive authentication that a client does not know."""

import re
from base64 import b64encode
from hashlib import sha256
from urllib.parse import urlencode

from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from synapse_lite.storage.registration_tokens import add_token, find_token
from synapse_lite.storage.uia import SESSION_LIFETIME_MS
from tests.http.memory import Answer
from tests.rest.conftest import BuildServer
from tests.server import TestServer

TOKEN = "m.login.registration_token"
BODY = {"username": "name", "password": "secret"}
WITH_TOKENS = {"enable_registration": True, "registration_requires_token": True}


async def _session(server: TestServer) -> str:
    answer = await server.call("POST", "register", BODY)
    session: str = answer.json()["session"]
    return session


def _path(stage: str, session: str) -> str:
    return f"auth/{stage}/fallback/web?session={session}"


async def _enter(server: TestServer, session: str, token: str) -> Answer:
    return await server.call("POST", _path(TOKEN, session), urlencode({"token": token}).encode())


@ensureDeferred
async def test_a_stage_is_done_on_a_page(server: TestServer) -> None:
    """The page has a form; once it is sent, the client hears of it, and the session alone is the proof."""
    session = await _session(server)
    shown = await server.call("GET", _path("m.login.dummy", session))
    assert shown.status == 200
    assert shown.headers["Content-Type"] == "text/html; charset=utf-8"
    assert b'<form method="post">' in shown.body
    assert (await server.call("POST", "register", {**BODY, "auth": {"session": session}})).status == 401
    done = await server.call("POST", _path("m.login.dummy", session), b"")
    assert done.status == 200
    assert b"window.onAuthDone" in done.body
    assert b'window.opener.postMessage("authDone","*")' in done.body
    made = await server.ok("POST", "register", {**BODY, "auth": {"session": session}})
    assert made["user_id"] == "@name:hs.test"
    assert await server.refusal("GET", _path("m.login.dummy", session)) == (400, "M_UNKNOWN")


@ensureDeferred
async def test_only_what_the_pages_hold_runs(server: TestServer) -> None:
    """The policy allows no script and no style but those of the page, by their hashes, and no frames."""
    session = await _session(server)
    done = await server.call("POST", _path("m.login.dummy", session), b"")
    policy = done.headers["Content-Security-Policy"]
    for kind in ("script", "style"):
        (content,) = re.findall(rf"<{kind}>(.*?)</{kind}>".encode(), done.body)
        assert f"{kind}-src 'sha256-{b64encode(sha256(content).digest()).decode()}';" in policy
    assert policy.startswith("default-src 'none';")
    assert "frame-ancestors 'none'" in policy
    assert "Cross-Origin-Opener-Policy" not in done.headers
    assert done.headers["Cache-Control"] == "no-store"


@ensureDeferred
async def test_a_token_that_was_entered_is_used_once(build_server: BuildServer) -> None:
    """A wrong one is asked for again; the session remembers a right one, and the account counts it."""
    server = await build_server(**WITH_TOKENS)
    await server.database.transact(add_token, "a b&c", 1, None)
    session = await _session(server)
    wrong = await _enter(server, session, "<wrong>")
    assert (wrong.status, b"Invalid registration token" in wrong.body) == (401, True)
    assert b'name="token"' in wrong.body
    assert (await server.call("POST", "register", {**BODY, "auth": {"session": session}})).status == 401
    for _ in range(2):
        assert (await _enter(server, session, "a b&c")).status == 200
    await server.ok("POST", "register", {**BODY, "auth": {"type": "m.login.dummy", "session": session}})
    used = await server.database.read(find_token, "a b&c", server.clock.now_ms())
    assert used is not None
    assert (used.pending, used.completed) == (0, 1)


@ensureDeferred
async def test_a_session_holds_a_use_of_its_token(build_server: BuildServer) -> None:
    """Pending until the account is made or the session's time is over; nobody else gets that use meanwhile."""
    server = await build_server(**WITH_TOKENS)
    await server.database.transact(add_token, "abc", 1, None)
    first, second = await _session(server), await _session(server)

    async def uses() -> tuple[int, int]:
        found = await server.database.read(find_token, "abc", server.clock.now_ms())
        assert found is not None
        return found.pending, found.completed

    assert (await _enter(server, first, "abc")).status == 200
    assert await uses() == (1, 0)
    assert (await _enter(server, second, "abc")).status == 401
    auth = {"type": TOKEN, "token": "abc"}
    assert await server.refusal("POST", "register", {**BODY, "auth": auth}) == (401, "M_UNAUTHORIZED")
    server.clock.advance(SESSION_LIFETIME_MS / 1000 + 1)
    assert await uses() == (0, 0)
    third = await _session(server)
    assert (await _enter(server, third, "abc")).status == 200
    await server.ok("POST", "register", {**BODY, "auth": {"type": "m.login.dummy", "session": third}})
    assert await uses() == (0, 1)


@ensureDeferred
async def test_one_of_many_sessions_gets_the_last_use(build_server: BuildServer) -> None:
    """Sessions that want the same token at once take turns."""
    server = await build_server(**WITH_TOKENS)
    await server.database.transact(add_token, "abc", 1, None)
    sessions = [await _session(server) for _ in range(4)]
    answers = await gatherResults(
        [Deferred.fromCoroutine(_enter(server, session, "abc")) for session in sessions]
    )
    assert sorted(answer.status for answer in answers) == [200, 401, 401, 401]


@ensureDeferred
async def test_sign_ups_that_are_abandoned(build_server: BuildServer) -> None:
    """Many at once make as many accounts as the token has uses, whatever uses were held by who never came back."""
    server = await build_server(**WITH_TOKENS)
    await server.database.transact(add_token, "abc", 5, None)
    registered = 0
    for finishing in (2, 5):
        sessions = [await _session(server) for _ in range(8)]
        entered = await gatherResults(
            [Deferred.fromCoroutine(_enter(server, one, "abc")) for one in sessions]
        )
        holding = [one for one, answer in zip(sessions, entered, strict=True) if answer.status == 200]
        assert len(holding) == 5 - registered
        answers = await gatherResults(
            [
                Deferred.fromCoroutine(
                    server.call(
                        "POST",
                        "register",
                        {**BODY, "username": f"u{n}", "auth": {"type": "m.login.dummy", "session": one}},
                    )
                )
                for n, one in enumerate(holding[:finishing], registered)
            ]
        )
        assert {answer.status for answer in answers} == {200}
        registered += len(answers)
        server.clock.advance(SESSION_LIFETIME_MS / 1000 + 1)
        used = await server.database.read(find_token, "abc", server.clock.now_ms())
        assert used is not None
        assert (used.pending, used.completed) == (0, registered)
    assert registered == 5
    assert (await _enter(server, await _session(server), "abc")).status == 401


@ensureDeferred
async def test_questions_for_tokens_are_limited(build_server: BuildServer) -> None:
    """Nobody finds a token by trying them on the page."""
    server = await build_server(
        **WITH_TOKENS, rc_registration_token_validity={"per_second": 0.1, "burst_count": 2}
    )
    session = await _session(server)
    statuses = [(await _enter(server, session, f"guess{number}")).status for number in range(3)]
    assert statuses == [401, 401, 429]


@ensureDeferred
async def test_pages_that_there_are_not(server: TestServer) -> None:
    """Other stages, sessions that are absent or unknown, bodies that are no forms."""
    session = await _session(server)
    for method in ("GET", "POST"):
        for stage in ("m.login.password", "x"):
            assert await server.refusal(method, _path(stage, session)) == (404, "M_UNRECOGNIZED")
        assert await server.refusal(method, _path(TOKEN, "never")) == (400, "M_UNKNOWN")
        assert await server.refusal(method, f"auth/{TOKEN}/fallback/web") == (400, "M_MISSING_PARAM")
    for body in (b"\xff", b"token=%FF", b"a=1&" * 11, b"token=%00", b"token=" + b"x" * 513):
        assert await server.refusal("POST", _path(TOKEN, session), body) == (400, "M_BAD_JSON"), body
