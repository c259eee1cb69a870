"""Rate limits cannot be gone around by another road to the same thing."""

from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from tests.builders import SERVER
from tests.rest.conftest import BuildServer
from tests.server import OPEN, TestServer, path_part

LIMIT = (429, "M_LIMIT_EXCEEDED")
TIGHT = {"per_second": 1e-6, "burst_count": 3}
BOB = f"@bob:{SERVER}"


@ensureDeferred
async def test_guesses_that_come_at_once(build_server: BuildServer) -> None:
    """A guess counts before it is checked, so that no more than the limit are; who is right loses nothing."""
    generous = {"per_second": 1000, "burst_count": 1000}
    server = await build_server(
        **OPEN, rc_login={"address": generous, "account": generous, "failed_attempts": TIGHT}
    )
    await server.register("alice")

    def log_in(password: str) -> Deferred[tuple[int, str]]:
        body = {"type": "m.login.password", "user": "alice", "password": password}
        return Deferred.fromCoroutine(server.refusal("POST", "login", body))

    for _ in range(5):
        assert (await log_in("secret"))[0] == 200
    answers = await gatherResults([log_in(f"guess {number}") for number in range(10)])
    assert sorted(answers) == [(403, "M_FORBIDDEN")] * 3 + [LIMIT] * 7


@pytest.mark.parametrize("auth", [None, {}, {"type": "m.login.password"}, {"type": "m.login.dummy"}])
@ensureDeferred
async def test_every_question_about_registration_counts(build_server: BuildServer, auth: Any) -> None:
    """Whatever proof a request shows, they come to an end until somebody is registered."""
    server = await build_server(**OPEN, rc_registration=TIGHT)
    body = {"username": "new"} | ({} if auth is None else {"auth": auth})
    answers = [await server.refusal("POST", "register", body) for _ in range(7)]
    assert answers[-1] == LIMIT
    assert LIMIT not in answers[:3]


async def _populated(server: TestServer) -> tuple[str, str]:
    token, bob = await server.user("alice"), await server.user("bob")
    room = await server.room(token)
    await server.ok("POST", f"{room}/join", {}, bob)
    return room, token


@pytest.mark.parametrize(
    "road",
    [
        [("POST", "/join", {"reason": "again"})],
        [("POST", "/ban", {"user_id": BOB}), ("POST", "/unban", {"user_id": BOB})],
        [("PUT", f"/state/m.room.member/{path_part(f'@alice:{SERVER}')}", {"membership": "join", "x": 1})],
        [("PUT", f"/typing/{path_part(f'@alice:{SERVER}')}", {"typing": True, "timeout": 1})],
    ],
)
@ensureDeferred
async def test_whatever_writes_into_a_room_is_limited(
    build_server: BuildServer, road: list[tuple[str, str, Any]]
) -> None:
    """Joining again, bans and what undoes them, typing: as messages are."""
    server = await build_server(rc_message=TIGHT)
    room, token = await _populated(server)
    calls = (road * 8)[:8]
    answers = [await server.refusal(method, room + path, body, token) for method, path, body in calls]
    assert answers[-1] == LIMIT
    assert [status for status, _ in answers[:3]] == [200] * 3


@ensureDeferred
async def test_names_are_limited(build_server: BuildServer) -> None:
    """Each change of a name is an event in every room of its user."""
    server = await build_server(rc_message=TIGHT)
    _, token = await _populated(server)
    path = f"profile/{path_part(f'@alice:{SERVER}')}/displayname"
    answers = [await server.refusal("PUT", path, {"displayname": f"{n}"}, token) for n in range(4)]
    assert [status for status, _ in answers] == [200, 200, 200, 429]


@ensureDeferred
async def test_nonces_cost_the_server_nothing(build_server: BuildServer) -> None:
    """However many are asked for, nothing is stored, and the operator's own stays good."""
    server = await build_server(registration_shared_secret="s")
    for _ in range(5):
        await server.ok("GET", "/_synapse/admin/v1/register")
    count = await server.database.read(lambda txn: txn.value("SELECT count(*) FROM registration_nonces"))
    assert count == 0
