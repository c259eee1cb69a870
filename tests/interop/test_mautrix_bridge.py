"""A bridge that is built on mautrix: it hears each event once and in order, whoever of the two ends dies in between."""

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from synapse_lite.replication.postgres_bus import CHANNEL
from synapse_lite.tasks.queue import TOPIC
from tests.interop import python
from tests.interop.app_services import Service, namespace
from tests.processes.conftest import BuildSite, build_site
from tests.processes.harness import wait_until
from tests.processes.site import SERVER, Site, User, say

__all__ = ["build_site"]

HUMAN = f"@human:{SERVER}"
FOLLOWER = "application_service bridge"
BATCH = 100


class Bridge:
    """Runs beside a site of two processes; its files outlive its processes."""

    def __init__(self, site: Site, service: Service, directory: Path) -> None:
        self._site = site
        self._service = service
        self.directory = directory

    @contextmanager
    def running(self, *, first: bool = False) -> Iterator[dict[str, Any]]:
        """What it did at its beginning."""
        for name in ("stop", "ready"):
            self._file(name).unlink(missing_ok=True)
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(
                python.run,
                "mautrix_bridge.py",
                self.directory,
                homeserver=self._site.url("second"),
                domain=SERVER,
                id=self._service.id,
                port=self._service.port,
                human=HUMAN,
                first=first,
            )
            try:
                yield self._ready(running)
            finally:
                self._file("stop").touch()
                running.result()

    def hold(self) -> None:
        """It answers no transaction more."""
        self._file("hold").touch()

    def let_go(self) -> None:
        self._file("hold").unlink()

    def texts(self, sender: str = HUMAN) -> list[str]:
        return [one["text"] for one in self.lines("heard") if one["text"] and one["by"] == sender]

    def ids(self) -> list[str]:
        return [one["id"] for one in self.lines("heard")]

    def wait_for(self, text: str) -> None:
        wait_until(lambda: text in self.texts(), f"{text} at the bridge", 120)

    def lines(self, name: str) -> list[Any]:
        file = self._file(name)
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def _file(self, name: str) -> Path:
        return self.directory / name

    def _ready(self, running: "Future[Any]") -> dict[str, Any]:
        wait_until(lambda: running.done() or self._file("ready").exists(), "a bridge that runs", 300)
        if running.done():
            running.result()
        wait_until(self._file("ready").read_text, "what it did")
        return dict(json.loads(self._file("ready").read_text()))


@pytest.fixture
def bridge(build_site: BuildSite, tmp_path: Path) -> tuple[Site, Bridge]:
    service = Service("bridge")
    names = {
        "users": namespace("@_bridge_.*"),
        "aliases": namespace("#_bridge_.*"),
    }
    double = {"url": None, "namespaces": {"users": namespace(f"@.*:{SERVER}", exclusive=False)}}
    files = [
        service.write(tmp_path, namespaces=names, receive_ephemeral=True),
        Service("double").write(tmp_path, **double),
    ]
    site = build_site("main", "second", app_service_config_files=[str(file) for file in files])
    site.start("main", "second")
    return site, Bridge(site, service, tmp_path)


def owner_of(site: Site) -> str:
    """The process that tells the bridge."""

    def owner() -> str:
        found = site.value("SELECT owner FROM followers WHERE name = %s", FOLLOWER)
        return (found or "").partition("#")[0]

    return wait_until(owner, "a process that tells the bridge")


def other_than(name: str) -> str:
    return "second" if name == "main" else "main"


def talk(site: Site, human: User, room_id: str, texts: list[str]) -> None:
    with human.connect() as connection:
        for text in texts:
            say(connection, room_id, quote(text), text)


def through(site: Site, human: User, name: str) -> User:
    return User(site.url(name), human.user_id, human.password, human.access_token)


def try_now(site: Site) -> None:
    """The next attempt need not wait for its time."""
    site.execute("UPDATE followers SET run_at = 0 WHERE name = %s", FOLLOWER)
    site.execute("SELECT pg_notify(%s, %s)", CHANNEL, f"site {TOPIC} ")


def test_a_bridge(bridge: tuple[Site, Bridge]) -> None:
    """It works as it expects to; then the process that tells it dies with a transaction, and the bridge itself is away."""
    site, bridged = bridge
    human = site.user("human")
    said: list[str] = []
    with bridged.running(first=True) as shown:
        room_id = shown.pop("room")
        alice = f"@_bridge_alice:{SERVER}"
        assert shown == {
            "ping": True,
            "then": [alice, 1_000_000],
            "twin": HUMAN,
            "name": "Alice (elsewhere)",
            "members": sorted([HUMAN, alice, f"@bridgebot:{SERVER}"]),
        }
        said.append("from elsewhere, by myself")
        check_a_room_on_demand(site, bridged, human)
        said += through_deaths(site, bridged, human, room_id)
    said += while_it_is_away(site, bridged, human, room_id)
    assert bridged.texts() == said
    assert len(set(bridged.ids())) == len(bridged.ids())


def check_a_room_on_demand(site: Site, bridge: Bridge, human: User) -> None:
    """Who asks for an alias of the bridge comes into a room that it makes meanwhile; a ghost comes when it is invited."""
    alias = f"#_bridge_lobby:{SERVER}"
    with human.connect() as connection:
        lobby = connection.call("POST", f"/_matrix/client/v3/join/{quote(alias)}", {})["room_id"]
        path = f"/_matrix/client/v3/rooms/{quote(lobby)}"
        dave = f"@_bridge_dave:{SERVER}"
        connection.call("POST", f"{path}/invite", {"user_id": dave})

        def members() -> set[str]:
            return set(connection.call("GET", f"{path}/joined_members")["joined"])

        expected = {HUMAN, dave, f"@_bridge_carol:{SERVER}", f"@bridgebot:{SERVER}"}
        wait_until(lambda: members() == expected, "a ghost that was invited", 60)
    assert f"/_matrix/app/v1/rooms/{alias}" in bridge.lines("queries")


def through_deaths(site: Site, bridge: Bridge, human: User, room_id: str) -> list[str]:
    """Once with a transaction that the bridge has handled and not answered, once as it comes."""
    said = [f"before {number}" for number in range(5)]
    owner = owner_of(site)
    talk(site, through(site, human, other_than(owner)), room_id, said)
    bridge.wait_for(said[-1])
    bridge.hold()
    talk(site, through(site, human, other_than(owner)), room_id, ["handled, not answered"])
    bridge.wait_for("handled, not answered")
    said.append("handled, not answered")
    said += die(site, human, room_id, owner, "meanwhile")
    bridge.let_go()
    bridge.wait_for(said[-1])
    site.start(owner)
    last = next(one for one in bridge.lines("heard") if one["text"] == "handled, not answered")
    again = [one for one in bridge.lines("asked") if last["id"] in one["events"]]
    assert len(again) > 1
    assert len({(one["txn"], one["digest"]) for one in again}) == 1

    owner = owner_of(site)
    texts = [f"in passing {number}" for number in range(20)]
    talk(site, through(site, human, other_than(owner)), room_id, texts)
    said += texts + die(site, human, room_id, owner, "after it")
    bridge.wait_for(said[-1])
    site.start(owner)
    return said


def die(site: Site, human: User, room_id: str, owner: str, text: str) -> list[str]:
    """The other process takes over."""
    site.processes[owner].kill()
    texts = [f"{text} {number}" for number in range(5)]
    talk(site, through(site, human, other_than(owner)), room_id, texts)
    site.expire(owner)
    return texts


def while_it_is_away(site: Site, bridge: Bridge, human: User, room_id: str) -> list[str]:
    """What was said meanwhile comes in full transactions, although the process that tries to tell it dies, too."""
    count = len(bridge.lines("asked"))
    texts = [f"away {number}" for number in range(2 * BATCH + 30)]
    owner = owner_of(site)
    talk(site, through(site, human, other_than(owner)), room_id, texts[:BATCH])
    failed = "SELECT attempt > 0 FROM followers WHERE name = %s"
    wait_until(lambda: site.value(failed, FOLLOWER), "a failed attempt")
    site.processes[owner].kill()
    talk(site, through(site, human, other_than(owner)), room_id, texts[BATCH:])
    site.expire(owner)
    with bridge.running():
        try_now(site)
        bridge.wait_for(texts[-1])
    site.start(owner)
    sizes = [len(one["events"]) for one in bridge.lines("asked")[count:] if one["events"]]
    assert sum(sizes) == len(texts)
    assert max(sizes) == BATCH
    # The first may have been written down when only some was said; of the others all but the last are full.
    assert sizes[1:-1] == [BATCH] * len(sizes[1:-1])
    return texts
