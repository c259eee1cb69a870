"""A server of the test, on the loopback address, which asks others with signed requests."""

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

import requests
from attrs import define, field

from synapse_lite.canonical_json import JsonObject, encode_exact
from synapse_lite.matrix.event import Draft, Event, build_event
from synapse_lite.matrix.room_versions import RoomVersion
from synapse_lite.matrix.server_auth import parse_authorization, sign_request
from synapse_lite.matrix.server_keys import write_key_answer
from synapse_lite.matrix.signing import SigningKey, generate_signing_key
from tests.ports import free_port
from tests.processes.neighbours import HOST, Neighbours

FEDERATION = "/_matrix/federation"
_DAY_MS = 86_400_000
_SECONDS = 60.0


@define
class Peer:
    """It publishes its key, and takes whatever it is sent."""

    neighbours: Neighbours
    version: RoomVersion
    port: int = field(factory=free_port)
    key: SigningKey = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.key = generate_signing_key(f"{HOST}:{self.port}")

    @property
    def name(self) -> str:
        return self.key.server_name

    def join(self, server: str, room_id: str, user: str) -> Event:
        """A user of this server comes into a room of the other one: the event."""
        room = quote(room_id)
        path = f"{FEDERATION}/v1/make_join/{room}/{quote(user)}?ver={self.version.identifier}"
        made = self.ask(server, "GET", path).json()["event"]
        draft = Draft("m.room.member", user, made["content"], made["origin_server_ts"], user)
        previous, auth_events, depth = (made[name] for name in ("prev_events", "auth_events", "depth"))
        event = build_event(draft, self.version, room_id, previous, auth_events, depth, self.key)
        path = f"{FEDERATION}/v2/send_join/{room}/{quote(event.event_id)}"
        self.ask(server, "PUT", path, event.pdu).raise_for_status()
        return event

    def ask(self, server: str, method: str, path: str, body: JsonObject | None = None) -> requests.Response:
        data = None if body is None else encode_exact(body)
        return self.send(server, method, path, data, sign_request(self.key, method, path, server, data))

    def send(
        self, server: str, method: str, path: str, data: bytes | None, authorization: str | None
    ) -> requests.Response:
        """What is answered, whatever it is."""
        return requests.request(
            method,
            f"https://{server}{path}",
            data=data,
            headers={} if authorization is None else {"Authorization": authorization},
            timeout=_SECONDS,
            verify=str(self.neighbours.directory / "authority.pem"),
        )

    def answer(self, path: str, _origin: str, _body: Any) -> tuple[int, JsonObject]:
        if path == "/_matrix/key/v2/server":
            return 200, write_key_answer(self.key, [], int(time.time() * 1000) + _DAY_MS)
        if path.startswith(f"{FEDERATION}/v1/send/"):
            return 200, {"pdus": {}}
        return 404, {"errcode": "M_UNRECOGNIZED", "error": "unknown"}


@contextmanager
def running(peer: Peer) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", peer.port), _handler(peer))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(
        peer.neighbours.directory / "certificate.pem", peer.neighbours.directory / "key.pem"
    )
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(peer: Peer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            header = self.headers.get("Authorization")
            origin = parse_authorization(header).origin if header else ""
            status, content = peer.answer(self.path.partition("?")[0], origin, body)
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = answer  # noqa: N815 (as http.server wants it)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    return Handler
