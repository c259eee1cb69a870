"""What a running process does with signals, and tells who runs it."""

import asyncio
import logging
import signal
import socket
import ssl
from pathlib import Path
from typing import Any

import nio
import yaml

from synapse_lite.cli.demo.connection import User
from synapse_lite.workers.service_manager import READY, STOPPING
from tests.ports import free_port
from tests.processes.conftest import BuildSite
from tests.processes.harness import wait_until
from tests.processes.nio_clients import PATIENCE
from tests.processes.site import create_room, say
from tests.workers.certificates import authority, server

HOST = "localhost"
PATIENT_MS = 600_000


def log_config(file: Path, level: str) -> dict[str, Any]:
    handler = {"class": "logging.FileHandler", "filename": str(file)}
    return {"version": 1, "handlers": {"file": handler}, "root": {"level": level, "handlers": ["file"]}}


def test_sighup_reads_the_log_configuration_anew(build_site: BuildSite, tmp_path: Path) -> None:
    """Logs go elsewhere from then on; a file with a mistake changes nothing, and the process goes on in any case.

    What is logged at start says who runs the background tasks; the process id is in a file, whose directory is made.
    """
    description, first, second = (tmp_path / name for name in ("log.yaml", "first.log", "second.log"))
    description.write_text(yaml.safe_dump(log_config(first, "INFO")))
    pid_file = tmp_path / "made" / "main.pid"
    site = build_site("elsewhere", log_config=str(description), pid_file=str(pid_file))
    site.start("main")
    process = site.processes["main"].running
    assert pid_file.read_text().strip() == str(process.pid)
    assert "elsewhere: background tasks (run_background_tasks_on: elsewhere)" in first.read_text()
    description.write_text("handlers: [")
    process.send_signal(signal.SIGHUP)
    wait_until(lambda: "what was in force remains" in first.read_text(), "the mistake is told")
    description.write_text(yaml.safe_dump(log_config(second, "NOLEVEL")))
    process.send_signal(signal.SIGHUP)
    wait_until(lambda: "NOLEVEL" in first.read_text(), "the other mistake is told")
    description.write_text(yaml.safe_dump(log_config(second, logging.getLevelName(logging.INFO))))
    process.send_signal(signal.SIGHUP)
    wait_until(lambda: second.exists() and "SIGHUP" in second.read_text(), "the second file is written")
    site.stop("main")
    assert "main stops" in second.read_text()


def test_a_service_manager_hears_of_start_and_stop(
    build_site: BuildSite, tmp_path: Path, monkeypatch: Any
) -> None:
    """`Type=notify` of systemd."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        site = build_site("main")
        site.start("main")
        assert manager.recv(100) == READY.encode()
        site.stop("main")
        assert manager.recv(100) == STOPPING.encode()


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
    files = {"tls_certificate_path": str(certificate), "tls_private_key_path": str(key)}
    site = build_site("main", listeners=[{**listener, "bind_addresses": ["127.0.0.1"]}], **files)
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
