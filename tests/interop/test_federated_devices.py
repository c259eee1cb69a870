"""Devices and identities of users of the other server: whatever changes, and whoever is away meanwhile, both servers tell the same."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import pytest
from attrs import frozen

from synapse_lite.cli.api import ApiError
from tests.interop.test_federation import Client, Pair, build_site, clients, pair, shared_room
from tests.processes.harness import wait_until
from tests.signing import Device, Identity

__all__ = ["build_site", "pair"]


@frozen
class Watched:
    """A user, somebody of the other server who shares a room with them, and what cuts that server off."""

    user: Client
    other: Client
    room_id: str
    away: Callable[[], Any]

    @property
    def password(self) -> dict[str, Any]:
        identifier = {"type": "m.id.user", "user": self.user.user_id}
        return {"type": "m.login.password", "identifier": identifier, "password": "secret"}

    def adds_device(self) -> Client:
        device = self.user.logs_in_again()
        self.uploads_keys(device)
        return device

    def uploads_keys(self, device: Client) -> None:
        device_id = device.ask("GET", "account/whoami")["device_id"]
        keys = Device.of(self.user.user_id, device_id).keys
        device.ask("POST", "keys/upload", {"device_keys": keys})

    def resets_identity(self) -> None:
        body = {**Identity.of(self.user.user_id).upload, "auth": self.password}
        self.user.ask("POST", "keys/device_signing/upload", body)

    def told(self, who: Client) -> Any:
        """The devices of the user, and the keys of their identity; None while the server has no answer."""
        user_id = self.user.user_id
        try:
            answer = who.ask("POST", "keys/query", {"device_keys": {user_id: []}})
        except ApiError:
            return None
        identity = [answer.get(name, {}).get(user_id, {}) for name in ("master_keys", "self_signing_keys")]
        devices = answer["device_keys"].get(user_id, {})
        return {name: keys["keys"] for name, keys in devices.items()}, [one.get("keys") for one in identity]

    def agree(self, after: str) -> None:
        wait_until(lambda: self.told(self.other) == self.told(self.user), f"the same keys after {after}")


@pytest.fixture(params=["ours", "theirs"])
def watched(pair: Pair, request: pytest.FixtureRequest) -> Watched:
    both = clients(pair, f"{request.function.__name__}-{request.param}")
    room_id = shared_room(*both)
    if request.param == "ours":
        return Watched(*both, room_id, lambda: _without_synapse(pair))
    return Watched(both[1], both[0], room_id, lambda: _without_ours(pair))


@contextmanager
def _without_synapse(pair: Pair) -> Iterator[None]:
    pair.synapse.stop()
    yield
    pair.synapse.start()


@contextmanager
def _without_ours(pair: Pair) -> Iterator[None]:
    pair.ours.processes["main"].kill()
    yield
    pair.ours.expire("main")
    pair.ours.start("main")


def test_changes_of_devices(watched: Watched) -> None:
    """A device comes and goes, an identity is made and replaced; then all of it at once, while the other server is away."""
    watched.uploads_keys(watched.user)
    watched.agree("the first keys")
    watched.resets_identity()
    watched.agree("an identity")
    second = watched.adds_device()
    watched.agree("a second device")
    second.ask("POST", "logout", {})
    watched.agree("the end of the device")
    watched.resets_identity()
    watched.agree("another identity")
    with watched.away():
        devices = [watched.adds_device() for _ in range(3)]
        devices[0].ask("POST", "logout", {})
        watched.resets_identity()
    watched.user.say(watched.room_id, "wake up")
    watched.agree("an outage")
    assert len(watched.told(watched.other)[0]) == 3


def test_changes_while_no_room_is_shared(watched: Watched) -> None:
    """Nobody tells of them: who comes back asks anew."""
    watched.uploads_keys(watched.user)
    watched.agree("the first keys")
    watched.other.ask("POST", f"rooms/{quote(watched.room_id)}/leave", {})
    watched.adds_device()
    watched.resets_identity()
    server = quote(watched.user.user_id.partition(":")[2])
    path = f"join/{quote(watched.room_id)}?server_name={server}&via={server}"
    watched.other.ask("POST", path, {})
    watched.agree("the return")
