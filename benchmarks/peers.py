"""Other homeservers, as scripts: many names at one process, which join rooms and take transactions."""

import asyncio
import secrets
import ssl
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Self
from urllib.parse import quote

import aiohttp
import attrs
import orjson
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from yarl import URL

from benchmarks.client import Json, check
from benchmarks.peer_rooms import PeerRoom, RoomAnswers
from benchmarks.processes import free_port
from synapse_lite.canonical_json import encode_exact
from synapse_lite.matrix.event import Draft, Event, build_event
from synapse_lite.matrix.room_versions import ROOM_VERSIONS
from synapse_lite.matrix.server_auth import sign_request
from synapse_lite.matrix.server_keys import write_key_answer
from synapse_lite.matrix.signing import SigningKey, generate_signing_key

HOST = "127.0.0.1"
VERSIONS = "".join(f"&ver={version}" for version in ROOM_VERSIONS)
DAY_MS = 86_400_000


@attrs.frozen
class Signed:
    """A request of one server to another."""

    method: str
    path: str
    body: bytes | None
    authorization: str

    async def ask(self, http: aiohttp.ClientSession) -> Json:
        """Its answer, which must be 200."""
        headers = {"Authorization": self.authorization, "Content-Type": "application/json"}
        url = _as_it_is(self.path)
        async with http.request(self.method, url, data=self.body, headers=headers) as answer:
            content: Json = orjson.loads(await answer.read())
            check(answer.status == 200, f"{self.method} {self.path}: {answer.status} {content}")
            return content

    async def results(self, http: aiohttp.ClientSession) -> Json:
        """Of a transaction: what the server says of each event."""
        results: Json = (await self.ask(http))["pdus"]
        return results


@attrs.define
class Peer:
    """One server: `arrived` are the events that it was sent, by id of their transaction ids, with the time."""

    key: SigningKey
    arrived: dict[str, float] = attrs.field(factory=dict)

    @property
    def name(self) -> str:
        return self.key.server_name

    @property
    def user(self) -> str:
        return f"@peer:{self.name}"

    async def join(self, http: aiohttp.ClientSession, server: str, room_id: str) -> PeerRoom:
        """The user of this server joins a room of the server that `http` leads to."""
        user, room = self.user, quote(room_id)
        path = f"/_matrix/federation/v1/make_join/{room}/{quote(user)}?{VERSIONS[1:]}"
        made = await self._ask(http, server, "GET", path)
        version, template = ROOM_VERSIONS[made["room_version"]], made["event"]
        draft = Draft("m.room.member", user, template["content"], template["origin_server_ts"], user)
        event = build_event(
            draft,
            version,
            room_id,
            template["prev_events"],
            template["auth_events"],
            template["depth"],
            self.key,
        )
        path = f"/_matrix/federation/v2/send_join/{room}/{quote(event.event_id)}"
        answer = await self._ask(http, server, "PUT", path, event.pdu)
        state = [Event.from_pdu(pdu, version) for pdu in answer["state"]]
        joined = PeerRoom(room_id, version, self.key, {one.key: one for one in state})
        joined.befores[event.event_id] = dict(joined.state)
        joined.add(event)
        return joined

    async def send(self, http: aiohttp.ClientSession, server: str, events: Sequence[Event]) -> None:
        """A transaction, every event of which the server takes."""
        results = await self.put(http, server, [event.pdu for event in events])
        failures = [result for result in results.values() if result]
        check(not failures and len(results) == len(events), f"{failures[:1]} of {len(results)} results")

    async def put(self, http: aiohttp.ClientSession, server: str, pdus: Sequence[Json]) -> Json:
        """What the server says of each event of a transaction."""
        return await self.transaction(server, pdus).results(http)

    def transaction(self, server: str, pdus: Sequence[Json]) -> "Signed":
        """To be sent when it is time: written and signed already."""
        body = {"origin": self.name, "origin_server_ts": int(time.time() * 1000), "pdus": list(pdus)}
        return self._sign(server, "PUT", f"/_matrix/federation/v1/send/{secrets.token_hex(8)}", body)

    async def _ask(
        self, http: aiohttp.ClientSession, server: str, method: str, path: str, body: Json | None = None
    ) -> Json:
        return await self._sign(server, method, path, body).ask(http)

    def _sign(self, server: str, method: str, path: str, body: Json | None) -> "Signed":
        written = None if body is None else encode_exact(body)
        return Signed(method, path, written, sign_request(self.key, method, path, server, written))

    def take(self, body: Json) -> None:
        now = time.perf_counter()
        for pdu in body["pdus"]:
            text = pdu["content"].get("body")
            if text is not None:
                self.arrived.setdefault(text, now)


class Peers:
    """`count` servers, each at a port of its own, over TLS with a certificate that nobody knows.

    All of them answer for all of `rooms`.
    """

    def __init__(self, count: int, directory: Path) -> None:
        self.all = {port: Peer(generate_signing_key(f"{HOST}:{port}")) for port in _ports(count)}
        self.changed = asyncio.Event()
        self.rooms: dict[str, PeerRoom] = {}
        self._tls = _tls(directory)
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_get("/_matrix/key/v2/server", self._keys)
        app.router.add_put("/_matrix/federation/v1/send/{txn_id}", self._send)
        RoomAnswers(self.rooms).add_to(app)
        self._runner = web.AppRunner(app, access_log=None)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        for port in self.all:
            await web.TCPSite(self._runner, HOST, port, ssl_context=self._tls).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def wait_for(self, texts: set[str], seconds: float) -> float:
        """When the last of the peers had the last of the texts, by `time.perf_counter`."""
        async with asyncio.timeout(seconds):
            while any(texts - peer.arrived.keys() for peer in self.all.values()):
                self.changed.clear()
                await self.changed.wait()
        return max(peer.arrived[text] for peer in self.all.values() for text in texts)

    def _peer(self, request: web.Request) -> Peer:
        assert request.transport is not None
        return self.all[request.transport.get_extra_info("sockname")[1]]

    async def _keys(self, request: web.Request) -> web.Response:
        until = int(time.time() * 1000) + DAY_MS
        return web.json_response(write_key_answer(self._peer(request).key, [], until))

    async def _send(self, request: web.Request) -> web.Response:
        self._peer(request).take(orjson.loads(await request.read()))
        self.changed.set()
        return web.json_response({"pdus": {}})


def _ports(count: int) -> list[int]:
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port())
    return sorted(ports)


def _as_it_is(path: str) -> URL:
    """What is signed is sent, byte by byte."""
    return URL(path, encoded=True)


def _tls(directory: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = directory / "peers.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context
