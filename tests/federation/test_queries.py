"""What other servers may know of our users and aliases."""

from typing import Any
from urllib.parse import quote

from pytest_twisted import ensureDeferred

from tests.builders import ALICE, SERVER
from tests.federation.conftest import JoinNetwork
from tests.federation.network import Scripted
from tests.federation.remote_room import remote_room
from tests.server import TestServer

V1 = "/_matrix/federation/v1"


async def ask(server: TestServer, other: Scripted, target: str, body: Any = None) -> tuple[int, Any]:
    return await other.ask(server, "GET" if body is None else "POST", f"{V1}/{target}", body)


@ensureDeferred
async def test_the_version_is_for_everybody(server: TestServer) -> None:
    """Also unsigned."""
    answer = await server.ok("GET", f"{V1}/version")
    assert answer["server"].keys() == {"name", "version"}


@ensureDeferred
async def test_profiles(server: TestServer, other: Scripted) -> None:
    """Whole or one field; of our users only."""
    token = await server.user("alice")
    await server.ok("PUT", f"profile/{ALICE}/displayname", {"displayname": "Alice"}, token)
    assert await ask(server, other, f"query/profile?user_id={ALICE}") == (200, {"displayname": "Alice"})
    asked = f"query/profile?user_id={ALICE}&field="
    assert await ask(server, other, f"{asked}displayname") == (200, {"displayname": "Alice"})
    assert await ask(server, other, f"{asked}avatar_url") == (200, {})
    assert (await ask(server, other, f"{asked}x"))[0] == 404
    for user_id, expected in (("@nobody:hs.test", 404), ("@x:other.test", 404), ("alice", 400)):
        status, _ = await ask(server, other, f"query/profile?user_id={user_id}")
        assert status == expected
    assert (await ask(server, other, "query/profile"))[0] == 400


@ensureDeferred
async def test_aliases(server: TestServer, other: Scripted) -> None:
    """The room, and the servers through which one may join, ours first."""
    room, _ = await remote_room(server, other, room_alias_name="door")
    status, answer = await ask(server, other, f"query/directory?room_alias={quote(f'#door:{SERVER}')}")
    assert (status, answer) == (200, {"room_id": room.room_id, "servers": [SERVER, other.name]})
    for alias, expected in ((f"#gone:{SERVER}", 404), ("#door:third.test", 404), ("door", 400)):
        assert (await ask(server, other, f"query/directory?room_alias={quote(alias)}"))[0] == expected
    assert (await ask(server, other, "query/directory"))[0] == 400


@ensureDeferred
async def test_devices_of_remote_users_cannot_be_enumerated(server: TestServer, other: Scripted) -> None:
    """The list with its stream id, for users who exist and are ours; names of devices are not told."""
    await server.register("bob", device_id="PHONE", initial_device_display_name="Bob's phone")
    status, answer = await ask(server, other, f"user/devices/@bob:{SERVER}")
    assert status == 200
    assert answer.keys() == {"user_id", "stream_id", "devices"}
    assert isinstance(answer["stream_id"], int)
    assert "phone" not in str(answer)
    for user_id in (f"@nobody:{SERVER}", "@x:other.test"):
        assert (await ask(server, other, f"user/devices/{user_id}"))[0] == 404
    assert (await ask(server, other, "user/devices/bob"))[0] == 400


@ensureDeferred
async def test_keys_of_remote_users_cannot_be_enumerated(server: TestServer, other: Scripted) -> None:
    """Of our users; others are left out, and nothing is asked of third servers."""
    users = {f"@bob:{SERVER}": [], "@x:third.test": []}
    await server.register("bob")
    status, answer = await ask(server, other, "user/keys/query", {"device_keys": users})
    assert (status, answer) == (
        200, {"device_keys": {f"@bob:{SERVER}": {}}, "master_keys": {}, "self_signing_keys": {}},
    )  # fmt: skip
    claims = {user: {"PHONE": "signed_curve25519"} for user in users}
    status, answer = await ask(server, other, "user/keys/claim", {"one_time_keys": claims})
    assert (status, answer) == (200, {"one_time_keys": {}})
    for target in ("user/keys/query", "user/keys/claim"):
        assert (await ask(server, other, target, {}))[0] == 400


@ensureDeferred
async def test_profiles_that_are_not_told(join_network: JoinNetwork, other: Scripted) -> None:
    """`allow_profile_lookup_over_federation: false`; our users read them all the same."""
    server = await join_network(allow_profile_lookup_over_federation=False)
    token = await server.register("alice")
    status, answer = await ask(server, other, f"query/profile?user_id={ALICE}")
    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")
    assert await server.ok("GET", f"profile/{ALICE}", token=token) == {"displayname": "alice"}
