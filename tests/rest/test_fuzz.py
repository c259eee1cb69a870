"""Whatever a client puts into a request gets an answer that is no fault, and nothing is broken by it."""

import json
from collections.abc import AsyncIterator
from itertools import count
from typing import Any
from urllib.parse import quote

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from twisted.internet import defer, reactor
from twisted.internet.defer import Deferred

from synapse_lite.http.access import Access
from synapse_lite.http.request import Request
from synapse_lite.http.router import Route
from synapse_lite.tasks.waiting import TaskWaiter
from tests.builders import SERVER
from tests.http.memory import Answer
from tests.rest.conftest import BuildServer
from tests.rest.fuzzing import STATE, TEXTS, Scene, broken
from tests.server import OPEN, TestServer, path_part

WAIT_SECONDS = 120.0
PARTS = 8
NO_FAULT = {
    # Another server that the client named gives no answer; here none does.
    502: ("/publicRooms", "/join/", "/knock/", "/directory/room/", "/profile/", "/summary/", "/media/"),
    # Nobody runs tasks here.
    504: ("/quarantine_media/", "/media/quarantine", "/_synapse/admin/v1/rooms/"),
}
"""Answers that tell of the state of others, and parts of the paths where they may."""


class Fuzzer:
    """Sends broken requests, and notes every fault."""

    def __init__(self, server: TestServer) -> None:
        self.server = server
        self.faults: list[tuple[Any, ...]] = []
        self._numbers = count()
        self.asked: set[str] = set()

    async def open(self) -> None:
        self.admin = await self.server.user("admin", is_admin=True)
        # What must go on working, whatever happens: people in a room that no broken request is about.
        self.witness = await self.server.register("witness")
        self.room = await self.server.room(self.witness)

    async def scene(self) -> tuple[Scene, str]:
        """New users in a new room, and the token of the first."""
        number = next(self._numbers)
        token = await self.server.register(f"user{number}", device_id="DEVICE")
        other = await self.server.user(f"other{number}")
        room = await self.server.room(token)
        await self.server.ok("POST", f"{room}/join", {}, other)
        content = {"msgtype": "m.text", "body": "hello"}
        said = await self.server.ok("PUT", f"{room}/send/m.room.message/1", content, token)
        user_id, other_id = (f"@{name}{number}:{SERVER}" for name in ("user", "other"))
        return Scene(user_id, other_id, room.removeprefix("rooms/"), said["event_id"]), token

    async def send(
        self, method: str, path: str, body: Any, token: str | None, *, has_own_shape: bool = False
    ) -> Answer | None:
        """The answer; None when there is none in time."""
        call = self.server.call(method, path, body, token, has_own_shape=has_own_shape)
        calling = Deferred.fromCoroutine(call)
        try:
            answer: Answer = await calling.addTimeout(WAIT_SECONDS, reactor)
        except defer.TimeoutError:
            self.faults.append((method, path[:200], str(body)[:300], "no answer"))
            return None
        if answer.status >= 500 and not any(part in path for part in NO_FAULT.get(answer.status, ())):
            self.faults.append((method, path[:200], str(body)[:300], answer.status))
        return answer

    async def route(self, route: Route) -> None:
        scene, token = await self.scene()
        token = self.admin if route.access is Access.ADMIN else token
        body = None if route.method == "GET" else scene.body(route)
        self.asked.clear()
        await self.send(route.method, scene.path(route), body, token)
        queries = sorted(self.asked - {"access_token"})
        for name in (part[1:-1] for part in route.pattern.split("/") if part.startswith("{")):
            for text in TEXTS:
                await self.send(route.method, scene.path(route, **{name: text}), body, token)
        for name in queries:
            for text in TEXTS:
                path = f"{scene.path(route)}?{name}={text}"
                await self.send(route.method, path, body, token)
        if body is not None:
            for other in broken(body):
                await self.send(route.method, scene.path(route), _encode(other), token)
            for raw in (b"", b"{", b"\xff", b"[" * 100_000, b'{"a":' * 50_000):
                await self.send(route.method, scene.path(route), raw, token)
        await self.check()

    async def check(self) -> None:
        """Sending, reading and joining work as before for those whom it did not concern."""
        ok = self.server.ok
        number = next(self._numbers)
        content = {"msgtype": "m.text", "body": str(number)}
        await ok("PUT", f"{self.room}/send/m.room.message/{number}", content, self.witness)
        await ok("GET", "sync", None, self.witness)
        await ok("POST", f"{self.room}/join", {}, await self.server.user(f"late{number}"))

    async def state(self, event_type: str) -> None:
        """A room whose state is set to everything that is accepted can be joined, read and left, or refuses to be."""
        scene, token = await self.scene()
        room = f"rooms/{path_part(scene.room_id)}"
        key = path_part(scene.user) if event_type == "m.room.member" else ""
        for content in broken(_fill(STATE[event_type], scene)):
            answer = await self.send("PUT", f"{room}/state/{event_type}/{key}", _encode(content), token)
            if answer is not None and answer.status == 200:
                await self.use(room, token, _encode(content))

    async def use(self, room: str, token: str, content: bytes) -> None:
        number = next(self._numbers)
        late = await self.server.user(f"late{number}")
        before = len(self.faults)
        message = {"msgtype": "m.text", "body": "x"}
        for method, path, body, who in (
            ("POST", f"{room}/join", {}, late),
            ("PUT", f"{room}/send/m.room.message/{number}", message, token),
            ("GET", "sync", None, token),
            ("GET", f"{room}/members", None, token),
            ("GET", f"{room}/messages?dir=b&limit=5", None, token),
            ("GET", f"/_synapse/admin/v1/{room}", None, self.admin),
        ):
            await self.send(method, path, body, who)
        if len(self.faults) > before:
            self.faults.append(("after", content[:300]))


def _fill(content: Any, scene: Scene) -> Any:
    text = json.dumps(content).replace("@other", scene.other).replace("!room", scene.room_id)
    return json.loads(text.replace("$event", scene.event_id))


def _encode(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest_twisted.async_yield_fixture
async def fuzzer(build_server: BuildServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Fuzzer]:
    fuzzer = Fuzzer(
        await build_server(
            **OPEN,
            registration_shared_secret="s",
            allow_guest_access=True,
            experimental_features={"msc4306_enabled": True},
        )
    )
    query = Request.query

    def noting(self: Request, name: str, default: Any = None) -> Any:
        fuzzer.asked.add(name)
        return query(self, name, default)

    monkeypatch.setattr(Request, "query", noting)
    until_ended = TaskWaiter.until_ended
    monkeypatch.setattr(TaskWaiter, "until_ended", lambda waiter, task_id, _: until_ended(waiter, task_id, 0))
    await fuzzer.open()
    yield fuzzer


def _is_one_of_its_kind(route: Route) -> bool:
    """One of the versions of each path is enough."""
    return not route.pattern.startswith(("/_matrix/client/r0", "/_matrix/client/v1", "/_synapse/admin/ui"))


@pytest.mark.parametrize("part", range(PARTS))
@ensureDeferred
async def test_no_request_is_a_fault(fuzzer: Fuzzer, part: int) -> None:
    """Every path part, query parameter and body field of every route, with everything that may be wrong in it."""
    for route in [route for route in fuzzer.server.routes if _is_one_of_its_kind(route)][part::PARTS]:
        await fuzzer.route(route)
    assert fuzzer.faults == []


@pytest.mark.parametrize("event_type", sorted(STATE))
@ensureDeferred
async def test_no_state_breaks_a_room(fuzzer: Fuzzer, event_type: str) -> None:
    """What is accepted as the state of a room leaves it usable; what is not is refused."""
    await fuzzer.state(event_type)
    assert fuzzer.faults == []


@ensureDeferred
async def test_filters_that_are_accepted_work(fuzzer: Fuzzer) -> None:
    """A filter that is broken is refused when it is stored, not at each sync."""
    scene, token = await fuzzer.scene()
    route = next(
        route for route in fuzzer.server.routes if route.pattern.endswith("v3/user/{user_id}/filter")
    )
    for content in broken(scene.body(route)):
        answer = await fuzzer.send("POST", scene.path(route), _encode(content), token)
        if answer is not None and answer.status == 200:
            filter_id = answer.json()["filter_id"]
            synced = await fuzzer.send(
                "GET", f"sync?filter={filter_id}", None, token, has_own_shape="event_fields" in content
            )
            assert synced is not None
            assert synced.status == 200
        await fuzzer.send("GET", f"sync?filter={quote(_encode(content)[:12_000])}", None, token)
    assert fuzzer.faults == []
