"""Who of other servers gets in."""

import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, DeferredList

from synapse_lite.canonical_json import JsonObject
from synapse_lite.http.access import Access
from synapse_lite.http.exchange import SMALL_BODY
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route
from synapse_lite.matrix.server_auth import sign_request
from synapse_lite.matrix.signing import generate_signing_key
from tests.builders import SERVER
from tests.federation.conftest import OTHER, JoinNetwork
from tests.federation.network import Network, Scripted, send_signed
from tests.http.memory import Connection
from tests.server import TestServer

TARGET = "/_matrix/federation/test/%21room%3Aa%2Fb+c?x=%20y&x=z"
BODY = {"float": 1.5, "large": 2**70, "text": "ü"}
UNAUTHORIZED = (401, "M_UNAUTHORIZED")


async def echo(request: Request, origin: str, part: str) -> JsonObject:
    return {"origin": origin, "part": part, "length": len(request.body)}


def with_echo(server: TestServer) -> TestServer:
    server.add_routes(
        [Route(method, "/_matrix/federation/test/{part}", echo, Access.SERVER) for method in ("GET", "PUT")]
    )
    return server


@pytest_twisted.async_fixture
async def echoing(server: TestServer) -> TestServer:
    return with_echo(server)


@ensureDeferred
async def test_a_signed_request(echoing: TestServer, other: Scripted) -> None:
    """The signature covers the target as it was sent, and the body with its numbers; who asked is told further."""
    heard: list[str] = []
    echoing.core.federation.heard_from.append(heard.append)
    assert await other.ask(echoing, "GET", TARGET) == (
        200,
        {"origin": OTHER, "part": "!room:a/b+c", "length": 0},
    )
    status, answer = await other.ask(echoing, "PUT", TARGET, BODY)
    assert (status, answer["origin"]) == (200, OTHER)
    assert answer["length"] > 30
    assert heard == [OTHER, OTHER]


@ensureDeferred
async def test_what_is_refused(echoing: TestServer, other: Scripted) -> None:
    """A wrong signature, one of something else, one for somebody else, a body that is changed, no header."""
    forged = generate_signing_key(OTHER)
    good = sign_request(other.key, "GET", TARGET, SERVER)
    for header, target, body in (
        (sign_request(forged, "GET", TARGET, SERVER), TARGET, None),
        (sign_request(other.key, "GET", "/other", SERVER), TARGET, None),
        (sign_request(other.key, "PUT", TARGET, SERVER), TARGET, None),
        (sign_request(other.key, "GET", TARGET, "third.test"), TARGET, None),
        (good, TARGET.replace("%20", "+"), None),
        (good, TARGET, {"more": 1}),
        (good.replace(OTHER, "unknown.test"), TARGET, None),
        ("Bearer token", TARGET, None),
    ):
        answer = await echoing.call("GET", target, body, headers={"Authorization": header})
        assert (answer.status, answer.json()["errcode"]) == UNAUTHORIZED, header
    assert await echoing.refusal("GET", TARGET) == UNAUTHORIZED


@ensureDeferred
async def test_bodies_of_strangers_are_not_read(echoing: TestServer, other: Scripted) -> None:
    """Whose keys are not known, and cannot be had, is refused before anything of the body has come."""
    for origin in ("unknown.test", OTHER):
        connection, answered = Connection(echoing._site), Deferred[None]()
        connection.transport.on_write = lambda done=answered: done.called or done.callback(None)
        header = sign_request(generate_signing_key(origin), "PUT", TARGET, SERVER, b"{}")
        assert other.key.key_id not in header
        connection.send(
            f"PUT {TARGET} HTTP/1.1\r\nHost: test\r\nContent-Length: {SMALL_BODY + 1}\r\nAuthorization: {header}\r\n\r\n".encode()
        )
        await answered
        assert connection.transport.value().startswith(b"HTTP/1.1 401")


@ensureDeferred
async def test_old_servers_name_no_destination(echoing: TestServer, other: Scripted) -> None:
    """The parameter is younger than the scheme."""
    header = sign_request(other.key, "GET", TARGET, SERVER).replace(f'destination="{SERVER}",', "")
    answer = await echoing.call("GET", TARGET, headers={"Authorization": header})
    assert answer.status == 200


@ensureDeferred
async def test_the_whitelist(join_network: JoinNetwork, other: Scripted) -> None:
    """Who is not on it is refused before anything else; our own name is always on it."""
    closed = with_echo(await join_network(federation_domain_whitelist=["third.test"]))
    status, answer = await other.ask(closed, "GET", TARGET)
    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")
    assert (await send_signed(closed, closed.signing_key, "GET", TARGET)).status == 200
    opened = with_echo(await join_network("open.test", federation_domain_whitelist=[OTHER]))
    assert (await other.ask(opened, "GET", TARGET))[0] == 200


@ensureDeferred
async def test_a_user_is_no_server(echoing: TestServer) -> None:
    """An access token does not help."""
    token = await echoing.user("alice", is_admin=True)
    assert await echoing.refusal("GET", TARGET, token=token) == UNAUTHORIZED


@ensureDeferred
async def test_servers_have_their_turns(join_network: JoinNetwork, network: Network) -> None:
    """`rc_federation`: of one server few requests are served at once, more are delayed, then refused; others are served."""
    limits = {"window_size": "2s", "sleep_limit": 1, "sleep_delay": 500, "reject_limit": 2, "concurrent": 1}
    server = await join_network(rc_federation=limits)
    other, third = network.scripted(OTHER), network.scripted("third.test")
    path = f"/_matrix/federation/v1/query/profile?user_id=%40nobody%3A{SERVER}"
    assert (await other.ask(server, "GET", path))[0] == 404
    asked = [Deferred.fromCoroutine(other.ask(server, "GET", path)) for _ in range(3)]
    (status, refused), first = await DeferredList(asked, fireOnOneCallback=True)
    assert (status, refused["errcode"], refused["retry_after_ms"]) == (429, "M_LIMIT_EXCEEDED", 2000)
    assert (await third.ask(server, "GET", path))[0] == 404
    late = [one for number, one in enumerate(asked) if number != first]
    assert not any(one.called for one in late)
    server.clock.advance(0.5)
    assert [(await one)[0] for one in late] == [404, 404]
