"""What one client can take from all others: time, disk, connections, memory.

    python -m benchmarks.bounds

Each line is an attack on a running server of its own, and what it cost.
"""

import asyncio
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from benchmarks.bench import Bench
from benchmarks.candidate import candidate
from benchmarks.client import CLIENT, User
from benchmarks.http import Http
from benchmarks.postgres import postgres
from benchmarks.server import Server, Site
from benchmarks.sizes import QUICK

LARGE_BYTES = 9_800_000
UPLOADS, UPLOAD_SECONDS = 20, 3
SLOW, SLOW_SECONDS = 300, 30
EVENTS, EVENT_BYTES, READERS = 400, 60_000, 12
MEMBERS, STATE_READERS = 10_000, 6


async def large_body(server: Server) -> str:
    """A body of nothing but brackets, without a token: how long others wait meanwhile."""
    body = b'{"type":' + b"[" + b"[]," * (LARGE_BYTES // 3) + b"[]]}"
    async with aiohttp.ClientSession() as session:
        attack = asyncio.ensure_future(_post(session, f"{server.base_url}/_matrix/client/v3/login", body))
        worst = await _slowest_answer(session, server, attack.done)
        status = await attack
    return f"9.8 MB to /login without a token ({status}): others wait for up to {worst * 1000:,.0f} ms"


async def unknown_path(server: Server) -> str:
    """Chunked bodies without an end to a path that is none: what the server keeps of them."""
    sent = await asyncio.gather(*(_upload(server) for _ in range(UPLOADS - 1)), _largest_kept(server))
    return f"{UPLOADS} endless bodies to an unknown path for {UPLOAD_SECONDS} s: {sent[-1] / 1e6:,.0f} MB in files"


async def slow_headers(server: Server) -> str:
    """Connections whose headers come a byte at a time: how many are held."""
    host, port = server.base_url.removeprefix("http://").split(":")
    streams = [await asyncio.open_connection(host, int(port)) for _ in range(SLOW)]
    deadline = time.monotonic() + SLOW_SECONDS
    for _, writer in streams:
        writer.write(b"GET / HTTP/1.1\r\nX-Slow: ")
    while time.monotonic() < deadline:
        for _, writer in streams:
            if not writer.is_closing():
                writer.write(b"x")
        await asyncio.sleep(1)
    held = sum(not reader.at_eof() and not writer.is_closing() for reader, writer in streams)
    for _, writer in streams:
        writer.close()
    return f"{SLOW} connections with slow headers: {held} are held after {SLOW_SECONDS} s"


async def large_pages(server: Server, user: User) -> str:
    """Pages of the largest events there can be, by many readers at once."""
    path = f"{CLIENT}/rooms/{await user.create_room()}"
    body = {"msgtype": "m.text", "body": "x" * EVENT_BYTES}
    for number in range(EVENTS):
        await user.call("PUT", f"{path}/send/m.room.message/{number}", body)
    before = server.memory_mb()["main"]
    readers = [user.call("GET", f"{path}/messages", dir="b", limit=1000) for _ in range(READERS)]
    most = await _most_memory(server, asyncio.gather(*readers))
    return f"{READERS} pages of {EVENTS} events of 60 kB at once: main from {before:,.0f} to {most:,.0f} MB"


async def large_state(server: Server, user: User) -> str:
    """All members of a large room, for many readers at once: memory, and how long others wait meanwhile."""
    if server.seed is None:
        return "a large room cannot be made"
    room = quote(await asyncio.to_thread(server.seed, MEMBERS + 100, MEMBERS))
    await user.call("POST", f"{CLIENT}/join/{room}", {})
    before = server.memory_mb()["main"]
    reading = asyncio.gather(
        *(user.call("GET", f"{CLIENT}/rooms/{room}/members") for _ in range(STATE_READERS))
    )
    async with aiohttp.ClientSession() as session:
        waiting = asyncio.ensure_future(_slowest_answer(session, server, reading.done))
        most = await _most_memory(server, reading)
        slowest = await waiting
    return (
        f"{STATE_READERS} times {MEMBERS:,} members: main from {before:,.0f} to {most:,.0f} MB,"
        f" others wait for up to {slowest * 1000:,.0f} ms"
    )


async def _most_memory(server: Server, until: "asyncio.Future[Any]") -> float:
    """Of main, in MB, until that is done; what it raised is raised."""
    most = 0.0
    while not until.done():
        most = max(most, server.memory_mb()["main"])
        await asyncio.sleep(0.02)
    until.result()
    return most


async def _post(session: aiohttp.ClientSession, url: str, body: bytes) -> int:
    try:
        async with session.post(url, data=body) as answer:
            return answer.status
    except aiohttp.ClientError:
        return 0


async def _slowest_answer(
    session: aiohttp.ClientSession, server: Server, is_over: Callable[[], bool]
) -> float:
    slowest = 0.0
    while not is_over():
        began = time.monotonic()
        async with session.get(f"{server.base_url}/_matrix/client/versions"):
            slowest = max(slowest, time.monotonic() - began)
        await asyncio.sleep(0.005)
    return slowest


async def _upload(server: Server) -> int:
    host, port = server.base_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    deadline = time.monotonic() + UPLOAD_SECONDS
    chunk = b"%x\r\n" % 65536 + b"x" * 65536 + b"\r\n"
    with suppress(ConnectionError, TimeoutError):
        while time.monotonic() < deadline and not reader.at_eof():
            writer.write(chunk)
            await asyncio.wait_for(writer.drain(), 1)
    writer.close()
    return 0


async def _largest_kept(server: Server) -> int:
    """The bytes of the files without a name that the server has open, at most."""
    most = 0
    deadline = time.monotonic() + UPLOAD_SECONDS
    while time.monotonic() < deadline:
        most = max(most, _kept(server.pid()))
        await asyncio.sleep(0.1)
    return most


def _kept(pid: int) -> int:
    total = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            if "(deleted)" in str(entry.readlink()):
                total += entry.stat().st_size
    return total


async def measure(server: Server) -> None:
    async with Http(server.base_url) as http:
        user = await Bench(server, http, QUICK).register()
        for line in (
            await large_body(server),
            await unknown_path(server),
            await slow_headers(server),
            await large_pages(server, user),
            await large_state(server, user),
        ):
            print(line)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bounds-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        with postgres(directory / "postgres") as running:
            server = candidate(Site.create(directory, "bounds", running))
            server.start()
            try:
                asyncio.run(measure(server))
            finally:
                server.stop()


if __name__ == "__main__":
    main()
