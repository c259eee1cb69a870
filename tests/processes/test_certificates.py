"""A certificate that is renewed while clients are connected."""

import asyncio
import signal
import ssl
from pathlib import Path
from typing import Any

import nio

from synapse_lite.cli.demo.connection import User
from tests.ports import free_port
from tests.processes.conftest import BuildSite
from tests.processes.harness import wait_until
from tests.processes.nio_clients import PATIENCE
from tests.processes.site import create_room, say
from tests.workers.certificates import authority, server

HOST = "localhost"
PATIENT_MS = 600_000


def test_sighup_renews_the_certificate(build_site: BuildSite, tmp_path: Path) -> None:
    """Who has a poll open goes on with it, through the other process's death too; who comes from then on sees the new one."""
    port = free_port()
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    old, new = (authority(name) for name in ("old", "new"))

    def write(issuer: Any) -> str:
        own = server(HOST, issuer)
        own.write_key(key)
        certificate.write_text(own.pem)
        return own.pem

    write(old)
    listener = {"port": port, "type": "http", "tls": True, "resources": [{"names": ["client"]}]}
    options: dict[str, Any] = {"tls_certificate_path": str(certificate), "tls_private_key_path": str(key)}
    options["presence"] = {"enabled": False}  # it would end the poll, too
    site = build_site("main", listeners=[{**listener, "bind_addresses": ["127.0.0.1"]}], **options)
    site.start("main", "second")
    alice, bob = site.user("alice"), site.user("bob")
    room_id = create_room(alice, bob)

    def renew() -> None:
        fresh = write(new)
        for name in ("main", "second"):
            site.signal(name, signal.SIGHUP)
        wait_until(lambda: _served_at(port) == fresh, "the new certificate")
        site.processes["second"].kill()
        with alice.connect() as connection:
            say(connection, room_id, "1", "hello")

    trusting = [ssl.create_default_context(cadata=one.pem) for one in (old, new)]
    asyncio.run(_poll(f"https://{HOST}:{port}", bob, trusting, renew))
    site.start("second")


def _served_at(port: int) -> str:
    return ssl.get_server_certificate((HOST, port))


async def _poll(url: str, user: User, trusting: list[ssl.SSLContext], renew: Any) -> None:
    old, new = (nio.AsyncClient(url, "", config=PATIENCE, ssl=context) for context in trusting)
    try:
        for client in (old, new):
            client.restore_login(user.user_id, "DEVICE", user.access_token)
        assert isinstance(await old.sync(timeout=0), nio.SyncResponse)
        waiting = asyncio.ensure_future(old.sync(timeout=PATIENT_MS))
        await asyncio.sleep(0)
        await asyncio.to_thread(renew)
        answer = await waiting
        assert isinstance(answer, nio.SyncResponse), answer
        (room,) = answer.rooms.join.values()
        assert [event.body for event in room.timeline.events] == ["hello"]
        assert isinstance(await new.sync(timeout=0), nio.SyncResponse)
    finally:
        await old.close()
        await new.close()
