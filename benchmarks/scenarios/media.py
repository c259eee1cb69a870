"""Uploads, downloads and thumbnails, and what they cost those who only send messages."""

import asyncio
import http.client
import io
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from threading import Event, Thread
from urllib.parse import urlsplit

from PIL import Image

from benchmarks.bench import Bench, send_many
from benchmarks.client import Metrics, User, check, latency
from benchmarks.processes import busy_process

MEBIBYTE = 1024 * 1024
CLIENTS = 64
LOADERS = 2
THUMBNAIL = "width=96&height=96&method=crop"
SAMPLE_S = 0.02
DOWNLOAD = "/_matrix/client/v1/media/download"


async def media(bench: Bench) -> Metrics:
    """Files of 1 MiB one after the other and to 64 clients at once; one of 100 MiB; first thumbnails, eight at a time."""
    (user,) = await bench.users(1)
    sizes = bench.sizes
    files = [secrets.token_bytes(MEBIBYTE) for _ in range(sizes.media_files)]
    with peak_memory(bench) as peak:
        started = time.perf_counter()
        small = [await upload(user, data) for data in files]
        uploads = sizes.media_files / (time.perf_counter() - started)
        started = time.perf_counter()
        for path, data in zip(small, files, strict=True):
            await download_small(user, path, data)
        downloads = sizes.media_files / (time.perf_counter() - started)
        before = bench.server.cpu_seconds()
        crowd = await crowd_downloads(bench, user, small[0])
        crowd_cpu = bench.server.cpu_seconds() - before
        data = secrets.token_bytes(sizes.media_large_mib * MEBIBYTE)
        started = time.perf_counter()
        large = await upload(user, data)
        large_upload = time.perf_counter() - started
        started = time.perf_counter()
        await download(user, large, data)
        large_download = time.perf_counter() - started
    thumbnails = await thumbnail_rate(bench, user)
    return {
        "uploads_per_s": uploads,
        "downloads_per_s": downloads,
        "crowd_downloads_per_s": crowd,
        "download_cpu_ms": 1000 * crowd_cpu / (sizes.media_crowd // LOADERS * LOADERS),
        "large_upload_s": large_upload,
        "large_download_s": large_download,
        "thumbnails_per_s": thumbnails,
        "peak_mb": peak(),
    }


async def send_beside_media(bench: Bench) -> Metrics:
    """One user sends while 64 clients, of two processes, download files of 1 MiB; compared with the same without them.

    And beside two processes that only compute: that much the machine itself takes.
    """
    sender, loader = await bench.users(2)
    room = await sender.create_room()
    path = await upload(loader, secrets.token_bytes(MEBIBYTE))
    _, idle = await send_many(sender, room, bench.sizes.beside_sends)
    with busy_process(), busy_process():
        _, computing = await send_many(sender, room, bench.sizes.beside_sends)
    stop = asyncio.Event()
    loads = asyncio.create_task(keep_loading(bench, loader, path, stop))
    await asyncio.sleep(0.5)
    _, busy = await send_many(sender, room, bench.sizes.beside_sends)
    stop.set()
    transfers = await loads
    check(transfers > 0, "nothing was loaded meanwhile")
    calm, crowded = latency(idle), latency(busy)
    return {
        "p50_rise": crowded["p50_ms"] / calm["p50_ms"],
        "p99_rise": crowded["p99_ms"] / calm["p99_ms"],
        "busy_p50_rise": latency(computing)["p50_ms"] / calm["p50_ms"],
        "busy_p99_rise": latency(computing)["p99_ms"] / calm["p99_ms"],
        **crowded,
    }


async def upload(user: User, data: bytes, content_type: str = "application/octet-stream") -> str:
    """`<server name>/<media id>`"""
    headers = {**user.headers, "Content-Type": content_type}
    async with user.http.session.post(
        "/_matrix/media/v3/upload", data=io.BytesIO(data), headers=headers
    ) as answer:
        check(answer.status == 200, f"upload: {answer.status}")
        uri: str = (await answer.json())["content_uri"]
        return uri.removeprefix("mxc://")


async def download_small(user: User, media_path: str, data: bytes) -> None:
    """Checks that exactly `data` comes: by comparison, as a hash would take longer than the servers do."""
    status, received = await user.http.request("GET", f"{DOWNLOAD}/{media_path}", user.headers, None)
    check((status, received) == (200, data), "a file came back changed")


async def download(user: User, media_path: str, data: bytes) -> None:
    """As `download_small`, piece by piece."""
    url = f"{DOWNLOAD}/{media_path}"
    received = 0
    async with user.http.session.get(url, headers=user.headers) as answer:
        check(answer.status == 200, f"download: {answer.status}")
        async for chunk in answer.content.iter_any():
            check(chunk == data[received : received + len(chunk)], "a file came back changed")
            received += len(chunk)
    check(received == len(data), f"{received} bytes instead of {len(data)}")


async def crowd_downloads(bench: Bench, user: User, media_path: str) -> float:
    """Downloads a second, by 64 connections of processes of their own."""
    share = max(1, bench.sizes.media_crowd // LOADERS)
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(LOADERS) as pool:
        token = user.headers["Authorization"]
        started = time.perf_counter()
        work = [
            loop.run_in_executor(
                pool, load, bench.server.base_url, token, media_path, CLIENTS // LOADERS, share
            )
            for _ in range(LOADERS)
        ]
        done = sum(await asyncio.gather(*work))
    return done / (time.perf_counter() - started)


async def keep_loading(bench: Bench, user: User, media_path: str, stop: asyncio.Event) -> int:
    """Transfers until told to stop."""
    loop, total = asyncio.get_running_loop(), 0
    with ProcessPoolExecutor(LOADERS) as pool:
        token = user.headers["Authorization"]
        while not stop.is_set():
            work = [
                loop.run_in_executor(
                    pool,
                    load,
                    bench.server.base_url,
                    token,
                    media_path,
                    CLIENTS // LOADERS,
                    CLIENTS // LOADERS,
                )
                for _ in range(LOADERS)
            ]
            total += sum(await asyncio.gather(*work))
    return total


def load(base_url: str, token: str, media_path: str, clients: int, downloads: int) -> int:
    """Download so many times, over so many connections at once; in a process of its own."""
    left = iter(range(downloads))
    done: list[int] = []

    def work() -> None:
        place = urlsplit(base_url)
        connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=120)
        for _ in left:
            url = f"/_matrix/client/v1/media/download/{media_path}"
            connection.request("GET", url, headers={"Authorization": token})
            answer = connection.getresponse()
            received = 0
            while chunk := answer.read(256 * 1024):
                received += len(chunk)
            if answer.status == 200 and received == MEBIBYTE:
                done.append(1)
        connection.close()

    threads = [Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(done)


async def thumbnail_rate(bench: Bench, user: User) -> float:
    """From the upload of a photo to its thumbnail: Synapse makes some of them while it uploads."""
    photos = [photo(number) for number in range(bench.sizes.media_photos)]
    queue = iter(photos)

    async def work() -> None:
        for data in queue:
            path = await upload(user, data, "image/jpeg")
            url = f"/_matrix/client/v1/media/thumbnail/{path}?{THUMBNAIL}"
            async with user.http.session.get(url, headers=user.headers) as answer:
                check(answer.status == 200, f"thumbnail: {answer.status}")
                with Image.open(io.BytesIO(await answer.read())) as image:
                    check(image.size == (96, 96), f"a thumbnail of {image.size}")

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(8)))
    return len(photos) / (time.perf_counter() - started)


def photo(number: int) -> bytes:
    """A JPEG of three megapixels, as phones make them."""
    small = Image.effect_noise((500, 375), 40 + number % 60).convert("RGB")
    file = io.BytesIO()
    small.resize((2000, 1500), Image.Resampling.BICUBIC).save(file, "JPEG", quality=85)
    return file.getvalue()


@contextmanager
def peak_memory(bench: Bench) -> Iterator[Callable[[], float]]:
    """The highest resident memory of the main process, which gained from here on, in MiB."""
    highest, over = [0.0], Event()

    def watch() -> None:
        while not over.is_set():
            highest[0] = max(highest[0], *bench.server.memory_mb().values())
            time.sleep(SAMPLE_S)

    thread = Thread(target=watch)
    thread.start()
    try:
        yield lambda: highest[0]
    finally:
        over.set()
        thread.join()
