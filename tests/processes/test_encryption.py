"""Encryption as clients of others' making do it, each of them on another process of the server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import nio
import pytest
from nio.crypto import OlmDevice, Sas

from synapse_lite.cli.demo.connection import User
from tests.processes.conftest import BuildSite
from tests.processes.site import SERVER, Site

ENCRYPTION = {
    "type": "m.room.encryption",
    "state_key": "",
    "content": {"algorithm": "m.megolm.v1.aes-sha2"},
}
POLL_MS = 1_000
DEADLINE = 300.0  # seconds


@pytest.fixture(scope="module")
def site(build_site: BuildSite) -> Site:
    site = build_site("main")
    site.start("main", "second")
    for name in ("alice", "bob"):
        site.user(name)
    return site


class Client(nio.AsyncClient):
    """A device of matrix-nio, which does by itself what clients do after each sync."""

    async def turn(self) -> nio.SyncResponse:
        """Sync once, and answer as the encryption asks for."""
        answer = await self.sync(timeout=POLL_MS)
        assert isinstance(answer, nio.SyncResponse), answer
        await self.send_to_device_messages()
        if self.should_upload_keys:
            _good(await self.keys_upload())
        if self.should_query_keys:
            _good(await self.keys_query())
        if self.should_claim_keys:
            _good(await self.keys_claim(self.get_users_for_key_claiming()))
        return answer

    async def say(self, room_id: str, text: str) -> None:
        content = {"msgtype": "m.text", "body": text}
        _good(await self.room_send(room_id, "m.room.message", content, ignore_unverified_devices=True))

    async def reads(self, room_id: str, kind: type[Any], until: Callable[[Any], bool]) -> Any:
        """The next event of that kind which the room shows."""
        async with asyncio.timeout(DEADLINE):
            while True:
                room = (await self.turn()).rooms.join.get(room_id)
                for event in room.timeline.events if room else ():
                    if isinstance(event, kind) and until(event):
                        return event

    def device_of(self, user_id: str, device_id: str) -> OlmDevice | None:
        """As far as this client knows, and encrypts for."""
        devices = {device.id: device for device in self.device_store.active_user_devices(user_id)}
        return devices.get(device_id)


def _good(answer: Any) -> None:
    assert not isinstance(answer, nio.ErrorResponse), answer


def _says(text: str) -> Callable[[Any], bool]:
    return lambda event: bool(event.body == text)


async def _until(*clients: Client, done: Callable[[], Any]) -> None:
    """All of them go on until it is so."""
    async with asyncio.timeout(DEADLINE):
        while not done():
            for client in clients:
                await client.turn()


@asynccontextmanager
async def _clients(site: Site, directory: Path) -> AsyncIterator[Callable[..., Awaitable[Client]]]:
    """Logs devices in; they are closed in the end."""
    async with AsyncExitStack() as stack:

        async def log_in(name: str, device_id: str, process: str) -> Client:
            store = directory / device_id
            store.mkdir()
            config = nio.AsyncClientConfig(encryption_enabled=True, store_sync_tokens=True)
            user_id = f"@{name}:{SERVER}"
            client = Client(site.url(process), user_id, device_id, str(store), config)
            stack.push_async_callback(client.close)
            _good(await client.login("secret"))
            await client.turn()
            return client

        yield log_in


async def _room(alice: Client, bob: Client) -> str:
    """An encrypted room of both, in which each knows the other's device."""
    created = await alice.room_create(preset=nio.RoomPreset.public_chat, initial_state=[ENCRYPTION])
    assert isinstance(created, nio.RoomCreateResponse), created
    _good(await bob.join(created.room_id))
    await _until(
        alice,
        bob,
        done=lambda: (
            alice.device_of(bob.user_id, bob.device_id) and bob.device_of(alice.user_id, alice.device_id)
        ),
    )
    return str(created.room_id)


async def _verify(alice: Client, bob: Client) -> None:
    """Compare short authentication strings, over to-device messages."""
    device = alice.device_of(bob.user_id, bob.device_id)
    assert device is not None
    _good(await alice.start_key_verification(device))
    await _until(bob, done=lambda: bob.key_verifications)
    (transaction_id,) = bob.key_verifications
    _good(await bob.accept_key_verification(transaction_id))
    (theirs,), (ours,) = bob.key_verifications.values(), alice.key_verifications.values()
    await _until(alice, bob, done=lambda: ours.established_sas and theirs.established_sas)
    assert ours.get_emoji() == theirs.get_emoji()
    for client in (alice, bob):
        _good(await client.confirm_short_auth_string(transaction_id))
    await _until(alice, bob, done=lambda: _is_over(ours) and _is_over(theirs))


def _is_over(sas: Sas) -> bool:
    return bool(sas.verified)


async def _history(client: Client, room_id: str) -> list[str | None]:
    """What was said, newest first, as far as the client reads it."""
    answer = await client.room_messages(room_id, limit=100)
    assert isinstance(answer, nio.RoomMessagesResponse), answer
    said = (nio.RoomMessageText, nio.MegolmEvent)
    return [getattr(event, "body", None) for event in answer.chunk if isinstance(event, said)]


def _shared(client: Client, room_id: str) -> set[tuple[str, str]]:
    """The devices of others that were given the key of what the client says now."""
    assert client.olm is not None
    given: set[tuple[str, str]] = client.olm.outbound_group_sessions[room_id].users_shared_with
    return {(user_id, device_id) for user_id, device_id in given if user_id != client.user_id}


async def _delete(client: Client, device_id: str) -> None:
    """Another device of the user, who proves with the password who they are."""
    asked = await client.delete_devices([device_id])
    assert isinstance(asked, nio.DeleteDevicesAuthResponse), asked
    identifier = {"type": "m.id.user", "user": client.user_id}
    proof = {"type": "m.login.password", "session": asked.session, "identifier": identifier}
    _good(await client.delete_devices([device_id], {**proof, "password": "secret"}))


async def _converse(site: Site, directory: Path) -> None:
    async with _clients(site, directory) as log_in:
        alice, bob = await log_in("alice", "ALICE", "main"), await log_in("bob", "BOB", "second")
        room_id = await _room(alice, bob)
        await alice.say(room_id, "before")
        await bob.reads(room_id, nio.RoomMessageText, _says("before"))

        await _verify(alice, bob)
        assert alice.device_store[bob.user_id][bob.device_id].verified
        assert bob.device_store[alice.user_id][alice.device_id].verified

        late = await log_in("bob", "LATE", "main")
        await _until(alice, late, done=lambda: alice.device_of(bob.user_id, "LATE"))
        await alice.say(room_id, "after")
        for client in (bob, late):
            await client.reads(room_id, nio.RoomMessageText, _says("after"))
        # The keys of the time before are not those of the new device, until it is given them.
        assert await _history(late, room_id) == ["after", None]
        keys = str(directory / "keys")
        await bob.export_keys(keys, "a passphrase")
        await late.import_keys(keys, "a passphrase")
        assert await _history(late, room_id) == ["after", "before"]

        assert _shared(alice, room_id) == {(bob.user_id, "BOB"), (bob.user_id, "LATE")}
        await _delete(bob, "LATE")
        await _until(alice, bob, done=lambda: alice.device_of(bob.user_id, "LATE") is None)
        await alice.say(room_id, "without you")
        await bob.reads(room_id, nio.RoomMessageText, _says("without you"))
        assert _shared(alice, room_id) == {(bob.user_id, "BOB")}
        assert (await late.whoami()).status_code == "M_UNKNOWN_TOKEN"
        assert site.value("SELECT count(*) FROM device_inbox WHERE device_id = 'LATE'") == 0


def test_three_devices_talk_in_secret(site: Site, tmp_path: Path) -> None:
    """Two users verify each other by emoji; a new device reads from then on, a deleted one nothing more.

    With the keys of an earlier one, it reads what was before.
    """
    asyncio.run(_converse(site, tmp_path))


async def _drain(site: Site, directory: Path) -> None:
    async with _clients(site, directory) as log_in:
        owner = await log_in("alice", "DRAINED", "main")
        sql = "SELECT uploaded - given FROM key_stocks WHERE device_id = 'DRAINED'"
        stored = site.value(sql)
        assert stored > 1
        wanted = {"one_time_keys": {owner.user_id: {"DRAINED": "signed_curve25519"}}}
        with User(site.url("second"), owner.user_id, "", owner.access_token).connect() as connection:
            for _ in range(stored - 1):  # matrix-nio takes no notice of a count of zero
                answer = connection.call("POST", "/_matrix/client/v3/keys/claim", wanted)
                assert answer["one_time_keys"], answer
        assert site.value(sql) == 1
        await _until(owner, done=lambda: site.value(sql) > 1)


def test_a_device_that_runs_low_uploads_new_keys(site: Site, tmp_path: Path) -> None:
    """Its next sync tells how few are left, whichever process gave them out."""
    asyncio.run(_drain(site, tmp_path))
