"""A file of another server, asked for through several processes at once."""

import hashlib
import secrets
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.processes.conftest import BuildSite
from tests.processes.neighbours import Neighbours
from tests.processes.site import Site
from tests.processes.test_media import DOWNLOAD, ask, upload

READERS = 64
ROUTE = 'route="/_matrix/federation/v1/media/download/{media_id}"'


def asked_for(site: Site) -> float:
    """How often other servers have asked `main` for a file."""
    with urllib.request.urlopen(f"{site.url()}/_synapse/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return sum(
        float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith("synapse_lite_http_requests_total") and ROUTE in line
    )


def test_one_fetch_for_two_processes(build_site: BuildSite, tmp_path: Path) -> None:
    """All readers of both have the file; the other server was asked once, and it is stored once."""
    neighbours = Neighbours.in_directory(tmp_path)
    ours, _ = neighbours.site(build_site, "main", "second")
    theirs, _ = neighbours.site(build_site, "main")
    ours.start("main", "second")
    theirs.start("main")
    data = secrets.token_bytes(2_000_000)
    media = upload(theirs.user("bob"), data)
    readers = [ours.user("alice"), ours.user("carol", through="second")]
    with ThreadPoolExecutor(READERS) as pool:
        answers = list(
            pool.map(lambda number: ask(readers[number % 2], "GET", f"{DOWNLOAD}/{media}"), range(READERS))
        )
    assert {(status, hashlib.sha256(body).digest()) for status, body in answers} == {
        (200, hashlib.sha256(data).digest())
    }
    assert asked_for(theirs) == 1
    blobs = [path for path in (ours.media / "blobs").rglob("*") if path.is_file()]
    assert [path.name for path in blobs] == [hashlib.sha256(data).hexdigest()]
    assert list((ours.media / "incoming").iterdir()) == []
