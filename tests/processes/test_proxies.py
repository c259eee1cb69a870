"""Whatever the processes ask of others goes by the operator's proxy, but for what is to be asked directly."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import nio
import pytest

from synapse_lite.cli.demo.connection import User
from tests.processes.conftest import BuildSite, sites
from tests.processes.harness import wait_until
from tests.processes.neighbours import HOST, Neighbours
from tests.processes.nio_clients import ask, clients_of
from tests.processes.site import Site, create_room, say
from tests.processes.test_push import Gateway, gateway

__all__ = ["gateway"]

PAGE, PUSHES = "page.test", "gateway.test"
HTML = b"<html><head><title>Behind the proxy</title></head><body>words</body></html>"
CHUNK = 65536


class Proxy(ThreadingHTTPServer):
    """It alone knows where the names lead; `asked` are the hosts, with the method."""

    def __init__(self, gateway_port: int) -> None:
        self.asked: list[tuple[str, str]] = []
        self.gateway_port = gateway_port
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Proxy

    def do_CONNECT(self) -> None:
        self.server.asked.append(("CONNECT", self.path))
        with socket.create_connection((HOST, int(self.path.rpartition(":")[2]))) as far:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=_copy, args=(far, self.connection), daemon=True)
            back.start()
            _copy(self.connection, far)
            back.join()

    def do_GET(self) -> None:
        self._note()
        self._answer(200, HTML, "text/html")

    def do_POST(self) -> None:
        self._note()
        body = self.rfile.read(int(self.headers["content-length"]))
        onward = HTTPConnection("127.0.0.1", self.server.gateway_port)
        onward.request("POST", urlsplit(self.path).path, body, {"Content-Type": "application/json"})
        answer = onward.getresponse()
        self._answer(answer.status, answer.read(), "application/json")
        onward.close()

    def _note(self) -> None:
        self.server.asked.append((self.command, urlsplit(self.path).hostname or ""))

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def _copy(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(CHUNK):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)


@pytest.fixture
def proxy(gateway: Gateway) -> Iterator[Proxy]:
    with Proxy(gateway.server_address[1]) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_all_goes_by_the_proxy(
    postgres: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
    gateway: Gateway,
    proxy: Proxy,
) -> None:
    """A room of another server, pushes and a preview, also when the process is killed that began with it."""
    with sites(postgres, tmp_path_factory) as build_site:
        ours, theirs, their_name = _servers(build_site, tmp_path, proxy)
        alice, bob = ours.user("alice"), theirs.user("bob")
        asyncio.run(_talk(ours, alice, bob, their_name, gateway))
    assert ("CONNECT", their_name) in proxy.asked
    assert {("GET", PAGE), ("POST", PUSHES)} < set(proxy.asked)
    assert not [host for _, host in proxy.asked if host == "127.0.0.1"]


def _servers(build_site: BuildSite, directory: Path, proxy: Proxy) -> tuple[Site, Site, str]:
    """Ours, which has two processes, another one, and its name."""
    neighbours = Neighbours.in_directory(directory)
    ours, _ = neighbours.site(
        build_site,
        "main",
        "second",
        http_proxy=proxy.url,
        https_proxy=proxy.url,
        no_proxy_hosts=["127.0.0.1"],
        ip_range_whitelist=["127.0.0.1"],
        url_preview_enabled=True,
        url_preview_ip_range_blacklist=["10.0.0.0/8"],
    )
    theirs, their_name = neighbours.site(build_site, "main")
    ours.start("main", "second")
    theirs.start("main")
    return ours, theirs, their_name


async def _talk(ours: Site, alice: User, bob: User, their_name: str, gateway: Gateway) -> None:
    room_id = create_room(bob)
    direct = f"http://127.0.0.1:{gateway.server_address[1]}/_matrix/push/v1/notify"
    urls = {"named": f"http://{PUSHES}/_matrix/push/v1/notify", "direct": direct}
    async with (
        clients_of(ours.url("second"), alice) as (there,),
        clients_of(ours.url("main"), alice) as (here,),
    ):
        path = f"/_matrix/client/v3/join/{quote(room_id)}?server_name={quote(their_name)}"
        assert await ask(there, "POST", path, {}) == {"room_id": room_id}
        for name, url in urls.items():
            assert await ask(there, "POST", "/_matrix/client/v3/pushers/set", _pusher(name, url)) == {}
        ours.processes["second"].kill()
        ours.expire("second")
        with bob.connect() as connection:
            said = say(connection, room_id, "1", "hello")
            pushed = [await asyncio.to_thread(gateway.next) for _ in urls]
            assert [one["event_id"] for one in pushed] == [said] * 2
            assert {one["devices"][0]["pushkey"] for one in pushed} == urls.keys()
            sent = await here.room_send(room_id, "m.room.message", {"msgtype": "m.text", "body": "hi"})
            assert isinstance(sent, nio.RoomSendResponse), sent
            event = f"/_matrix/client/v3/rooms/{quote(room_id)}/messages?dir=b&limit=5"
            await asyncio.to_thread(
                wait_until,
                lambda: sent.event_id in str(connection.call("GET", event)),
                "the answer at the other server",
            )
        preview = f"/_matrix/client/v1/media/preview_url?url={quote(f'http://{PAGE}/')}"
        assert (await ask(here, "GET", preview))["og:title"] == "Behind the proxy"


def _pusher(name: str, url: str) -> dict[str, Any]:
    return {
        "app_id": "app", "pushkey": name, "kind": "http", "app_display_name": "App",
        "device_display_name": "Phone", "lang": "en", "data": {"url": url}, "append": True,
    }  # fmt: skip
