"""Synapse and this server federate: both check certificates."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from attrs import evolve, frozen

from synapse_lite.cli.api import call
from tests.interop.synapse import Synapse
from tests.ports import free_port
from tests.processes.conftest import BuildSite, build_site
from tests.processes.harness import wait_until
from tests.processes.neighbours import Neighbours
from tests.processes.site import Site
from tests.signing import Device

__all__ = ["build_site"]

CLIENT = "/_matrix/client/v3"


@frozen
class Pair:
    """The two servers, with their names."""

    neighbours: Neighbours
    ours: Site
    our_name: str
    synapse: Synapse


@pytest.fixture(scope="module")
def pair(build_site: BuildSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    neighbours = Neighbours.in_directory(tmp_path_factory.mktemp("neighbours"))
    ours, our_name = neighbours.site(build_site, "main")
    ours.start("main")
    with federating_synapse(neighbours, tmp_path_factory.mktemp("synapse")) as synapse:
        yield Pair(neighbours, ours, our_name, synapse)


def federating_synapse(neighbours: Neighbours, directory: Path, **more: Any) -> Synapse:
    """One that is not started; `more` are options."""
    port = free_port()
    options = {**neighbours.options(port), "federation_domain_whitelist": None, **more}
    return Synapse(
        directory,
        server_name=options["server_name"],
        options=options,
        listeners=[neighbours.listener(port)],
    )


@frozen
class Client:
    """A user of one of the servers; `base_url` is where that server listens for clients."""

    base_url: str
    user_id: str
    token: str

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return call(method, f"{self.base_url}{CLIENT}/{path}", body, token=self.token)

    def say(self, room_id: str, *texts: str) -> None:
        for text in texts:
            content = {"msgtype": "m.text", "body": text}
            self.ask("PUT", f"rooms/{quote(room_id)}/send/m.room.message/{quote(text)}", content)

    def reads(self, room_id: str) -> list[str]:
        """What was said in the room, as far as the user sees it now."""
        page = self.ask("GET", f"rooms/{quote(room_id)}/messages?dir=b&limit=100")["chunk"]
        return [one["content"]["body"] for one in reversed(page) if one["type"] == "m.room.message"]

    def waits_to_read(self, room_id: str, *texts: str) -> None:
        wait_until(lambda: self.reads(room_id) == list(texts), f"{texts} before {self.user_id}")

    def waits_for(
        self, what: str, found: Callable[[Any], Any], meanwhile: Callable[[], object] = lambda: None
    ) -> Any:
        """Until an answer of /sync has it: what `found` makes of the answer. `meanwhile`: before each look."""
        since = ""

        def look() -> Any:
            nonlocal since
            meanwhile()
            answer = self.ask("GET", f"sync?timeout=500{since}")
            since = f"&since={answer['next_batch']}"
            return found(answer)

        return wait_until(look, f"{what} before {self.user_id}")

    def waits_for_change(self, user_id: str, since: str) -> None:
        """Until /sync says that the devices of the user have changed."""

        def is_told() -> bool:
            answer = self.ask("GET", f"sync?timeout=500&since={since}")
            return user_id in answer.get("device_lists", {}).get("changed", ())

        wait_until(is_told, f"a change of {user_id} before {self.user_id}")

    def devices_of(self, user_id: str) -> dict[str, Any]:
        """The keys of all devices of a user, by device; Synapse has none while it updates its list of them."""
        found = self.ask("POST", "keys/query", {"device_keys": {user_id: []}})
        keys: dict[str, Any] = found["device_keys"].get(user_id, {})
        return keys

    def logs_in_again(self) -> "Client":
        """The same user with another device."""
        identifier = {"type": "m.id.user", "user": self.user_id}
        body = {"type": "m.login.password", "identifier": identifier, "password": "secret"}
        return evolve(self, token=self.ask("POST", "login", body)["access_token"])

    def ephemeral(self, room_id: str, kind: str) -> Callable[[Any], Any]:
        """Of an answer of /sync: the content of the EDUs of that type in the room."""

        def find(answer: Any) -> Any:
            room = answer.get("rooms", {}).get("join", {}).get(room_id, {})
            events = room.get("ephemeral", {}).get("events", ())
            return [one["content"] for one in events if one["type"] == kind and any(one["content"].values())]

        return find


def our_client(pair: Pair, name: str) -> Client:
    user = pair.ours.user(name)
    return Client(pair.ours.url(), user.user_id, user.access_token)


def their_client(pair: Pair, name: str) -> Client:
    user = pair.synapse.register(name)
    return Client(pair.synapse.base_url, user["user_id"], user["access_token"])


def clients(pair: Pair, name: str) -> tuple[Client, Client]:
    """One of ours and one of Synapse's."""
    return our_client(pair, name), their_client(pair, name)


def shared_room(host: Client, guest: Client, **body: Any) -> str:
    """A public room of the host that the guest has joined by way of the host's server."""
    room_id: str = host.ask("POST", "createRoom", {"preset": "public_chat", **body})["room_id"]
    server = quote(host.user_id.partition(":")[2])
    guest.ask("POST", f"join/{quote(room_id)}?server_name={server}&via={server}", {})
    return room_id


def test_both_read_each_others_keys(pair: Pair) -> None:
    """Synapse fetches ours, and we fetch Synapse's."""
    names = [pair.our_name, pair.synapse.server_name]
    for asked, of in (names, reversed(names)):
        assert pair.neighbours.keys_seen_by(asked, of) == pair.neighbours.keys_of(of)


@pytest.mark.parametrize("host", [0, 1])
def test_what_is_said_is_heard(pair: Pair, host: int) -> None:
    """In a room of either server each hears the other, in order."""
    both = clients(pair, f"talker{host}")
    room_id = shared_room(both[host], both[1 - host])
    said: list[str] = []
    for turn in range(3):
        for who, client in enumerate(both):
            said += [f"{turn}.{who}", f"{turn}.{who} again"]
            client.say(room_id, *said[-2:])
            both[1 - who].waits_to_read(room_id, *said)


def test_typing_and_receipts(pair: Pair) -> None:
    """Of users of either server, on the other one."""
    both = clients(pair, "typist")
    room_id = shared_room(*both)
    for who, client in enumerate(both):
        other = both[1 - who]
        user = quote(client.user_id)
        path = f"rooms/{quote(room_id)}/typing/{user}"

        def types(client: Client = client, path: str = path) -> None:
            """Anew: who hears it once too early, while the join is under way, ignores it."""
            for typing in ({"typing": False}, {"typing": True, "timeout": 30_000}):
                client.ask("PUT", path, typing)

        (typing,) = other.waits_for("typing", other.ephemeral(room_id, "m.typing"), types)
        assert typing["user_ids"] == [client.user_id]
        client.ask("PUT", path, {"typing": False})
        other.say(room_id, f"read this {who}")
        client.waits_to_read(room_id, *[f"read this {number}" for number in range(who + 1)])
        page = client.ask("GET", f"rooms/{quote(room_id)}/messages?dir=b&limit=1")
        event_id = page["chunk"][0]["event_id"]
        client.ask("POST", f"rooms/{quote(room_id)}/receipt/m.read/{quote(event_id)}", {})
        other.waits_for(
            "the receipt",
            lambda answer, client=client, other=other, event_id=event_id: [
                one
                for one in other.ephemeral(room_id, "m.receipt")(answer)
                if client.user_id in one.get(event_id, {}).get("m.read", {})
            ],
        )


def test_presence(pair: Pair) -> None:
    """Who shares a room on the other server sees it, with what is said of it."""
    both = clients(pair, "present")
    shared_room(*both)
    for who, client in enumerate(both):
        other = both[1 - who]
        status = {"presence": "online", "status_msg": f"here {who}"}

        def shows(client: Client = client, status: Mapping[str, str] = status) -> None:
            """Anew: who hears it once too early, while the join is under way, ignores it."""
            for presence in ("unavailable", "online"):
                client.ask(
                    "PUT", f"presence/{quote(client.user_id)}/status", {**status, "presence": presence}
                )

        def find(answer: Any, client: Client = client, status: Mapping[str, str] = status) -> Any:
            events = answer.get("presence", {}).get("events", ())
            return [
                one
                for one in events
                if one["sender"] == client.user_id and one["content"].items() >= status.items()
            ]

        other.waits_for("presence", find, shows)


def test_messages_to_devices(pair: Pair) -> None:
    """They go both ways, once."""
    both = clients(pair, "messenger")
    for who, client in enumerate(both):
        other = both[1 - who]
        body = {"messages": {other.user_id: {"*": {"from": client.user_id}}}}
        for _ in range(2):
            client.ask("PUT", "sendToDevice/org.example.test/1", body)
        events = other.waits_for("a message", lambda answer: answer.get("to_device", {}).get("events"))
        assert events == [
            {"type": "org.example.test", "sender": client.user_id, "content": {"from": client.user_id}}
        ]


def test_device_lists(pair: Pair) -> None:
    """Keys are found on the other server, clients hear when they change, and then find the new ones."""
    both = clients(pair, "keeper")
    shared_room(*both)
    for who, client in enumerate(both):
        other = both[1 - who]
        known = [client]
        for _ in range(2):
            device_id = known[-1].ask("GET", "account/whoami")["device_id"]
            keys = Device.of(client.user_id, device_id).keys
            since = other.ask("GET", "sync?timeout=0")["next_batch"]
            known[-1].ask("POST", "keys/upload", {"device_keys": keys})
            other.waits_for_change(client.user_id, since)
            wait_until(
                lambda client=client, other=other, device_id=device_id: (
                    device_id in other.devices_of(client.user_id)
                ),
                f"the new keys before {other.user_id}",
            )
            assert other.devices_of(client.user_id)[device_id]["keys"] == keys["keys"]
            known.append(client.logs_in_again())


def test_an_outage_of_synapse(pair: Pair) -> None:
    """What is said while it is down arrives in order when it is back."""
    ours, theirs = clients(pair, "patient")
    room_id = shared_room(ours, theirs)
    ours.say(room_id, "before")
    theirs.waits_to_read(room_id, "before")
    pair.synapse.stop()
    said = [f"meanwhile {number}" for number in range(20)]
    ours.say(room_id, *said)
    pair.synapse.start()
    theirs.waits_to_read(room_id, "before", *said)
