"""A Matrix client that measures: users, long-polling receivers, and what scenarios share."""

import asyncio
import hashlib
import hmac
import itertools
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, urlencode

import attrs
import orjson

from benchmarks.http import Http

CLIENT = "/_matrix/client/v3"
ADMIN = "/_synapse/admin"
PASSWORD = "correct horse battery staple"
DELIVERY_LIMIT_S = 60
POLL_S = 0.005

Json = dict[str, Any]
Metrics = dict[str, float]
Item = TypeVar("Item")
Result = TypeVar("Result")


class ScenarioError(Exception):
    """The server answered with an error, or did not do what is being timed."""


class MissingFeatureError(Exception):
    """The server does not have this function, so there is nothing to time."""


def check(condition: bool, message: str) -> None:
    if not condition:
        raise ScenarioError(message)


def percentile(samples: list[float], fraction: float) -> float:
    """By nearest rank."""
    return sorted(samples)[max(0, math.ceil(fraction * len(samples)) - 1)]


def latency(samples: list[float], prefix: str = "") -> Metrics:
    """Seconds in, median and 99th percentile in milliseconds out."""
    return {
        f"{prefix}p50_ms": percentile(samples, 0.50) * 1000,
        f"{prefix}p99_ms": percentile(samples, 0.99) * 1000,
    }


async def each(
    function: Callable[[Item], Awaitable[Result]], items: Iterable[Item], width: int = 8
) -> list[Result]:
    """Apply `function` to all items, `width` at a time; results in the items' order."""
    results: dict[int, Result] = {}
    queue = iter(enumerate(items))

    async def work() -> None:
        for index, item in queue:
            results[index] = await function(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(width):
            group.create_task(work())
    return [results[index] for index in sorted(results)]


async def until_done(ask: Callable[[], Awaitable[bool]], limit_s: float, shortest_s: float = POLL_S) -> None:
    """Ask until the answer is yes, at pauses of a fiftieth of the time already waited, but not shorter than `shortest_s`.

    So the polling adds little to what is timed, and costs the server little.
    """
    start = time.perf_counter()
    while not await ask():
        waited = time.perf_counter() - start
        check(waited < limit_s, f"not done after {limit_s} s")
        await asyncio.sleep(max(shortest_s, waited / 50))


FILTER: Json = {
    "room": {
        "timeline": {"limit": 20, "unread_thread_notifications": True},
        "state": {"lazy_load_members": True},
    }
}


class Answer(NamedTuple):
    """A status, a JSON object, and how long the server took: without what the client computes before and after."""

    status: int
    json: Json
    seconds: float


class History(NamedTuple):
    """What a walk through a room's timeline has brought, newest first; `seconds` that the server took for all requests."""

    events: list[Json]
    requests: int
    seconds: float


class User:
    """A logged-in user (or, without a token, an anonymous client)."""

    def __init__(self, http: Http, name: str = "", user_id: str = "", token: str = "") -> None:
        self.http = http
        self.name = name
        self.user_id = user_id
        self.filter_id = ""
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def ask(self, method: str, path: str, body: Json | None = None, **query: str | int) -> Answer:
        """Whatever the server says; raises `ScenarioError` when it is no JSON."""
        target = f"{path}?{urlencode(query)}" if query else path
        data = None if body is None else orjson.dumps(body)
        start = time.perf_counter()
        status, content = await self.http.request(method, target, self.headers, data)
        seconds = time.perf_counter() - start
        try:
            return Answer(status, orjson.loads(content), seconds)
        except orjson.JSONDecodeError as error:
            raise ScenarioError(f"{method} {path}: {status} {content[:200]!r}") from error

    async def request(
        self, method: str, path: str, body: Json | None = None, **query: str | int
    ) -> tuple[int, Json]:
        """The answer's status and JSON object, whatever they are."""
        return (await self.ask(method, path, body, **query))[:2]

    async def call(self, method: str, path: str, body: Json | None = None, **query: str | int) -> Json:
        """The JSON object of a 200; raises `ScenarioError` for anything else."""
        return (await self.timed(method, path, body, **query))[0]

    async def timed(
        self, method: str, path: str, body: Json | None = None, **query: str | int
    ) -> tuple[Json, float]:
        """As `call`, and the seconds that the server took."""
        status, answer, seconds = await self.ask(method, path, body, **query)
        check(status == 200, f"{method} {path}: {status} {answer}")
        return answer, seconds

    async def create_room(self) -> str:
        answer = await self.call("POST", f"{CLIENT}/createRoom", {"preset": "public_chat"})
        return str(answer["room_id"])

    async def join(self, room: str) -> None:
        await self.call("POST", f"{CLIENT}/join/{quote(room)}", {})

    async def ban(self, room: str, user: "User") -> None:
        await self.call("POST", f"{CLIENT}/rooms/{quote(room)}/ban", {"user_id": user.user_id})

    async def send(self, room: str, text: str) -> tuple[str, float]:
        """Send a message; its event id, and the seconds until the server's answer."""
        path = f"{CLIENT}/rooms/{quote(room)}/send/m.room.message/{secrets.token_hex(8)}"
        answer, seconds = await self.timed("PUT", path, {"msgtype": "m.text", "body": text})
        return answer["event_id"], seconds

    async def event(self, room: str, event_id: str) -> tuple[int, Json]:
        return await self.request("GET", f"{CLIENT}/rooms/{quote(room)}/event/{quote(event_id)}")

    async def history(self, room: str, page_size: int) -> History:
        """The room's timeline, page by page."""
        events: list[Json] = []
        position: Json = {}
        whole = 0.0
        for requests in itertools.count(1):
            path = f"{CLIENT}/rooms/{quote(room)}/messages"
            page, seconds = await self.timed("GET", path, dir="b", limit=page_size, **position)
            events += page["chunk"]
            whole += seconds
            if not page["chunk"] or "end" not in page:
                return History(events, requests, whole)
            position = {"from": page["end"]}
        raise AssertionError("count() never ends")

    async def sync(self, since: str | None = None, timeout_ms: int = 0) -> Json:
        """With the filter that Element sends, by its id as Element does; without one when there is none yet."""
        query: Json = {"since": since} if since else {}
        if self.filter_id:
            query["filter"] = self.filter_id
        return await self.call("GET", f"{CLIENT}/sync", timeout=timeout_ms, set_presence="offline", **query)

    async def make_filter(self) -> None:
        path = f"{CLIENT}/user/{quote(self.user_id)}/filter"
        self.filter_id = (await self.call("POST", path, FILTER))["filter_id"]

    async def another_session(self) -> "User":
        """The same user, logged in once more."""
        answer = await self.call(
            "POST",
            f"{CLIENT}/login",
            {
                "type": "m.login.password",
                "identifier": {"type": "m.id.user", "user": self.user_id},
                "password": PASSWORD,
            },
        )
        return User(self.http, self.name, self.user_id, answer["access_token"])


class Inbox:
    """A user who long-polls /sync and notes when each message first arrived."""

    def __init__(self, user: User, room: str) -> None:
        self.user = user
        self.room = room
        self.arrived: dict[str, float] = {}
        self.bodies: list[str] = []
        self.changed = asyncio.Event()

    async def poll(self, since: str) -> None:
        """Run until cancelled."""
        while True:
            answer = await self.sync(since, 30_000)
            now, since = time.perf_counter(), answer["next_batch"]
            joined = answer.get("rooms", {}).get("join", {}).get(self.room, {})
            for event in joined.get("timeline", {}).get("events", []):
                text = self.text_of(event)
                if text is not None:
                    self.arrived.setdefault(text, now)
                    self.bodies.append(text)
                    self.changed.set()

    async def sync(self, since: str | None, timeout_ms: int) -> Json:
        return await self.user.sync(since, timeout_ms)

    def text_of(self, event: Json) -> str | None:
        """What a message says; None for another event."""
        found: str | None = event["content"]["body"] if event["type"] == "m.room.message" else None
        return found

    async def wait_for(self, text: str) -> float:
        """When the message arrived, by `time.perf_counter`."""
        async with asyncio.timeout(DELIVERY_LIMIT_S):
            while text not in self.arrived:
                self.changed.clear()
                await self.changed.wait()
        return self.arrived[text]


@attrs.frozen
class Account:
    """How a server registers users for us."""

    http: Http
    shared_secret: str
    prefix: str

    async def register(self, number: int, admin: bool = False) -> User:
        """Through the shared-secret API."""
        return await self.register_as(f"{self.prefix}-{number}", admin)

    async def register_as(self, name: str, admin: bool = False) -> User:
        anonymous, path = User(self.http), f"{ADMIN}/v1/register"
        nonce = (await anonymous.call("GET", path))["nonce"]
        signed = "\0".join([nonce, name, PASSWORD, "admin" if admin else "notadmin"])
        mac = hmac.new(self.shared_secret.encode(), signed.encode(), hashlib.sha1).hexdigest()
        body = {"nonce": nonce, "username": name, "password": PASSWORD, "admin": admin, "mac": mac}
        answer = await anonymous.call("POST", path, body)
        return User(self.http, name, answer["user_id"], answer["access_token"])

    async def make(self, number: int, admin: User) -> User:
        """Without a password, which takes most of the time of a registration; the administrator's session of them, without a device."""
        name = f"{self.prefix}-{number}"
        user_id = f"@{name}:{admin.user_id.partition(':')[2]}"
        status, _ = await admin.request("PUT", f"{ADMIN}/v2/users/{quote(user_id)}", {})
        check(status == 201, f"{user_id} is not made: {status}")
        answer = await admin.call("POST", f"{ADMIN}/v1/users/{quote(user_id)}/login", {})
        return User(self.http, name, user_id, answer["access_token"])
