"""Servers that are connected to each other, ours and a Synapse, with two users each."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

from attrs import frozen

from synapse_lite.cli.api import ApiError, call
from tests.chaos.links import Links
from tests.chaos.records import OurRecords, Records, SynapseRecords
from tests.interop.synapse import Synapse
from tests.ports import free_port
from tests.processes.neighbours import Neighbours
from tests.processes.site import Site

CLIENT = "/_matrix/client/v3"
PATIENCE = 120.0  # seconds that a request may take
RETRIES = {"destination_min_retry_interval": "1s", "destination_max_retry_interval": "2s"}
_NO_LIMIT = {"per_second": 1_000_000, "burst_count": 1_000_000}
_OF_SYNAPSE = {
    "federation_domain_whitelist": None,
    "rc_joins_per_room": _NO_LIMIT,
    "rc_federation": {"sleep_limit": 1_000_000, "reject_limit": 1_000_000, "concurrent": 100},
    "federation": {**RETRIES, "max_short_retry_delay": "1s", "max_long_retry_delay": "2s"},
}
State = dict[tuple[str, str], str]


@frozen
class Person:
    """A user of one of the servers."""

    base_url: str
    user_id: str
    token: str

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return call(method, f"{self.base_url}{CLIENT}/{path}", body, token=self.token, timeout=PATIENCE)

    def enters(self, room: str, via: str) -> bool:
        """False when the other server could not be asked, or took too long."""
        try:
            self.ask("POST", f"join/{quote(room)}?via={quote(via)}&server_name={quote(via)}", {})
        except ApiError as error:
            if error.status < 500:
                raise
            return False
        return True

    def send(self, room: str, kind: str, content: Mapping[str, Any], state_key: str | None = None) -> str:
        """The id of the event."""
        place = f"rooms/{quote(room)}"
        if state_key is None:
            path = f"{place}/send/{kind}/{time.time_ns()}"
        else:
            path = f"{place}/state/{kind}/{quote(state_key)}"
        event_id: str = self.ask("PUT", path, content)["event_id"]
        return event_id

    def scroll(self, room: str) -> None:
        """Up to the beginning: then the server has fetched what it had not heard of."""
        place = ""
        while True:
            page = self.ask("GET", f"rooms/{quote(room)}/messages?dir=b&limit=100{place}")
            if not page["chunk"] or "end" not in page:
                return
            place = f"&from={quote(page['end'])}"

    def state(self, room: str) -> State:
        found = self.ask("GET", f"rooms/{quote(room)}/state")
        return {(one["type"], one["state_key"]): one["event_id"] for one in found}


@frozen
class Ours:
    site: Site
    names: tuple[str, ...]

    def pids(self) -> list[int]:
        found = []
        for process in list(self.site.processes.values()):
            with suppress(AssertionError):  # it is just being started
                found.append(process.running.pid)
        return found

    def records(self) -> Records:
        return OurRecords(self.site)

    def strike(self, random: Random) -> None:
        """Kill one of its processes, or stop it properly, and start it again."""
        name = random.choice(self.names)
        if random.random() < 0.7:
            self.site.processes[name].kill()
        else:
            self.site.stop(name)
        self.site.start(name)


@frozen
class Theirs:
    synapse: Synapse

    def pids(self) -> list[int]:
        return [self.synapse.running.pid]

    def records(self) -> Records:
        return SynapseRecords(self.synapse.database)

    def strike(self, random: Random) -> None:
        """It stays as it is: what it loses by a kill is not ours."""


@frozen
class Server:
    name: str
    host: Ours | Theirs
    moderator: Person
    other: Person


@contextmanager
def federated_servers(
    directory: Path, databases: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[list[Server], Links]]:
    """A server of ours on each of the databases, the first of them with a worker, and a Synapse; and what lies between them."""
    neighbours = Neighbours.in_directory(directory)
    ports: dict[str, tuple[int, int]] = {}

    def name_one() -> tuple[str, dict[str, Any], dict[str, Any]]:
        """The name of a server, with its options and its listener."""
        outside, inside = free_port(), free_port()
        options = neighbours.options(outside)
        ports[options["server_name"]] = (outside, inside)
        return options["server_name"], options, neighbours.listener(inside)

    with ExitStack() as stack:
        hosts: dict[str, Ours | Theirs] = {}
        for number, database in enumerate(databases):
            name, options, listener = name_one()
            place = directory / f"ours{number}"
            place.mkdir()
            workers = ("a",) if number == 0 else ()
            site = Site(
                place, database, runners=workers or ("main",), listeners=[listener],
                options={**options, "federation": RETRIES},
            )  # fmt: skip
            stack.callback(site.close)
            site.start("main", *workers)
            hosts[name] = Ours(site, ("main", *workers))
        name, options, listener = name_one()
        synapse = Synapse(
            directory, server_name=name, options={**options, **_OF_SYNAPSE}, listeners=[listener]
        )
        stack.enter_context(synapse)
        hosts[name] = Theirs(synapse)
        links = stack.enter_context(Links(ports, lambda: {name: host.pids() for name, host in hosts.items()}))
        yield [_server(name, host) for name, host in hosts.items()], links


def _server(name: str, host: Ours | Theirs) -> Server:
    def person(localpart: str) -> Person:
        if isinstance(host, Ours):
            user = host.site.user(localpart)
            return Person(host.site.url(), user.user_id, user.access_token)
        made = host.synapse.register(localpart)
        return Person(host.synapse.base_url, made["user_id"], made["access_token"])

    return Server(name, host, person("moderator"), person("other"))
