"""Push notifications and counts by the processes of production, and clients of others' making."""

import asyncio
import json
import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import nio
import pytest

from synapse_lite.cli.demo.connection import User
from tests.processes.conftest import BuildSite
from tests.processes.harness import wait_until
from tests.processes.site import Site, create_room, say

DEADLINE = 300.0  # seconds
CLIENT = "/_matrix/client/v3"


class Gateway(ThreadingHTTPServer):
    """Accepts everything; `told` is what it hears."""

    def __init__(self) -> None:
        self.told: queue.Queue[dict[str, Any]] = queue.Queue()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/_matrix/push/v1/notify"

    def next(self) -> dict[str, Any]:
        return self.told.get(timeout=DEADLINE)


class _Handler(BaseHTTPRequestHandler):
    server: Gateway

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.told.put(json.loads(body)["notification"])
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"rejected": []}')

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with Gateway() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def site(build_site: BuildSite) -> Site:
    site = build_site("main", ip_range_whitelist=["127.0.0.1"])
    site.start("main", "second")
    return site


def _set_pusher(user: User, url: str) -> None:
    body = {
        "app_id": "app", "pushkey": user.user_id, "kind": "http", "app_display_name": "App",
        "device_display_name": "Phone", "lang": "en", "data": {"url": url},
    }  # fmt: skip
    with user.connect() as connection:
        connection.call("POST", f"{CLIENT}/pushers/set", body)


def test_pushes_through_the_processes(site: Site, gateway: Gateway) -> None:
    """What one process writes the other one pushes; a receipt on the first takes the badge back."""
    alice, bob = site.user("alice", through="second"), site.user("bob")
    room_id = create_room(bob, alice)
    _set_pusher(alice, gateway.url)
    with bob.connect() as connection:
        event_id = say(connection, room_id, "1")
    told = gateway.next()
    assert (told["event_id"], told["counts"]) == (event_id, {"unread": 1})
    with alice.connect() as connection:
        connection.call("POST", f"{CLIENT}/rooms/{room_id}/receipt/m.read/{event_id}", {})
    assert gateway.next()["counts"] == {"unread": 0}


def test_pushes_outlive_the_process(site: Site, gateway: Gateway) -> None:
    """What is written while nobody pushes is pushed by whoever comes next."""
    carol, dave = site.user("carol", through="second"), site.user("dave", through="second")
    room_id = create_room(dave, carol)
    _set_pusher(carol, gateway.url)
    site.processes["main"].kill()
    with dave.connect() as connection:
        event_id = say(connection, room_id, "1")
    site.expire("main")
    site.start("main")
    assert gateway.next()["event_id"] == event_id


def test_only_who_is_named_pushes(build_site: BuildSite, gateway: Gateway) -> None:
    """`pusher_instances`: while that process is dead the other one only queues; what it queued is pushed by the next of that name."""
    site = build_site("main", ip_range_whitelist=["127.0.0.1"], pusher_instances=["second"])
    site.start("main", "second")
    alice, bob = site.user("alice"), site.user("bob")
    room_id = create_room(bob, alice)
    _set_pusher(alice, gateway.url)
    site.processes["second"].kill()
    queued, said = "SELECT count(*) FROM push_queue", list[str]()
    with bob.connect() as connection:
        for number in range(5):  # whoever pushes claims each as soon as it is queued
            said.append(say(connection, room_id, str(number)))
            wait_until(lambda: site.value(queued) == len(said) or not gateway.told.empty(), "the queue")
            assert gateway.told.empty()
    site.start("second")
    assert [gateway.next()["event_id"] for _ in said] == said
    wait_until(lambda: site.value(queued) == 0, "that they are written down as pushed")


def test_counts_of_matrix_nio(site: Site) -> None:
    """matrix-nio shows the count that the other process wrote, and none after its own receipt."""
    erin, frank = site.user("erin", through="second"), site.user("frank")
    room_id = create_room(frank, erin)

    async def follow() -> None:
        client = nio.AsyncClient(site.url("second"), erin.user_id)
        client.access_token, client.user_id = erin.access_token, erin.user_id
        try:
            await client.sync(full_state=True)
            with frank.connect() as connection:
                sent = [say(connection, room_id, str(number)) for number in range(3)]
            async with asyncio.timeout(DEADLINE):
                while client.rooms[room_id].unread_notifications != len(sent):
                    await client.sync(timeout=1000)
            await client.room_read_markers(room_id, sent[-1], sent[-1])
            async with asyncio.timeout(DEADLINE):
                while client.rooms[room_id].unread_notifications:
                    await client.sync(timeout=1000)
        finally:
            await client.close()

    asyncio.run(follow())
