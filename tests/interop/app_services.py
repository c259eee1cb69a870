"""Application services of the test, on the loopback address: they answer what the test says, and keep what they were asked."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml
from attrs import define, field, frozen

from tests.interop.alike import Caller
from tests.interop.conftest import OPTIONS, configured
from tests.interop.synapse import Synapse
from tests.ports import free_port
from tests.processes.harness import Server, wait_until

TYPE = "m.login.application_service"
_TRANSACTIONS = "/_matrix/app/v1/transactions/"

Json = dict[str, Any]


@frozen
class Asked:
    """`path` is decoded; `body` None: there was none. `headers` have lower-case names."""

    method: str
    path: str
    query: str
    headers: Json
    body: Any

    @property
    def txn_id(self) -> str | None:
        return self.path.removeprefix(_TRANSACTIONS) if self.path.startswith(_TRANSACTIONS) else None


def accept(_asked: Asked) -> tuple[int, Any]:
    return 200, {}


@define(eq=False)
class Service:
    """One that a homeserver knows by the file that `write` makes. `answer` decides what it says to each request."""

    id: str
    answer: Callable[[Asked], tuple[int, Any]] = accept
    asked: list[Asked] = field(factory=list)
    port: int = field(factory=free_port)

    @property
    def token(self) -> str:
        return f"as_{self.id}"

    def write(self, directory: Path, **registration: Any) -> Path:
        """Its file, which says at least where it is and who speaks."""
        whole = {
            "id": self.id,
            "url": f"http://127.0.0.1:{self.port}",
            "as_token": self.token,
            "hs_token": f"hs_{self.id}",
            "sender_localpart": f"{self.id}bot",
            "rate_limited": False,
            **registration,
        }
        path = directory / f"{self.id}.yaml"
        path.write_text(yaml.safe_dump(whole))
        return path

    @property
    def transactions(self) -> list[Asked]:
        """Each once, even if it came again."""
        return list({one.txn_id: one for one in self.asked if one.txn_id is not None}.values())

    def events(self, room_id: str) -> list[Json]:
        return [
            event for one in self.transactions for event in one.body["events"] if event["room_id"] == room_id
        ]

    def beside(self, kind: str) -> list[Json]:
        """Of `ephemeral`."""
        return [
            event
            for one in self.transactions
            for event in one.body.get("ephemeral", ())
            if event["type"] == kind
        ]

    def wait_for(self, event_id: str) -> None:
        def has_come() -> bool:
            return any(
                event["event_id"] == event_id for one in self.transactions for event in one.body["events"]
            )

        wait_until(has_come, f"{event_id} at {self.id}", 60)


@contextmanager
def running(*services: Service) -> Iterator[None]:
    """They answer."""
    with ExitStack() as stack:
        for service in services:
            server = ThreadingHTTPServer(("127.0.0.1", service.port), partial(_Handler, service))
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
        yield


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, service: Service, *arguments: Any) -> None:
        self._service = service
        super().__init__(*arguments)

    def do_GET(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        asked = Asked(
            self.command,
            unquote(parts.path),
            parts.query,
            {name.lower(): value for name, value in self.headers.items()},
            json.loads(data) if data else None,
        )
        status, body = self._service.answer(asked)
        self._service.asked.append(asked)
        answer = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_PUT = do_POST = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


def namespace(*patterns: str, exclusive: bool = True) -> list[Json]:
    return [{"regex": pattern, "exclusive": exclusive} for pattern in patterns]


REGISTRATIONS: dict[str, Json] = {
    "irc": {
        "namespaces": {
            "users": namespace("@_irc_.*", "@kept_.*"),
            "aliases": namespace("#_irc_.*"),
            "rooms": [],
        },
        "protocols": ["irc"],
        "receive_ephemeral": True,
        "de.sorunome.msc2409.push_ephemeral": True,
    },
    "secret": {
        "namespaces": {"users": namespace("@_secret_.*"), "aliases": [], "rooms": []},
        "receive_ephemeral": True,
        "de.sorunome.msc2409.push_ephemeral": True,
        "org.matrix.msc3202": True,
    },
    "plain": {
        "namespaces": {
            "users": namespace("@shared_.*", exclusive=False),
            "aliases": namespace("#shared_.*", exclusive=False),
            "rooms": [],
        },
    },
    "silent": {"url": None, "namespaces": {"users": namespace("@_silent_.*")}},
}
"""Of the services of both servers, by their ids."""
_FEATURES = {"msc2409_to_device_messages_enabled": True, "msc3202_transaction_extensions": True}


@frozen
class Sides:
    """Both servers, and what runs for each of them."""

    synapse: Synapse
    server: Server
    services: dict[int, dict[str, Service]]

    def of(self, caller: Caller) -> dict[str, Service]:
        return self.services[id(caller.server)]


@contextmanager
def both_sides(directory: Path) -> Iterator[Sides]:
    """Servers that know the same services, each in places of their own."""
    with ExitStack() as stack:
        made: list[tuple[dict[str, Service], Json]] = []
        for side in ("synapse", "ours"):
            place = directory / side
            place.mkdir()
            services = {name: Service(name) for name in REGISTRATIONS}
            stack.enter_context(running(*services.values()))
            files = [
                str(one.write(place, **registration))
                for one, registration in zip(services.values(), REGISTRATIONS.values(), strict=True)
            ]
            options = {"app_service_config_files": files, "experimental_features": _FEATURES}
            made.append((services, {**OPTIONS, **options}))
        (theirs, their_options), (own, our_options) = made
        synapse = stack.enter_context(
            Synapse(directory / "synapse", server_name="synapse.test", options=their_options)
        )
        configured(directory / "ours", our_options)
        server = stack.enter_context(Server(directory / "ours"))
        yield Sides(synapse, server, {id(synapse): theirs, id(server): own})


def ghosts(caller: Caller, *names: str, service: str = "irc", prefix: str = "_irc_") -> None:
    """New users of the service, without a device."""
    for name in names:
        body = {"type": TYPE, "username": caller.unique(f"{prefix}{name}"), "inhibit_login": True}
        answer = caller.ask("POST", "register", body, f"as_{service}")
        assert answer.status == 200, answer
        caller.names[name] = answer["user_id"]
        caller.server_name = answer["user_id"].partition(":")[2]


def in_order(events: Sequence[Json]) -> list[Json]:
    """With the names of what each has, and what is on its top level besides, so that all of it is compared."""
    return [
        {
            "event": event,
            "keys": sorted(event),
            "keys of unsigned": sorted(event["unsigned"]),
            "on top": {
                key: event.get(key) for key in ("user_id", "prev_content", "replaces_state", "redacts")
            },
        }
        for event in events
    ]
