"""What goes through limits when it comes all at once, and what clients and the log are told while the database is away.

    python -m benchmarks.limits

Each line is one experiment with a server of its own, whose limits are those that it comes with.
"""

import asyncio
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.candidate import own_program
from benchmarks.client import CLIENT
from benchmarks.postgres import postgres
from benchmarks.processes import Process, answers, free_port, postmaster
from benchmarks.server import NO_RATE_LIMITS, Site, listener
from synapse_lite.cli.api import register

WORKERS = ("client1", "client2")
GUESSES, MESSAGES, QUESTIONS = 40, 30, 400
PASSWORD = "a secret"
LIMITS = {
    **NO_RATE_LIMITS,
    "rc_message": {"per_second": 0.2, "burst_count": 10},
    "rc_login": {**NO_RATE_LIMITS["rc_login"], "failed_attempts": {"per_second": 0.17, "burst_count": 3}},
}

Account = dict[str, Any]


async def guesses(urls: list[str], account: Account) -> str:
    """Wrong passwords for one account, all at once."""
    body = {"type": "m.login.password", "user": account["user_id"], "password": "wrong"}
    asked = [("POST", f"{url}{CLIENT}/login", body) for url in (urls * GUESSES)[:GUESSES]]
    found = await _all(asked)
    return f"{GUESSES} wrong passwords at once: {found[403]} are looked at (limit: 3)"


async def messages(urls: list[str], account: Account) -> str:
    """Of one user, through all processes."""
    created = await _one("POST", f"{urls[0]}{CLIENT}/createRoom", {}, account)
    room, content = created[1]["room_id"], {"msgtype": "m.text", "body": "x"}
    asked = [
        ("PUT", f"{urls[number % len(urls)]}{CLIENT}/rooms/{room}/send/m.room.message/{number}", content)
        for number in range(MESSAGES)
    ]
    found = await _all(asked, account)
    return f"{MESSAGES} messages of one user through {len(urls)} processes: {found[200]} are sent (limit: 10)"


async def outage(urls: list[str], account: Account, site: Site) -> str:
    """The database is killed; then many ask."""
    os.kill(postmaster(site.database["host"], site.database["port"]), signal.SIGQUIT)
    asked = [("GET", f"{urls[0]}{CLIENT}/joined_rooms", None)] * QUESTIONS
    found = await _all(asked, account)
    log = (site.directory / "main.out").read_text()
    told = ", ".join(f"{count} of status {status}" for status, count in sorted(found.items()))
    return f"{QUESTIONS} questions without a database: {told}; {log.count('Traceback')} tracebacks in the log"


async def _all(asked: list[tuple[str, str, Any]], account: Account | None = None) -> Counter[int]:
    """How many were answered with which status."""
    return Counter(status for status, _ in await asyncio.gather(*(_one(*one, account) for one in asked)))


async def _one(method: str, url: str, body: Any, account: Account | None) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {account['access_token']}"} if account else {}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, json=body, headers=headers) as answer,
    ):
        return answer.status, await answer.json()


@contextmanager
def _processes(site: Site) -> Iterator[list[str]]:
    """The URLs of main and of workers that serve clients."""
    homeserver = site.write("homeserver.yaml", {**site.homeserver_yaml(), **LIMITS})
    program = own_program()
    commands: dict[str, tuple[int, list[str | Path]]] = {
        "main": (site.port, [*program, "main", "-c", homeserver])
    }
    for name in WORKERS:
        port = free_port()
        settings = {"worker_app": "synapse.app.generic_worker", "worker_name": name}
        own = site.write(f"{name}.yaml", {**settings, "worker_listeners": [listener(port, "client")]})
        commands[name] = (port, [*program, "worker", "-c", homeserver, "-c", own])
    running: list[Process] = []
    try:
        for name, (port, command) in commands.items():
            process = Process(name, command, site.directory)
            running.append(process)
            process.start_until(lambda port=port: answers(f"http://127.0.0.1:{port}/health"))  # type: ignore[misc]
        yield [f"http://127.0.0.1:{port}" for port, _ in commands.values()]
    finally:
        for process in reversed(running):
            process.stop()


async def measure(site: Site, urls: list[str]) -> None:
    account = register(urls[0], site.secret, username="ada", password=PASSWORD, admin=False)
    await asyncio.sleep(12)  # processes tell every five seconds that they are there
    print(await guesses(urls, account))
    print(await messages(urls, account))
    print(await outage(urls, account, site))


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="limits-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        with postgres(directory / "postgres") as running:
            site = Site.create(directory, "limits", running)
            with _processes(site) as urls:
                asyncio.run(measure(site, urls))


if __name__ == "__main__":
    main()
