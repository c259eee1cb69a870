"""A policy server of the test, on the loopback address: it recommends everything in which nobody says "spam"."""

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

from attrs import define, field

from synapse_lite.canonical_json import JsonObject, encode_exact
from synapse_lite.matrix.event import Draft, build_event, essence
from synapse_lite.matrix.policy import KEY_ID
from synapse_lite.matrix.room_versions import ROOM_VERSIONS, RoomVersion
from synapse_lite.matrix.server_auth import parse_authorization, sign_request
from synapse_lite.matrix.server_keys import write_key_answer
from synapse_lite.matrix.signing import SigningKey, encode_base64, generate_signing_key
from tests.ports import free_port
from tests.processes.neighbours import HOST, Neighbours

FEDERATION = "/_matrix/federation"
_DAY_MS = 86_400_000
_SECONDS = 60.0


@define
class PolicyServer:
    """`asked` says who asked about what, in order: names of servers, with texts."""

    neighbours: Neighbours
    version: RoomVersion
    port: int = field(factory=free_port)
    key: SigningKey = field(init=False)
    policy_key: SigningKey = field(init=False)
    asked: list[tuple[str, Any]] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.key = generate_signing_key(f"{HOST}:{self.port}")
        self.policy_key = generate_signing_key("policy")

    @property
    def name(self) -> str:
        return self.key.server_name

    @property
    def content(self) -> JsonObject:
        """Of `m.room.policy`."""
        public_key = encode_base64(bytes(self.policy_key.verify_key))
        return {"via": self.name, "public_keys": {"ed25519": public_key}}

    def join(self, server: str, room_id: str) -> None:
        """A user of this server comes into a room of the other one."""
        user, room = f"@policy:{self.name}", quote(room_id)
        path = f"{FEDERATION}/v1/make_join/{room}/{quote(user)}?ver={self.version.identifier}"
        made = self._ask(server, "GET", path)["event"]
        draft = Draft("m.room.member", user, made["content"], made["origin_server_ts"], user)
        previous, auth_events, depth = (made[name] for name in ("prev_events", "auth_events", "depth"))
        event = build_event(draft, self.version, room_id, previous, auth_events, depth, self.key)
        self._ask(server, "PUT", f"{FEDERATION}/v2/send_join/{room}/{quote(event.event_id)}", event.pdu)

    def answer(self, path: str, origin: str, body: Any) -> tuple[int, JsonObject]:
        if path == "/_matrix/key/v2/server":
            return 200, write_key_answer(self.key, [], int(time.time() * 1000) + _DAY_MS)
        if path.startswith(f"{FEDERATION}/v1/send/"):
            return 200, {"pdus": {}}
        if path != "/_matrix/policy/v1/sign":
            return 404, {"errcode": "M_UNRECOGNIZED", "error": "unknown"}
        text = body["content"].get("body")
        self.asked.append((origin, text))
        if text == "spam":
            return 400, {"errcode": "M_FORBIDDEN", "error": "spam"}
        return 200, {self.name: {KEY_ID: self.policy_key.sign_bytes(essence(body, self.version))}}

    def _ask(self, server: str, method: str, path: str, body: JsonObject | None = None) -> Any:
        data = None if body is None else encode_exact(body)
        headers = {"Authorization": sign_request(self.key, method, path, server, data)}
        request = Request(f"https://{server}{path}", data, headers, method=method)
        trusting = ssl.create_default_context(cafile=self.neighbours.directory / "authority.pem")
        with urlopen(request, timeout=_SECONDS, context=trusting) as answer:
            return json.load(answer)


@contextmanager
def policy_server(neighbours: Neighbours, version: str) -> Iterator[PolicyServer]:
    """One that runs."""
    policy = PolicyServer(neighbours, ROOM_VERSIONS[version])
    server = ThreadingHTTPServer(("127.0.0.1", policy.port), _handler(policy))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(neighbours.directory / "certificate.pem", neighbours.directory / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield policy
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(policy: PolicyServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            header = self.headers.get("Authorization")
            origin = parse_authorization(header).origin if header else ""
            status, content = policy.answer(self.path.partition("?")[0], origin, body)
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
