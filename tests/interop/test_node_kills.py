"""A process that dies while clients follow sliding sync: nothing of what they are told is lost, and nothing comes twice."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.interop import node
from tests.processes.conftest import BuildSite, build_site
from tests.processes.harness import wait_until

__all__ = ["build_site"]

KILLS = 4
EACH = 8
TOLD = {
    "read": True,
    "told": True,
    "twice": [0, 0, 0],
    "initial": True,
    "refused": 0,
    "keys": True,
}


def test_a_process_dies_again_and_again(build_site: BuildSite, tmp_path: Path) -> None:
    """Encrypted talk both ways, its keys, and rooms that come: whatever got no answer is asked of the other process."""
    site = build_site("main")
    site.start("main", "second")
    users = [{"name": name, "password": "secret"} for name in ("ann", "ben")]
    for user in users:
        site.user(user["name"])
    client = tmp_path / "client"
    urls = [site.url("main"), site.url("second")]
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            node.run, "kills.mjs", client, baseUrls=urls, users=users, kills=KILLS, each=EACH
        )
        for number in range(KILLS):
            asked = client / f"kill-{number}"
            wait_until(lambda asked=asked: running.done() or asked.exists(), f"the end {number} of a process")
            if running.done():
                break
            site.processes["second"].kill()
            site.start("second")
            (client / f"back-{number}").touch()
        shown = running.result()
    assert shown == {"lost": True, "sent": 2 * KILLS * EACH, "clients": [TOLD, TOLD]}
